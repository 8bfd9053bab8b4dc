"""Do answers run through the same sites before and after generalising? Maps, their similarity with nulls, a verdict.

Claim (i) of arXiv 2601.09049, that inference paths of in-distribution queries are the same before and after grokking,
as a comparison of maps of causal effect (docs/science.md#paths). A map is the values of one measure, patching or
restoration, over sites, of one run at one stage. Only runs in which both events were observed have a before and an
after. The rules of the verdict were written down before any run of the study was looked at.

Axes: S site, x any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from grokstudy.analysis.labels import labels, share_text
from grokstudy.analysis.tables.study import StudyTables
from grokstudy.trainables.storage.study_dir import EARLY
from grokstudy.trainables.tasks.graph import IN_DISTRIBUTION, POSITIONS

(BEFORE, AFTER), LATE, UNTRAINED = EARLY, "late", "untrained"
STAGES = (BEFORE, AFTER, LATE)
MEASURES = ("patch_effect", "restore")
OTHERS = "other seeds"

LEAST_SITES = 5
"""Maps that share fewer sites than these are not compared."""
LEAST_ANSWERS = 30
"""There is no verdict on maps over fewer right answers than these: their noise would pass for a difference."""
LEAST_RUNS = 3
"""There is no verdict on fewer runs than these."""
MARGIN = 0.1
"""Differences of r, or of the mean absolute difference of two maps, up to this count as none."""
GAP = 0.5
"""Before generalising: the metric is below this share of the threshold."""
LEVEL = 0.05
RESAMPLES = 999

VERDICTS = {
    "same": "before and late are as like each other as the late maps of different seeds are, within .1, not by chance",
    "changed": "before and late are less like each other than the late maps of different seeds are, by more than .1",
    "undecided": "neither can be said",
    "no_gap": "fewer than 3 runs memorise before they generalise: there is no before to compare",
}

_ROW = {"split": pl.String, "measure": pl.String}
SIMILARITIES = pl.Schema(
    {
        **{"trial_id": pl.String, "group": pl.String, **_ROW, "comparison": pl.String},
        **{"r": pl.Float64, "distance": pl.Float64, "sites": pl.Int64, "n": pl.Int64, "p": pl.Float64},
        "permuted": pl.Float64,
    }
)
"""`distance` is the mean absolute difference, `n` the fewest right answers at a site of the first map, `permuted` what
r is at most in 95 of 100 permutations of the sites."""
JUDGED = pl.Schema(
    {
        **{"group": pl.String, **_ROW, "runs": pl.Int64, "gap": pl.Int64, "n": pl.Int64, "before": pl.Float64},
        **{"similarity": pl.Float64, "first": pl.Float64, "last": pl.Float64, "generalised": pl.Float64},
        **{"other_seeds": pl.Float64, "untrained": pl.Float64, "beyond_chance": pl.Int64},
        **{"difference": pl.Float64, "low": pl.Float64, "high": pl.Float64},
        **{"distance": pl.Float64, "excess": pl.Float64, "excess_low": pl.Float64, "excess_high": pl.Float64},
        "verdict": pl.String,
    }
)

Array = NDArray[np.float64]


def maps(tables: StudyTables) -> pl.DataFrame:
    """The value at every site: trial_id, group, split, measure, stage, step, layer, position, value, n."""
    known = stages(tables)
    if known.is_empty():
        return pl.DataFrame(schema={**dict.fromkeys(("trial_id", "group", "split", "measure", "stage"), pl.String)})
    sited = (pl.col("layer") >= 1) & pl.col("position").is_in(POSITIONS) & pl.col("value").is_not_nan()
    selection = pl.col("probe").is_in(MEASURES) & pl.col("split").is_in(IN_DISTRIBUTION)
    rows = tables.probes.filter(selection & sited & pl.col("value").is_not_null())
    kept = rows.select("trial_id", "split", "step", "layer", "position", "n", "value", measure="probe")
    keys = ("group", "split", "measure", "trial_id", "stage", "layer", "position")
    site_values = kept.join(known.lazy(), on=["trial_id", "step"]).sort(keys)
    return site_values.with_columns(pl.col("value").cast(pl.Float64)).collect()


def similarities(site_values: pl.DataFrame) -> pl.DataFrame:
    """Each run's maps against its late one, and its late one against those of other seeds, of `maps`."""
    rows: list[dict[str, Any]] = []
    for (group, split, measure), part in site_values.group_by("group", "split", "measure", maintain_order=True):
        about = {"group": group, "split": split, "measure": measure}
        late = _by_trial(part, LATE)
        for name in (BEFORE, AFTER, UNTRAINED):
            fewest = dict(part.filter(pl.col("stage") == name).group_by("trial_id").agg(pl.col("n").min()).iter_rows())
            for trial, one_S in _by_trial(part, name).items():
                if trial in late:
                    known = {**about, "trial_id": trial, "comparison": name, "n": fewest[trial]}
                    rows.append({**known, **_against_chance(one_S, late[trial])})
        for trial, late_S in late.items():
            rows.append({**about, "trial_id": trial, "comparison": OTHERS, **_to_others(late_S, trial, late)})
    return pl.DataFrame(rows, schema=SIMILARITIES)


