"""What it costs to ask a large root: our reader beside DuckDB and polars on the same files, in alternating rounds.

    python -m benchmarks.reader [RUNS STEPS]

The rows are written by the product's own writer, in parts of 1,000 steps with an evaluation of seven splits every 100;
nothing is trained. Ours checks every page against its checksum and leaves out what is damaged; the others do not. One
JSON line per question and clock: median seconds of each, and the ratio to the faster of the others. Where other work
is on the machine, seconds of the processor compare better.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.scratch import scratch
from benchmarks.verify import long_run
from grokstudy.analysis.query import query
from grokstudy.analysis.tables.study import load
from grokstudy.trainables.storage.run_dir import RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import StudyDir

ROUNDS = 5


def root(runs: int, steps: int) -> Store:
    """Copies of one run's rows under as many names, and a study that asks for them."""
    store = Store(scratch() / "root")
    first, _ = long_run(store, steps)
    names = [f"{number:016x}" for number in range(runs)]
    for table in ("steps", "evals"):
        parts = {path.rpartition("/")[2]: store.read(path) for path in store.list(first.parts(table))}
        for name in names:
            for part, content in parts.items():
                store.write(f"{RunDir(store, name).parts(table)}/{part}", content)
            # the run that was copied is not part of the study, and in nobody's count
        for path in store.list(first.parts(table)):
            store.delete(path)
    trials = [
        {"trial_id": f"big-{number}", "run_id": name, "horizon": steps, "seed": 0, "state": "done", "group": number % 7}
        for number, name in enumerate(names)
    ]
    folder, buffer = StudyDir(store, "big"), pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(trials), buffer)
    store.write(folder.trials, buffer.getvalue().to_pybytes())
    store.write_json(folder.spec, {"name": "big", "axes": ["group"], "seeds": [0], "events": {}, "base": {}})
    return store


def compared(question: str, runs: int, ways: dict[str, Callable[[], object]]) -> None:
    """Time the ways in turn and print the medians, on the clock and of the processor."""
    for clock, now in {"clock": time.perf_counter, "processor": time.process_time}.items():
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, ask in ways.items():
                began = now()
                ask()
                seconds[name].append(now() - began)
        medians = {name: round(statistics.median(values), 3) for name, values in seconds.items()}
        fastest = max(min(value for name, value in medians.items() if name != "ours"), 0.001)
        ratio = round(medians["ours"] / fastest, 2)
        print(json.dumps({"question": question, "runs": runs, "seconds": clock, **medians, "ratio": ratio}))


def main() -> None:
    """Ask a root of so many runs."""
    runs, steps = map(int, sys.argv[1:] or (1000, 3000))
    store = root(runs, steps)
    path = {table: f"{store.path('metrics')}/{table}/*/*.parquet" for table in ("steps", "evals")}

    def ours(sql: str) -> Callable[[], object]:
        return lambda: query(load(store.uri, "big"), sql)

    compared(
        "count of steps", runs,
        {
            "ours": ours("SELECT count(*) FROM steps"),
            "duckdb": lambda: duckdb.sql(f"SELECT count(*) FROM '{path['steps']}'").fetchall(),
            "polars": lambda: pl.scan_parquet(path["steps"]).select(pl.len()).collect(),
        },
    )  # fmt: skip
    compared(
        "mean loss by run", runs,
        {
            "ours": ours("SELECT run_id, avg(loss) FROM steps GROUP BY run_id"),
            "duckdb": lambda: duckdb.sql(
                f"SELECT run_id, avg(loss) FROM read_parquet('{path['steps']}', hive_partitioning=true) GROUP BY run_id"
            ).fetchall(),
            "polars": lambda: pl.scan_parquet(path["steps"], hive_partitioning=True)
            .group_by("run_id").agg(pl.mean("loss")).collect(),
        },
    )  # fmt: skip
    compared(
        "mean accuracy by split", runs,
        {
            "ours": ours("SELECT split, avg(accuracy) FROM evals GROUP BY split"),
            "duckdb": lambda: duckdb.sql(
                f"SELECT split, avg(accuracy) FROM '{path['evals']}' GROUP BY split"
            ).fetchall(),
            "polars": lambda: pl.scan_parquet(path["evals"]).group_by("split").agg(pl.mean("accuracy")).collect(),
        },
    )  # fmt: skip
    compared(
        "count of trials", runs,
        {
            "ours": ours("SELECT count(*) FROM trials"),
            "polars": lambda: pl.read_parquet(store.path(StudyDir(store, "big").trials)).height,
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
