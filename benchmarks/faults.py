"""The table of docs/reliability.md, from the lines that the fault tests wrote (`make test-faults`)."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl


def table(lines: pl.DataFrame) -> pl.DataFrame:
    """One row per fault: how often, what it cost, how long until work went on."""
    return lines.group_by("fault", maintain_order=True).agg(
        pl.col("injected").sum(),
        pl.col("lost").sum().alias("rows lost"),
        pl.col("doubled").sum().alias("rows doubled"),
        pl.when(pl.col("identical").all()).then(pl.lit("yes")).otherwise(pl.lit("NO")).alias("curve identical"),
        pl.col("seconds").max().round(1).alias("seconds to recover"),
    )


def markdown(frame: pl.DataFrame) -> str:
    """As a table of a Markdown file; a time that was not taken stays empty."""
    rows = [frame.columns, ["---"] * frame.width, *frame.rows()]
    return "\n".join("| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |" for row in rows)


if __name__ == "__main__":
    print(markdown(table(pl.read_ndjson(Path(sys.argv[1]), schema_overrides={"seconds": pl.Float64}))))
