"""A study as a data set of the Hugging Face hub: Parquet files and a card. Nothing is sent anywhere.

`datasets.load_dataset(folder, "steps")` reads a table; the hub shows each as a subset. Rows are those of the analysis:
every trial with its seed and settings, without host names or paths.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from grokstudy.analysis.answer import answer
from grokstudy.analysis.answer_text import as_text
from grokstudy.analysis.exports.arriving import arriving
from grokstudy.analysis.summary import sentences
from grokstudy.analysis.tables.study import StudyTables
from grokstudy.trainables.schema import TABLES, TRIAL_COLUMNS

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
         (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"))  # fmt: skip


def to_hugging_face(tables: StudyTables, folder: Path) -> int:
    """Write `folder/README.md` and `folder/data/<table>.parquet`; returns the rows of all tables.

    Raises FileExistsError where the folder holds something.
    """
    frames = {"trials": tables.trials, "events": tables.events, **{name: getattr(tables, name) for name in TABLES}}
    rows = {}
    with arriving(folder) as part:
        (part / "data").mkdir(parents=True)
        for name, frame in frames.items():
            path = part / "data" / f"{name}.parquet"
            frame.sink_parquet(path)
            rows[name] = int(pl.scan_parquet(path).select(pl.len()).collect().item())
        (part / "README.md").write_text(_card(tables, rows))
    return sum(rows.values())


def _card(tables: StudyTables, rows: dict[str, int]) -> str:
    """What the hub shows: the settings of its viewer, then the study in words."""
    largest = max(rows.values())
    size = next((word for limit, word in SIZES if largest < limit), "n>1B")
    subsets = "\n".join(
        f"- config_name: {name}\n  data_files: data/{name}.parquet" + ("\n  default: true" if name == "trials" else "")
        for name, count in rows.items()
        if count
    )
    hypothesis = " ".join(str(tables.spec.get("hypothesis") or "").split())
    found = answer(tables)
    told = " ".join(sentences(found))
    events = "\n".join(f"- `{name}`: {event}" for name, event in tables.declared.items())
    columns = "\n".join(
        f"| {table} | `{column.name}` | {column.meaning} | {column.unit} |"
        for table, known in {"trials": TRIAL_COLUMNS, **TABLES}.items()
        for column in known
    )
    counts = "\n".join(f"| {name} | {count:,} |" for name, count in rows.items())
    study = tables.text.strip().replace("```", "'''")
    return f"""---
pretty_name: {tables.name}
tags: [grokking, mechanistic-interpretability, transformers, training-curves, grokstudy]
size_categories: [{size}]
configs:
{subsets}
---

# {tables.name}

{hypothesis}

{told}

```
{as_text(found)}
```

| table | rows |
|---|---|
{counts}

Rows of all tables but `trials` carry `trial_id`, `horizon`, `seed` and the swept settings. Events:

{events}

| table | column | meaning | unit |
|---|---|---|---|
{columns}

## The study file

```yaml
{study}
```
"""
