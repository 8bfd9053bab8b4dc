"""`grokstudy serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from grokstudy.orchestrator.commands.common import Root, existing, say, stop, study_name, writer_of
from grokstudy.orchestrator.commands.complete import studies

Study = Annotated[
    str | None, typer.Argument(help="The study that is shown at first.", show_default=False, autocompletion=studies)
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port on loopback; 0 takes one that is free.")]


def serve(study: Study = None, root: Root = "results", port: Port = 0) -> None:
    """Show the studies of a root as a page that follows them while they train, wherever that is. Ctrl-C ends it.

    The page is on loopback, for who has the token in the printed address; it reads the root and nothing else.
    """
    from grokstudy.orchestrator.console.serve import LiveServer
    from grokstudy.orchestrator.execution.lock import trained_study
    from grokstudy.trainables.storage.study_dir import StudyDir

    store, first = existing(root), study and study_name(study)
    if first is not None:
        try:
            StudyDir(store, first).read_spec()
        except (ValueError, FileNotFoundError) as error:
            stop(str(error))
    try:
        server = LiveServer(store, port, lambda: (trained_study(store), writer_of(store)), first)
    except OSError as error:
        stop(f"port {port}: {error.strerror or error}; choose another with --port, or 0 for a free one")
    say(f"{store.uri}: open\n  {server.address}\nCtrl-C ends it; training goes on.")
    with server:
        server.serve_forever(poll_interval=0.2)
