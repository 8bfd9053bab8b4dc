"""Tables read from bytes that we hold: no thread of Arrow's may be left with them when Python ends."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pyarrow as pa
import pytest
import synthetic

from grokstudy.trainables.storage import records
from grokstudy.trainables.storage.run_dir import PART, RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import StudyDir


class Lent(io.BytesIO):
    """Bytes that note which threads read them."""

    def __init__(self, content: bytes, readers: set[str]) -> None:
        super().__init__(content)
        self.readers = readers

    def read(self, size: int | None = -1) -> bytes:
        self.readers.add(threading.current_thread().name)
        return super().read(size)


def test_whoever_asks_for_a_table_reads_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, readers = Store(synthetic.build(tmp_path, seeds=1)), set[str]()
    monkeypatch.setattr(pa, "BufferReader", lambda content: pa.PythonFile(Lent(content, readers), mode="r"))
    run = RunDir(store, str(StudyDir(store, "regimes").trial_rows()[0]["run_id"]))
    for table in ("steps", "evals", "probes"):
        part = PART.fullmatch(next(iter(store.places(run.parts(table)))))
        assert part
        assert records.read_part(run, table, int(part["start"])).num_rows
    assert readers == {threading.current_thread().name}
