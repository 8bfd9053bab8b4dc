"""What `submit` and `cancel` share: which cluster, and a connection to its Jobs API."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grokstudy.orchestrator.commands.common import stop

if TYPE_CHECKING:
    from grokstudy.orchestrator.cluster.jobs import Jobs

Cluster = Annotated[Path | None, typer.Option("--cluster", help="The file that `ray up` was given, e.g. cluster.yaml.")]
Address = Annotated[
    str | None,
    typer.Option("--address", envvar="RAY_API_SERVER_ADDRESS", help="Dashboard, e.g. http://127.0.0.1:8265."),
]


@contextlib.contextmanager
def jobs_of(cluster: Path | None, address: str | None) -> Iterator[Jobs]:
    """The jobs of the cluster that was named; what goes wrong with it is said in one line."""
    from grokstudy.orchestrator.cluster.jobs import ClusterError, Jobs
    from grokstudy.orchestrator.cluster.tunnel import tunnel

    try:
        if cluster is not None:
            with tunnel(cluster) as url:
                yield Jobs(url)
        elif address is not None:
            yield Jobs(address)
        else:
            stop("which cluster? name the file of `ray up` with --cluster, or its dashboard with --address")
    except ClusterError as error:
        stop(str(error))
