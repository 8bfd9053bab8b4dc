"""Across runs: does the answer come when the circuit comes? Two answers that respect censoring.

`concordance`: Kendall's tau over the pairs of runs whose order is known in both events (Oakes 1982).
`hazard_ratio`: how much likelier generalising becomes once the circuit has formed, by a Cox model with the
time-varying covariate 1[circuit formed], stratified by group if wanted (docs/science.md#hazard-ratio).
Runs of one seed share their graph: tau's interval takes seeds, not runs, for what is independent.
What cannot be estimated is null with a reason.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from grokstudy.analysis.statistics.survival import Array
from grokstudy.trainables.messages import first_line

CONCORDANCE = pl.Schema(
    {
        "tau": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "n": pl.Int64,
        "n_censored": pl.Int64,
        "seeds": pl.Int64,
        "pairs": pl.Int64,
        "reason": pl.String,
    }
)
HAZARD = pl.Schema(
    {
        "hazard_ratio": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "p": pl.Float64,
        "n": pl.Int64,
        "n_censored": pl.Int64,
        "after": pl.Int64,
        "before": pl.Int64,
        "reason": pl.String,
    }
)


@dataclass(frozen=True)
class Pairs:
    """Both events of every run: times (or censoring times), whether observed, the stratum and the seed."""

    answer: Array
    answered: Array
    circuit: Array
    formed: Array
    stratum: Array
    seed: Array


def pairs_of(
    events: pl.LazyFrame, by: Sequence[str] = (), answer: str = "generalised", circuit: str = "circuit"
) -> Pairs:
    """Runs in which both events have data; runs of one group are one stratum."""
    duration = pl.coalesce("time", pl.col("lower").cast(pl.Float64), pl.lit(0.0)).alias("duration")
    known = events.filter(pl.col("state") != "no_data")
    sides = [
        known.filter(pl.col("event") == name).select("trial_id", "seed", *by, duration, pl.col("state") == "observed")
        for name in (answer, circuit)
    ]
    both = sides[0].join(sides[1].drop("seed", *by), on="trial_id").sort("trial_id")
    stratum = pl.struct(by).rle_id() if by else pl.lit(0)
    frame = (both.sort(by, maintain_order=True) if by else both).with_columns(stratum=stratum).collect()
    names = ("duration", "state", "duration_right", "state_right", "stratum", "seed")
    return Pairs(*(frame[name].to_numpy() for name in names))


def concordance(pairs: Pairs) -> pl.DataFrame:
    """Kendall's tau between the two times over comparable pairs within strata, with a jackknife interval over seeds."""
    agree = _order(pairs.circuit, pairs.formed) * _order(pairs.answer, pairs.answered)
    agree = agree * (pairs.stratum[:, None] == pairs.stratum)
    comparable = agree != 0
    censored = int((~pairs.answered | ~pairs.formed).sum())
    seeds = np.unique(pairs.seed)
    row = {"n": len(agree), "n_censored": censored, "seeds": len(seeds), "pairs": int(comparable.sum()) // 2}
    if not row["pairs"]:
        return pl.DataFrame([{**row, "reason": "no two runs whose order is known in both events"}], CONCORDANCE)
    tau = float(agree.sum() / comparable.sum())
    others = [np.flatnonzero(pairs.seed != seed) for seed in seeds]
    parts = [(agree[np.ix_(rows, rows)].sum(), comparable[np.ix_(rows, rows)].sum()) for rows in others]
    return pl.DataFrame([{**row, "tau": tau, **_jackknife(tau, np.array(parts, float))}], CONCORDANCE)


def _order(time: Array, observed: Array) -> Array:
    """+1 where run i is known to come after run j, -1 before, 0 unknown or tied."""
    after = observed & ((time[:, None] > time) | ((time[:, None] == time) & ~observed[:, None]))
    order: Array = after.astype(np.int64) - after.T.astype(np.int64)
    return order


def _jackknife(tau: float, parts: Array) -> dict[str, Any]:
    """Interval from the sums of agreement and of comparable pairs without each seed; t with seeds - 1 degrees."""
    from scipy import stats

    n = len(parts)
    if n < 2 or abs(tau) == 1 or (parts[:, 1] == 0).any():
        return {"reason": "no interval: all comparable pairs agree, or they hang on one seed"}
    without = parts[:, 0] / parts[:, 1]
    error = float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()) * stats.t.ppf(0.975, n - 1))
    return {"low": max(-1.0, tau - error), "high": min(1.0, tau + error)}


