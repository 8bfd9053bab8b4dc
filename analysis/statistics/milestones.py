"""A row per trial, with the same columns for studies of all families: component, behaviour, behaviour beyond training.

What these are in a study says `tables.families`; order and lead are those of `decoupling.py`.
"""

from __future__ import annotations

import polars as pl

from grokstudy.analysis.labels import labels, setting
from grokstudy.analysis.statistics.decoupling import leads
from grokstudy.analysis.stops import known_to_the_end
from grokstudy.analysis.tables.families import in_common_words, roles_of, task_of
from grokstudy.analysis.tables.study import StudyTables

ROLES = ("component", "behaviour", "ood")
MILESTONES = pl.Schema(
    {
        **dict.fromkeys(("study", "task", "trial_id", "setting"), pl.String()),
        **{"seed": pl.Int64(), "state": pl.String(), "horizon": pl.Int64()},
        **{f"{role}_{part}": kind for role in ROLES for part, kind in (("state", pl.String()), ("at", pl.Float64()))},
        **{"order": pl.String(), "lead": pl.Float64(), "order_ood": pl.String(), "lead_ood": pl.Float64()},
    }
)
"""`..._state` is that of an event (observed, censored, no_data), null where a study does not ask; `order` the class of
component and behaviour in distribution, `order_ood` that of the component and the behaviour out of distribution."""


def milestones(tables: StudyTables) -> pl.LazyFrame:
    """When the common events came to each trial of a study, and in which order (`MILESTONES`)."""
    common = in_common_words(tables)
    roles = roles_of(common)
    trials = tables.trials.collect()
    frame = trials.lazy().with_columns(
        study=pl.lit(tables.name), task=pl.lit(task_of(tables)), setting=labels(trials, tables.groups, setting)
    )
    for role, event in zip(ROLES, (roles.component, roles.behaviour, roles.ood), strict=True):
        own = common.events.filter(pl.col("event").eq_missing(pl.lit(event, pl.String)))
        times = own.select("trial_id", pl.col("state").alias(f"{role}_state"), pl.col("time").alias(f"{role}_at"))
        frame = frame.join(times, on="trial_id", how="left", maintain_order="left")
    known = known_to_the_end(common.events, common.trials)
    for suffix, pair in (("", roles.pair), ("_ood", roles.pair_ood)):
        pairs = leads(known, *pair) if pair else leads(known.clear())  # none where a study does not ask for both
        order = pairs.select("trial_id", pl.col("kind").alias(f"order{suffix}"), pl.col("lead").alias(f"lead{suffix}"))
        frame = frame.join(order, on="trial_id", how="left", maintain_order="left")
    return frame.select(pl.col(name).cast(kind) for name, kind in MILESTONES.items())