def verdicts(tables: StudyTables) -> pl.DataFrame:
    """One row per group, split and measure: similarities, medians over runs, and what follows from them."""
    similarity_rows = similarities(maps(tables))
    if similarity_rows.is_empty():
        return pl.DataFrame(schema=JUDGED)
    memorised = stages(tables).filter(pl.col("stage") == BEFORE).lazy()
    values = tables.series.filter(pl.col("event") == AFTER).join(memorised, on=["trial_id", "step"])
    before = dict(values.select("trial_id", "value").drop_nulls().collect().iter_rows())
    limit = GAP * tables.declared[AFTER].threshold
    rows = [
        {"group": group, "split": split, "measure": measure, **_judge(part, before, limit)}
        for (group, split, measure), part in similarity_rows.group_by("group", "split", "measure", maintain_order=True)
    ]
    return pl.DataFrame(rows, schema=JUDGED)


def transplanted(tables: StudyTables) -> pl.DataFrame:
    """Success of transplants at the late l*, per group, split and early stage: median (range) over runs, in words.

    What was measured before a run was trained further is left out.
    """
    rows = tables.transplants.filter(pl.col("layer").is_null() & pl.col("split").is_in(IN_DISTRIBUTION))
    known = stages(tables)
    if known.is_empty() or rows.is_empty():
        return pl.DataFrame()
    ends = known.filter(pl.col("stage") == LATE).select("trial_id", "group", late="step")
    runs = tables.results.select("trial_id", "run_id").collect().join(ends, on="trial_id")
    named = rows.drop_nulls("value").join(runs, on=["run_id", "late"])
    paired = named.with_columns(pair=pl.format("{} into {}", "donor", "receiver"))
    keys = ["group", "split", "stage"]
    value = pl.col("value").cast(pl.Float64)
    middle_and_ends = (value.median(), value.min(), value.max())
    words = (x.map_elements(share_text, return_dtype=pl.String) for x in middle_and_ends)
    grouped = paired.group_by(*keys, "pair", maintain_order=True)
    medians = grouped.agg(runs=pl.len(), words=pl.format("{} ({}–{})", *words))
    return medians.pivot(on="pair", index=[*keys, "runs"], values="words").sort(keys)


def pearson(one_xS: Array, other_xS: Array) -> Array:
    """Pearson's r (x) over the sites that both have; NaN on fewer than LEAST_SITES, or where either does not vary."""
    both = np.isfinite(one_xS) & np.isfinite(other_xS)
    n = both.sum(axis=-1, keepdims=True)
    centred = []
    for value_xS in (one_xS, other_xS):
        kept = np.where(both, value_xS, 0.0)
        centred.append(np.where(both, kept - kept.sum(axis=-1, keepdims=True) / np.maximum(n, 1), 0.0))
    one, other = centred
    spread = np.sqrt((one**2).sum(axis=-1) * (other**2).sum(axis=-1))
    defined = (n[..., 0] >= LEAST_SITES) & (spread > 1e-9)
    return np.where(defined, (one * other).sum(axis=-1) / np.where(defined, spread, 1.0), np.nan)


def stages(tables: StudyTables) -> pl.DataFrame:
    """The evaluation of each stage in runs that came to both events: trial_id, group, stage, step."""
    generalised = tables.declared.get(AFTER)
    if BEFORE not in tables.declared or generalised is None or not generalised.rising:
        return pl.DataFrame(schema={"trial_id": pl.String})
    trials = tables.results.select("trial_id", *tables.groups).collect()
    named = trials.select("trial_id").with_columns(group=labels(trials, tables.groups))
    seen = tables.events.filter(pl.col("event").is_in((BEFORE, AFTER)) & (pl.col("state") == "observed"))
    reached = seen.select("trial_id", "horizon", stage="event", step="upper").collect()
    both = reached.filter(pl.len().over("trial_id") == 2)
    ends = both.filter(pl.col("stage") == AFTER)
    parts = [
        both.select("trial_id", "stage", "step"),
        ends.select("trial_id", stage=pl.lit(LATE), step="horizon"),
        ends.select("trial_id", stage=pl.lit(UNTRAINED), step=pl.lit(0, pl.Int64)),
    ]
    return pl.concat(parts).join(named, on="trial_id")


