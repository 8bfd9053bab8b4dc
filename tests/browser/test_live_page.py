"""The live page in a browser: what it shows of a study that trains, that it follows the root, and who may see it."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from synthetic import REGIMES, STEPS, build_tracked, run_id, write_markers

from grokstudy.orchestrator.console.serve import HOST, LiveServer
from grokstudy.trainables.storage.store import Store

PATIENCE_MS = 60_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One run has crashed, one is under way, two are done."""
    root = build_tracked(tmp_path, seeds=1)
    store = Store(root)
    store.delete(f"runs/{run_id(1)}/DONE.json")
    store.delete(f"runs/{run_id(2)}/DONE.json")
    failed = {"error": "RuntimeError: <b>no</b> memory", "traceback": "Traceback\n  in <module>", "step": 7}
    store.write_json(f"runs/{run_id(1)}/FAILED.json", failed)
    return root


@pytest.fixture
def server(root: Path) -> Iterator[LiveServer]:
    server = LiveServer(Store(root), 0, lambda: (None, None), "regimes")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


def answered(server: LiveServer, path: str, **headers: str) -> tuple[int, str]:
    """Status and body of one question, without following where it leads."""
    asked = urllib.request.Request(f"http://{HOST}:{server.server_port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_only_who_has_the_token_sees_anything(server: LiveServer) -> None:
    cookie = f"grokstudy_{server.server_port}={server.token}"
    for path in ("/", "/?token=wrong", "/state?study=regimes", "/figures?study=regimes", "/live.js"):
        code, text = answered(server, path)
        assert code == 403, path
        assert "with its token" in text
    assert answered(server, "/", Cookie=cookie)[0] == 200
    assert answered(server, "/", Cookie=f"{cookie}x")[0] == 403
    elsewhere = answered(server, "/state?study=regimes", Cookie=cookie, Host="evil.example")
    assert elsewhere == (421, "this server answers on loopback only")
    assert server.server_address[0] == "127.0.0.1"


def test_only_studies_of_the_root_are_read(server: LiveServer) -> None:
    cookie = f"grokstudy_{server.server_port}={server.token}"
    for name in ("absent", "../regimes", "..%2F..%2Fetc", ""):
        assert answered(server, f"/state?study={name}", Cookie=cookie)[0] == 404
    told = json.loads(answered(server, "/state?study=regimes", Cookie=cookie)[1])
    assert (told["ended"], told["runs"]) == (3, 4)
    assert [row["regime"] for row in told["failures"]] == ["first_hop"]
    assert next(row["event"] for row in told["events"]) in ("generalised", "circuit")
    assert told["events"] == sorted(told["events"], key=lambda row: -row["step"])


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_root(browser: Any, server: LiveServer, root: Path, shots: Path, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
    tab, wrong = context.new_page(), []
    tab.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.goto(server.address)
    assert server.token not in tab.url
    tab.get_by_text("3/4 runs ended").wait_for(timeout=PATIENCE_MS)
    tab.wait_for_function("document.querySelectorAll('#figures svg').length >= 3", timeout=PATIENCE_MS)
    for regime in REGIMES:
        assert tab.locator("#regimes td", has_text=regime).count() == 1
    tab.locator("#failures summary", has_text="<b>no</b> memory").click()
    assert "in <module>" in tab.locator("#failures pre").inner_text()
    assert tab.locator("#figures figure#curves").count() == 1
    tab.screenshot(path=shots / f"serve_{scheme}.png", full_page=True)
    write_markers(root, run_id(2), 0, STEPS)
    tab.get_by_text("4/4 runs ended").wait_for(timeout=PATIENCE_MS)
    assert tab.locator("#failures details[open]").count() == 1, "what a person opened stays open"
    assert wrong == []
    context.close()
