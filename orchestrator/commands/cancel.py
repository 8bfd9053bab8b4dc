"""`grokstudy cancel`."""

from __future__ import annotations

from grokstudy.orchestrator.commands.cluster import Address, Cluster, jobs_of
from grokstudy.orchestrator.commands.common import StudyFile, read_study, say


def cancel(study: StudyFile, cluster: Cluster = None, address: Address = None) -> None:
    """Stop a study on a cluster. Its workers leave checkpoints; submitting it again resumes from there."""
    read = read_study(study)
    with jobs_of(cluster, address) as jobs:
        active = [job for job in jobs.of_study(read.name) if job.active]
        for job in active:
            say(f"{job.job_id}: {jobs.stop(job.job_id).status.lower()}; `grokstudy submit` resumes")
    if not active:
        say(f"no job of {read.name} is running there")
