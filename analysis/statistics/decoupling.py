"""Do the answer and the circuit come together? Lead and class per trial, shares and verdict per group.

Lead = log10 t_generalised - log10 t_circuit, in decades: positive when the circuit is there first
(docs/science.md#lead-and-classes; the question of arXiv 2601.09049). A trial in which either event has no data has no
class: null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

Z = 1.959963984540054
"""Half the width of a 95 % interval, in standard errors."""
DELTA = 0.1
"""Leads up to this many decades are called simultaneous."""

CLASSES = {
    "circuit_first": "the circuit leads by more than 0.1 decades",
    "simultaneous": "within 0.1 decades of each other",
    "answer_first": "the answer leads by more than 0.1 decades",
    "fake": "the answer generalises, the circuit never forms, and nothing shows that the answer runs through it",
    "latent": "the circuit forms, the answer never generalises",
    "neither": "neither happens within the training length",
    "undecided": "the answer generalises without a circuit, and what was measured cannot tell fake from answer_first",
}
"""Classes of a trial. The verdict of a group is the class of more than half of its trials."""
NO_VERDICT = ("mixed", "no_data")
"""Verdicts of a group without a majority, or without a classified trial."""

_SIDE = ("state", "time", "lower", "upper")


def leads(
    events: pl.LazyFrame, answer: str = "generalised", circuit: str = "circuit", mediated: str = "mediated"
) -> pl.LazyFrame:
    """Lead and class (`kind`) of each trial; `lead_low` and `lead_high` bound the lead where it is censored.

    An observed lead is bounded by the evaluations around both crossings; where only the circuit came the lead is
    bounded from below (the answer comes later than the last evaluation), where only the answer came from above.
    """
    names = {"answer_": answer, "circuit_": circuit, "mediated_": mediated}
    sides = [
        events.filter(pl.col("event") == name).select("trial_id", pl.col(_SIDE).name.prefix(prefix))
        for prefix, name in names.items()
    ]
    both = sides[0].join(sides[1], on="trial_id", how="full", coalesce=True).join(sides[2], on="trial_id", how="left")
    bounded = both.with_columns(
        lead=_log("answer_time") - _log("circuit_time"),
        lead_low=_since("answer") - _log("circuit_upper"),
        lead_high=_log("answer_upper") - _since("circuit"),
    )
    columns = ("trial_id", "answer_time", "circuit_time", "lead", "lead_low", "lead_high")
    return bounded.select(*columns, kind=_kind()).sort("trial_id")


def _log(column: str) -> pl.Expr:
    """log10 of a step, steps before 1 counted as 1."""
    return pl.col(column).cast(pl.Float64).clip(lower_bound=1).log10()


def _since(side: str) -> pl.Expr:
    """log10 of the last step surely before an event; an event that was there from the start has 1."""
    return pl.when(pl.col(f"{side}_state").is_in(("observed", "censored"))).then(_log(f"{side}_lower").fill_null(0))


def _kind() -> pl.Expr:
    known = ("observed", "censored")
    answer, circuit = (pl.col(f"{side}_state") == "observed" for side in ("answer", "circuit"))
    measured = pl.col("answer_state").is_in(known) & pl.col("circuit_state").is_in(known)
    lead = pl.col("lead")
    named = pl.coalesce(
        pl.when(answer & circuit & (lead > DELTA)).then(pl.lit("circuit_first")),
        pl.when(answer & circuit & (lead < -DELTA)).then(pl.lit("answer_first")),
        pl.when(answer & circuit).then(pl.lit("simultaneous")),
        pl.when(circuit).then(pl.lit("latent")),
        pl.when(answer).then(_without_circuit()),
        pl.lit("neither"),
    )
    return pl.when(measured).then(named)


def _without_circuit() -> pl.Expr:
    """Class of a trial that answers without a circuit: does mediation say that the answer runs through one?

    It speaks against that only where it was measured since the answer came, which takes enough right answers.
    """
    state = pl.col("mediated_state")
    below = (state == "censored") & (pl.col("mediated_lower") >= pl.col("answer_upper"))
    mediated = (state == "observed") & (pl.col("lead_high") < -DELTA)
    return pl.coalesce(
        pl.when(state.is_null() | below).then(pl.lit("fake")),
        pl.when(mediated).then(pl.lit("answer_first")),
        pl.lit("undecided"),
    )


def shares(trials: pl.LazyFrame, by: Sequence[str]) -> pl.LazyFrame:
    """Count of each class (`kind`) per group, zeros included, with its share and Wilson 95 % interval.

    `n` is the number of classified trials; `unknown` counts those without a class.
    """
    names = pl.LazyFrame({"kind": list(CLASSES)})
    groups = trials.group_by(*by, pl.lit(1).alias("_all"), maintain_order=True).agg(
        n=pl.col("kind").count(), unknown=pl.col("kind").null_count()
    )
    counted = trials.group_by(*by, "kind").agg(count=pl.len())
    every = groups.join(names, how="cross", maintain_order="left_right")
    joined = every.join(counted, on=[*by, "kind"], how="left", nulls_equal=True, maintain_order="left")
    filled = joined.with_columns(pl.col("count").fill_null(0))
    return filled.select(*by, "kind", "count", "n", "unknown", *wilson(pl.col("count"), pl.col("n")))


def wilson(count: pl.Expr, n: pl.Expr) -> list[pl.Expr]:
    """Share and Wilson score interval of a count (Wilson 1927); null when n is 0."""
    size = pl.when(n > 0).then(n.cast(pl.Float64))
    share = count / size
    centre = (share + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z / (1 + Z**2 / size) * (share * (1 - share) / size + Z**2 / (4 * size**2)).sqrt()
    low, high = (centre - half).clip(0, 1), (centre + half).clip(0, 1)
    return [share.alias("share"), low.alias("low"), high.alias("high")]


def majority(counts: Mapping[str, int]) -> str:
    """The class of more than half of the classified trials; `mixed` if none, `no_data` without trials."""
    total = sum(counts.values())
    winners = [name for name, count in counts.items() if 2 * count > total]
    return winners[0] if winners else NO_VERDICT[0] if total else NO_VERDICT[1]
