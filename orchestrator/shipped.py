"""What comes with grokstudy beside its code: study files and cluster files, read by name.

They lie where a checkout has them. `grokstudy/` holds links to them, and an installed copy the files themselves, so the
folder above this one has them in a checkout, in a copy of one without its links, and in an installed package.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from grokstudy.trainables.options import known_words

HOME = Path(__file__).parent.parent
FOR_THE_CHECKOUT = "# yaml-language-server: $schema=../docs/study.schema.json\n"
"""First line of a shipped study, for editors; it leads nowhere from another folder."""


@dataclass(frozen=True)
class ClusterFile:
    """A file to start a cluster with."""

    place: str
    """Where it lies, from the top of the checkout."""
    about: str

    def text(self) -> str:
        """What is in it."""
        return (HOME / self.place).read_text(encoding="utf-8")


CLUSTER_FILES = {
    "aws": ClusterFile("cluster.yaml", "for `ray up`: AWS, with GPU nodes that come when work waits and go when idle"),
    "gcp": ClusterFile("docs/clusters/gcp.yaml", "for `ray up`: the same on Google Cloud"),
    "local": ClusterFile("docs/clusters/local.yaml", "for `ray up`: your own machines, with ssh and a shared folder"),
    "kuberay": ClusterFile("docs/clusters/kuberay-rayjob.yaml", "for `kubectl apply`: a study as a RayJob of KubeRay"),
    "dockerfile": ClusterFile("docs/clusters/Dockerfile", "for `docker build`: the image of that RayJob"),
    "slurm": ClusterFile("docs/clusters/slurm.sh", "for `sbatch`: a study on some nodes of a Slurm cluster"),
    "constraints": ClusterFile("constraints.txt", "for `pip install --constraint`: the versions that were tested"),
}


def shipped_studies() -> dict[str, Path]:
    """The shipped study files by name."""
    return {path.stem: path for path in sorted((HOME / "studies").glob("*.yaml"))}


def study_to_edit(name: str) -> str:
    """The text of a shipped study, to begin one's own with."""
    return shipped_studies()[name].read_text(encoding="utf-8").removeprefix(FOR_THE_CHECKOUT)


def near(word: str, known: Iterable[str]) -> str:
    """The names that may have been meant, or all there are."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=3) or [name for name in names if word and name.startswith(word)]
    return f"did you mean {' or '.join(close)}?" if close else known_words(word, names)