def _by_trial(part: pl.DataFrame, stage: str) -> dict[str, Array]:
    """The map (S,) of each run at a stage, NaN at sites where it is not defined."""
    sites = {
        site: number for number, site in enumerate(part.select("layer", "position").unique().sort(pl.all()).rows())
    }
    trial_maps: dict[str, Array] = {}
    rows = part.filter(pl.col("stage") == stage).select("trial_id", "layer", "position", "value")
    for trial, layer, position, value in rows.iter_rows():
        trial_maps.setdefault(trial, np.full(len(sites), np.nan))[sites[layer, position]] = value
    return trial_maps


def _against_chance(one_S: Array, late_S: Array) -> dict[str, Any]:
    """How alike two maps are, and how alike they would be with the sites of one in any order."""
    both = np.isfinite(one_S) & np.isfinite(late_S)
    one_S, late_S = one_S[both], late_S[both]
    r = float(pearson(one_S, late_S))
    if np.isnan(r):
        return {"sites": int(both.sum())}
    shuffled_xS = np.random.default_rng(0).permuted(np.tile(one_S, (RESAMPLES, 1)), axis=1)
    chance_x = pearson(shuffled_xS, late_S[None])
    return {
        "r": r, "sites": int(both.sum()), "distance": float(np.abs(one_S - late_S).mean()),
        "p": float((1 + (chance_x >= r - 1e-9).sum()) / (1 + RESAMPLES)),
        "permuted": float(np.quantile(chance_x, 1 - LEVEL)),
    }  # fmt: skip


def _to_others(late_S: Array, trial: str, late: Mapping[str, Array]) -> dict[str, Any]:
    """How alike a late map is to those of the other seeds, on average."""
    others = [other_S for name, other_S in late.items() if name != trial]
    if not others:
        return {}
    other_xS = np.stack(others)
    r_x, gap_xS = pearson(late_S[None], other_xS), np.abs(late_S[None] - other_xS)
    known = np.isfinite(r_x)
    sites = int(np.isfinite(gap_xS).sum(axis=1).min())
    if not known.any():
        return {"sites": sites}
    return {"r": float(r_x[known].mean()), "distance": float(np.nanmean(gap_xS[known])), "sites": sites}


def _judge(part: pl.DataFrame, before: Mapping[str, float], limit: float) -> dict[str, Any]:
    """Medians over the runs that count, or over all where none does, and the verdict."""
    seen = part["trial_id"].unique()
    gap = [trial for trial, value in before.items() if value < limit and trial in seen]
    enough = (pl.col("comparison") == BEFORE) & (pl.col("n") >= LEAST_ANSWERS) & pl.col("trial_id").is_in(gap)
    counted = part.filter(pl.col("trial_id").is_in(part.filter(enough)["trial_id"].implode()))
    shown = part if counted.is_empty() else counted
    of = {name: shown.filter(pl.col("comparison") == name) for name in (BEFORE, AFTER, OTHERS, UNTRAINED)}
    row = {
        "runs": len(seen), "gap": len(gap), "n": counted["trial_id"].n_unique(),
        "before": _median(pl.Series([before[trial] for trial in seen if trial in before], dtype=pl.Float64)),
        "similarity": _median(of[BEFORE]["r"]), "first": of[BEFORE]["r"].min(), "last": of[BEFORE]["r"].max(),
        "generalised": _median(of[AFTER]["r"]), "other_seeds": _median(of[OTHERS]["r"]),
        "untrained": _median(of[UNTRAINED]["r"]), "distance": _median(of[BEFORE]["distance"]),
    }  # fmt: skip
    if len(gap) < LEAST_RUNS:
        return {**row, "verdict": "no_gap"}
    both = counted.filter(pl.col("comparison") == BEFORE).join(of[OTHERS], on="trial_id", suffix="_other")
    pairs = both.drop_nulls(["r", "r_other"]).sort("trial_id")
    if len(pairs) < LEAST_RUNS:
        return {**row, "verdict": "undecided"}
    difference, low, high = _interval((pairs["r"] - pairs["r_other"]).to_numpy())
    excess, excess_low, excess_high = _interval((pairs["distance"] - pairs["distance_other"]).to_numpy())
    beyond_chance = int((pairs["p"] < LEVEL).sum())
    same = low >= -MARGIN and excess_high <= MARGIN and 2 * beyond_chance > len(pairs)
    changed = high < -MARGIN or excess_low > MARGIN
    return {
        **row, "difference": difference, "low": low, "high": high, "excess": excess, "excess_low": excess_low,
        "excess_high": excess_high, "beyond_chance": beyond_chance,
        "verdict": "changed" if changed else "same" if same else "undecided",
    }  # fmt: skip


def _interval(values: Array) -> tuple[float, float, float]:
    """Mean and its 95 % percentile bootstrap interval over runs."""
    draws = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), (0.025, 0.975))
    return float(values.mean()), float(low), float(high)


def _median(values: pl.Series) -> float | None:
    middle: Any = values.drop_nulls().median()
    return None if middle is None else float(middle)
