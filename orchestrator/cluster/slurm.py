"""A study as a batch job of Slurm: the shipped script, which starts Ray on every node of the job and runs the driver.

Slurm knows the job by a name that follows from what is asked, `<study>-<hash of the study>`: asking again while it
waits or runs finds it. The script travels with the submission; the environment is the one that it is submitted from.
"""

from __future__ import annotations

import getpass
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from grokstudy.orchestrator.cluster.jobs import ClusterError
from grokstudy.orchestrator.shipped import CLUSTER_FILES, HOME


@dataclass(frozen=True)
class Batch:
    """A batch job."""

    job_id: str
    is_new: bool
    """Whether it was submitted now; else it waited or ran already."""


def submit_batch(name: str, study: str, root: str, words: Sequence[str], options: Sequence[str]) -> Batch:
    """Submit `grokstudy run STUDY --root ROOT WORDS` under this name, with options of `sbatch`.

    Raises ClusterError where there is no Slurm, or it refuses the job: its own words, in one line.
    """
    waiting = _said("squeue", "--noheader", "--user", getpass.getuser(), "--name", name, "--format", "%i").split()
    if waiting:
        return Batch(waiting[0], is_new=False)
    script = str(HOME / CLUSTER_FILES["slurm"].place)
    told = _said("sbatch", "--parsable", "--job-name", name, *options, script, study, root, *words)
    return Batch(told.strip().partition(";")[0], is_new=True)  # behind ; stands the cluster, where there are several


def _said(command: str, *words: str) -> str:
    if shutil.which(command) is None:
        raise ClusterError(
            f"{command}: there is none here; submit from a machine of the cluster that has Slurm's commands"
        )
    done = subprocess.run([command, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise ClusterError(f"{command}: {reason}")
    return done.stdout
