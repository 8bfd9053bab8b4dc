"""`--notify`: what is posted when a command ends, and that a hook can break nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import typer

from grokstudy.orchestrator.commands.notify import notified


class Hook(HTTPServer):
    """Keeps what it is told."""

    told: list[dict[str, Any]]


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        self.server.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook(("127.0.0.1", 0), _Handler)
    server.told = []
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.mark.parametrize(("code", "words"), [(0, "is done"), (1, "some runs failed"), (3, "can be resumed")])
def test_the_hook_is_told_how_it_ended(hook: Hook, code: int, words: str) -> None:
    with pytest.raises(typer.Exit), notified(f"http://127.0.0.1:{hook.server_port}/x", "quickstart", "results"):
        raise typer.Exit(code)
    (told,) = hook.told
    assert (told["study"], told["root"], told["exit_code"]) == ("quickstart", "results", code)
    assert words in told["text"]


def test_an_error_is_told_and_goes_on(hook: Hook) -> None:
    with pytest.raises(ZeroDivisionError), notified(f"http://127.0.0.1:{hook.server_port}", "s", "r"):
        raise ZeroDivisionError
    assert hook.told[0]["text"] == "grokstudy: s ended with ZeroDivisionError"
    assert hook.told[0]["exit_code"] is None


def test_a_hook_that_does_not_answer_is_a_warning_without_its_secret(
    hook: Hook, capsys: pytest.CaptureFixture[str]
) -> None:
    hook.server_close()
    with notified(f"http://127.0.0.1:{hook.server_port}/secret", "s", "r"):
        pass
    warned = capsys.readouterr().err
    assert "127.0.0.1 was not notified" in warned
    assert "secret" not in warned


def test_an_address_that_is_none_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(typer.Exit) as ended, notified("file:///etc/passwd", "s", "r"):
        pytest.fail("it began")
    assert ended.value.exit_code == 2
