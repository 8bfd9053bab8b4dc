"""`--notify URL`: tell somebody who does not watch how a command ended."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

import typer

from grokstudy.orchestrator.commands.common import BAD_INPUT, DONE, INTERRUPTED, SOME_FAILED, say, stop

Notify = Annotated[
    str | None,
    typer.Option(
        "--notify",
        metavar="URL",
        envvar="GROKSTUDY_NOTIFY",
        help="Post a JSON object with a text to this address when the command ends, well or not (a web hook).",
        show_default=False,
    ),
]
ENDS = {DONE: "is done", SOME_FAILED: "is done, some runs failed", BAD_INPUT: "stopped: bad input or no resources",
        INTERRUPTED: "was interrupted and can be resumed"}  # fmt: skip
PATIENCE_S = 10.0


@contextlib.contextmanager
def notified(url: str | None, study: str, root: str) -> Iterator[None]:
    """Post how the commands inside ended. A hook that does not answer changes nothing but a warning."""
    if url is None:
        yield
        return
    if urlsplit(url).scheme not in ("http", "https"):
        stop("--notify: give an address that begins with http:// or https://")
    try:
        yield
    except typer.Exit as ended:
        _post(url, study, root, ended.exit_code, ENDS.get(ended.exit_code, "ended"))
        raise
    except BaseException as error:
        _post(url, study, root, None, f"ended with {type(error).__name__}")
        raise
    _post(url, study, root, DONE, ENDS[DONE])


def _post(url: str, study: str, root: str, code: int | None, words: str) -> None:
    payload = {"text": f"grokstudy: {study} {words}", "study": study, "root": root, "exit_code": code}
    request = urllib.request.Request(url, json.dumps(payload).encode(), {"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=PATIENCE_S).close()
    except (OSError, ValueError) as error:  # the address may hold a secret: only its host is told
        say(f"warning: {urlsplit(url).hostname} was not notified: {error}", err=True)
