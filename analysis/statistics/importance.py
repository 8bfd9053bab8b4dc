"""How much each axis decides by itself: shares of an outcome's variance by fANOVA (Hutter, Hoos, Leyton-Brown 2014).

A censored time makes two questions: whether the event came within the run's length, of all results, and when, as log10
of its step, of those in which it came. Optuna's random forest with a fixed seed estimates both, over the places of the
values that were swept, so that 0.01, 0.1 and 1 weigh the same. What is left to 1 is the axes together.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import polars as pl

QUESTIONS = ("whether", "when")
FEWEST = 10
"""Outcomes below which nothing is said."""
IMPORTANCE = pl.Schema({"question": pl.String, "axis": pl.String, "share": pl.Float64, "n": pl.Int64})


def importance(rows: pl.DataFrame, axes: Sequence[str]) -> pl.DataFrame:
    """One row per question and axis (`IMPORTANCE`), of trials with their `axes` and `time`, null where it is censored.

    A question without variance, or of fewer than FEWEST outcomes, is left out, and so is an axis of one value.
    """
    outcomes = {
        "whether": rows.with_columns(y=pl.col("time").is_not_null().cast(pl.Float64)),
        "when": rows.drop_nulls("time").with_columns(y=pl.col("time").clip(lower_bound=1).log10()),
    }
    found = []
    for question, known in outcomes.items():
        varied = [axis for axis in axes if known[axis].n_unique() > 1]
        if known.height < FEWEST or known["y"].n_unique() < 2 or len(varied) < 2:
            continue
        shares = _shares(known.select(pl.col(varied).rank("dense").cast(pl.Int64), "y"), varied)
        found += [(question, axis, share, known.height) for axis, share in shares.items()]
    return pl.DataFrame(found, schema=IMPORTANCE, orient="row")


def _shares(rows: pl.DataFrame, axes: Sequence[str]) -> dict[str, float]:
    """Of the variance of y, by the places of the axes' values; NaN never: the forest of a constant has no variance."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    filled = rows.with_columns(pl.col(axes).fill_null(0))  # a value that is not set is a place of its own
    places = {axis: filled[axis].to_list() for axis in axes}
    ranges = {axis: optuna.distributions.IntDistribution(min(own), max(own)) for axis, own in places.items()}
    study = optuna.create_study()
    study.add_trials(
        optuna.trial.create_trial(value=row["y"], params={axis: row[axis] for axis in axes}, distributions=ranges)
        for row in filled.iter_rows(named=True)
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=False)
    return {axis: shares[axis] for axis in axes if math.isfinite(shares[axis])}
