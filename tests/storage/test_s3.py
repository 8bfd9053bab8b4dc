"""A root on a server that speaks S3: the same runs, and a bounded number of requests."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyarrow import fs
from small_runs import train

from grokstudy.orchestrator.execution.driver import study_state
from grokstudy.orchestrator.root.verify import verify
from grokstudy.orchestrator.runs.state import Ledger
from grokstudy.orchestrator.runs.study_dir import write_study
from grokstudy.orchestrator.runs.trials import runs_of
from grokstudy.orchestrator.study.load import load_study
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.schema import TABLES
from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.store import StorageError, Store

pytestmark = pytest.mark.slow
Small = Callable[..., RunConfig]
RUNS = int(os.environ.get("GROKSTUDY_S3_RUNS", "1000"))
"""With 10000, status must come by with 50 requests."""


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Server:
    """A server that speaks S3, and its log of requests."""

    port: int
    log: Path
    seen: int = 0

    def counts(self) -> Counter[str]:
        """Requests since the last call, by kind."""
        log = re.sub(r"\x1b\[\d+m", "", self.log.read_text())
        lines = [line for line in log.splitlines() if "HTTP/1" in line]
        new, self.seen = lines[self.seen :], len(lines)
        return Counter("LIST" if "list-type" in line else line.split('"')[1].split()[0] for line in new)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of our own."""
    found = Server(_free_port(), tmp_path_factory.mktemp("s3") / "log")
    with found.log.open("w") as out:
        words = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(found.port)]
        process = subprocess.Popen(words, stdout=out, stderr=out)
    try:
        _wait_for(found.port)
        yield found
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError("the server did not come up")


@pytest.fixture
def remote(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """An empty root in a bucket of its own."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    endpoint = f"127.0.0.1:{server.port}"
    bucket = f"b{abs(hash(str(tmp_path))):x}"
    options = {"region": "us-east-1", "endpoint_override": endpoint, "scheme": "http"}
    fs.S3FileSystem(**options, allow_bucket_creation=True).create_dir(bucket)
    query = f"region=us-east-1&endpoint_override={endpoint}&scheme=http"
    store = Store(f"s3://{bucket}/root?{query}")
    server.counts()
    return store


def test_the_same_run_and_few_requests(small: Small, remote: Store, server: Server, tmp_path: Path) -> None:
    config = small(eval={"every": 10, "probes": []})
    whole = train(config, Store(tmp_path / "local"))
    train(config, remote, to=45)
    found = train(config, remote)
    counts = server.counts()
    print(dict(counts))
    for name in TABLES:
        here, there = (records.read(run, name).drop_columns(["attempt"]) for run in (found, whole))
        assert here.equals(there), name
    # Two attempts, four checkpoints: each a part of two tables, a checkpoint, and what it looks at.
    assert counts["PUT"] + counts["POST"] <= 20, counts
    assert sum(counts.values()) <= 120, counts
    assert [fault.kind for fault in verify(remote)] == ["orphan"]


STUDY = """\
base:
  data: {phi: 3.6}
  train: {steps: 100}
  eval: {probes: []}
seeds: RUNS
"""


def test_status_lists_instead_of_reading_every_run(remote: Store, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "many.yaml"
    path.write_text(STUDY.replace("RUNS", str(RUNS)))
    study = load_study(path)
    trials = study_state(study, Store(tmp_path / "nothing")).trials
    runs = runs_of(trials)
    write_study(remote, study, trials, Ledger(remote, runs, False, {run.run_id: 100 for run in runs}))
    _pretend_to_list(remote, [run.run_id for run in runs])
    server.counts()
    state = study_state(study, remote, trust=True)
    assert state.finished()
    assert len(state.runs) == RUNS
    counts = server.counts()
    print(RUNS, dict(counts))
    assert sum(counts.values()) <= 5 + 4.5 * RUNS / 1000, counts


def _pretend_to_list(store: Store, run_ids: list[str]) -> None:
    """One small file per run."""

    def put(names: list[str]) -> None:
        for name in names:
            store.write(f"runs/{name}/DONE.json", b'{"step": 100, "reason": "finished"}')

    threads = [threading.Thread(target=put, args=(run_ids[start::8],)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_server_that_is_gone_is_named_after_a_while(remote: Store) -> None:
    lost = Store(remote.uri.replace("endpoint_override=127.0.0.1:", "endpoint_override=127.0.0.2:1"))
    lost.patience_s = 0.1
    with pytest.raises(StorageError, match=r"cannot write .*Free space or repair the storage"):
        lost.write("x", b"x")
