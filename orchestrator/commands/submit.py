"""`grokstudy submit`: the same study, driven on a cluster's head."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grokstudy.orchestrator.commands.cluster import Address, Cluster, jobs_of
from grokstudy.orchestrator.commands.common import (
    DONE,
    INTERRUPTED,
    CodeAsBefore,
    Cpu,
    First,
    Gpu,
    Root,
    Settings,
    Steps,
    StudyFile,
    Workers,
    emit,
    read_study,
    say,
    stop,
)
from grokstudy.orchestrator.commands.run import RetryFailed

if TYPE_CHECKING:
    from grokstudy.orchestrator.cluster.jobs import Jobs
    from grokstudy.orchestrator.study.study import Study

Slurm = Annotated[bool, typer.Option("--slurm", help="As a batch job of Slurm, which starts Ray on its nodes.")]
Sbatch = Annotated[
    list[str] | None,
    typer.Option("--sbatch", help="An option of sbatch, as in --sbatch=--nodes=8; may be given again. Means --slurm."),
]
Follow = Annotated[bool, typer.Option("--follow", help="Show the log until it ends; Ctrl-C leaves the job running.")]


def submit(
    study: StudyFile,
    cluster: Cluster = None,
    address: Address = None,
    root: Root = "results",
    steps: Steps = None,
    first: First = None,
    cpu: Cpu = None,
    gpu: Gpu = None,
    workers: Workers = None,
    settings: Settings = None,
    retry_failed: RetryFailed = False,
    code_as_before: CodeAsBefore = False,
    follow: Follow = False,
    slurm: Slurm = False,
    sbatch: Sbatch = None,
) -> None:
    """Run a study on a cluster, driven there: you can close this machine. Asking twice finds the first."""
    read = read_study(study, cpu, gpu, workers, settings, root if code_as_before else None)
    if "://" not in root and not root.startswith("/"):
        stop(
            f"--root {root} is a folder of this machine; a cluster needs one that all of its nodes reach: "
            "s3://BUCKET/PATH, or the absolute path of a shared folder"
        )
    options = {"steps": steps, "first": first, "cpu": cpu, "gpu": gpu, "workers": workers}
    words = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
    words += ["--retry-failed"] if retry_failed else []
    if slurm or sbatch:
        if cluster is not None or address is not None or follow:
            stop("--slurm: starts a Ray of its own; leave out --cluster, --address and --follow")
        own = [*(["--code-as-before"] if code_as_before else [])]
        _to_slurm(read, root, [*words, *own, *(w for each in settings or () for w in ("--set", each))], sbatch or [])
        return
    arguments = shlex.join([f"studies/{read.name}.yaml", "--root", root, *words])
    with jobs_of(cluster, address) as jobs:
        job_id = _start(jobs, read, arguments)
        if not follow:
            where = ["--cluster", str(cluster)] if cluster is not None else ["--address", str(address)]
            say("see it with:\n  " + shlex.join(["grokstudy", "status", str(study), "--root", root]))
            say("  " + shlex.join(["grokstudy", "submit", str(study), "--root", root, *where, "--follow"]))
            return
        try:
            ended = jobs.follow(job_id, lambda text: emit(text, newline=False))
        except KeyboardInterrupt:
            say(f"\n{job_id} keeps running; stop it with `grokstudy cancel {shlex.quote(str(study))}`", err=True)
            raise
    say(f"{ended.job_id}: {ended.status.lower()}")
    if ended.status == "SUCCEEDED":
        raise typer.Exit(DONE)
    raise typer.Exit(INTERRUPTED if ended.exit_code is None else ended.exit_code)


def _to_slurm(study: Study, root: str, words: list[str], options: list[str]) -> None:
    from grokstudy.orchestrator.cluster.jobs import ClusterError
    from grokstudy.orchestrator.cluster.slurm import submit_batch

    try:
        job = submit_batch(f"{study.name}-{study.spec_hash}", str(study.path.resolve()), root, words, options)
    except ClusterError as error:
        stop(str(error))
    say(f"{job.job_id}: {'submitted' if job.is_new else 'waits or runs already'}; see it with")
    say("  " + shlex.join(["grokstudy", "status", str(study.path), "--root", root]))
    say(f"  squeue --jobs {job.job_id}")


def _start(jobs: Jobs, study: Study, arguments: str) -> str:
    """The id of the job that does this: the one that is already running, or a new one."""
    from grokstudy.orchestrator.cluster.jobs import next_id
    from grokstudy.orchestrator.cluster.package import pack
    from grokstudy.trainables.versions import git_commit

    known = jobs.of_study(study.name)
    job_id = next_id(f"{study.name}-{study.spec_hash}", known)
    for job in known:
        if job.active and (job.job_id, job.arguments) != (job_id, arguments):
            stop(
                f"{job.job_id} is running this study with other settings ({job.arguments}); `grokstudy cancel` it first"
            )
    if any(job.active for job in known):
        say(f"{job_id} is already running")
        return job_id
    commit = git_commit()
    with tempfile.TemporaryDirectory(prefix="grokstudy-job-") as folder:
        pack(study, Path(folder))
        fresh = jobs.start(job_id, study.name, arguments, Path(folder), {"GROKSTUDY_COMMIT": commit} if commit else {})
    say(f"{job_id} {'submitted' if fresh else 'is already running'}")
    return job_id