def hazard_ratio(pairs: Pairs) -> pl.DataFrame:
    """Hazard of generalising with the circuit against without it, stratified."""
    formed_first = pairs.formed & (pairs.circuit < pairs.answer)
    row = {
        "n": len(pairs.answer),
        "n_censored": int((~pairs.answered).sum()),
        "after": int((pairs.answered & formed_first).sum()),
        "before": int((pairs.answered & ~formed_first).sum()),
    }
    reason = _not_estimable(pairs, formed_first)
    fitted = {"reason": reason} if reason else _fit(pairs, formed_first)
    return pl.DataFrame([{**row, **fitted}], HAZARD)


def _not_estimable(pairs: Pairs, formed_first: Array) -> str | None:
    """Why the partial likelihood has no finite maximum, if it has none."""
    with_circuit = []
    for run in np.flatnonzero(pairs.answered):
        at_risk = (pairs.answer >= pairs.answer[run]) & (pairs.stratum == pairs.stratum[run])
        has = pairs.formed & (pairs.circuit < pairs.answer[run])
        if has[at_risk].any() and not has[at_risk].all():
            with_circuit.append(bool(formed_first[run]))
    if not with_circuit:
        return "no run generalised while circuits had formed in some comparable runs and not in others"
    if all(with_circuit):
        return "separation: no comparable run generalised before its circuit (the ratio has no upper bound)"
    if not any(with_circuit):
        return "separation: no comparable run generalised after its circuit (the ratio is 0)"
    return None


def _fit(pairs: Pairs, formed_first: Array) -> dict[str, Any]:
    from lifelines import CoxTimeVaryingFitter

    model = CoxTimeVaryingFitter()
    columns = {"id_col": "id", "event_col": "event", "start_col": "start", "stop_col": "stop", "strata": "stratum"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.fit(_intervals(pairs, formed_first).to_pandas(), **columns)
        except Exception as error:  # lifelines has several kinds; any of them means that there is no estimate
            return {"reason": f"no estimate: {first_line(error, 1000)}"}
    estimate = model.summary.loc["formed"]
    names = {"hazard_ratio": "exp(coef)", "low": "exp(coef) lower 95%", "high": "exp(coef) upper 95%", "p": "p"}
    return {name: float(estimate[column]) for name, column in names.items()}


def _intervals(pairs: Pairs, formed_first: Array) -> pl.DataFrame:
    """One row per run before its circuit, one after: (start, stop], whether formed, whether it generalised."""
    runs = pl.DataFrame(
        {
            "id": np.arange(len(pairs.answer)),
            "stratum": pairs.stratum,
            "circuit": np.where(formed_first, pairs.circuit, pairs.answer),
            "stop": pairs.answer,
            "event": pairs.answered,
        }
    )
    without = pl.col("event") & (pl.col("circuit") >= pl.col("stop"))
    before = runs.with_columns(start=pl.lit(0.0), stop=pl.col("circuit"), formed=0, event=without)
    after = runs.with_columns(start=pl.col("circuit"), formed=1)
    columns = ["id", "stratum", "start", "stop", "formed", pl.col("event").cast(pl.Int8)]
    return pl.concat([before.select(columns), after.select(columns)]).filter(pl.col("stop") > pl.col("start"))
