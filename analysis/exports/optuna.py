"""A study as a data base of Optuna, for optuna-dashboard: its points with the step of one event as the objective.

A run that reached the event is complete with its step; one that did not is pruned, with no value: how far it was
followed is no time of the event. The headline's accuracy over training is what Optuna calls intermediate values.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grokstudy.analysis.exports.arriving import arriving
from grokstudy.analysis.exports.outcomes import Outcome, outcomes
from grokstudy.analysis.tables.study import StudyTables

if TYPE_CHECKING:
    import optuna


def to_optuna(tables: StudyTables, path: Path, event: str) -> int:
    """Write the study to a new SQLite file; returns the trials. The study in it is named `STUDY: steps until EVENT`.

    Raises ValueError where the study does not look for the event, FileExistsError where there is such a file.
    """
    import optuna

    if event not in tables.declared:
        known = ", ".join(tables.declared) or "none"
        raise ValueError(f"{event}: is no event of study {tables.name}; its events: {known}")
    told = outcomes(tables)
    kinds = {axis: _distribution([outcome.settings[axis] for outcome in told]) for axis in tables.axes}
    trials = [_trial(outcome, event, kinds) for outcome in told]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with arriving(path) as part, tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "optuna.db"  # an address has no way to write a name with ? or #
        study = optuna.create_study(
            storage=f"sqlite:///{made}", study_name=f"{tables.name}: steps until {event}", direction="minimize"
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([f"steps until {event}"])
        study.set_user_attr("hypothesis", " ".join(str(tables.spec.get("hypothesis") or "").split()))
        study.add_trials(trials)
        shutil.move(made, part)
    return len(trials)


def _trial(
    outcome: Outcome, event: str, kinds: Mapping[str, optuna.distributions.BaseDistribution]
) -> optuna.trial.FrozenTrial:
    import optuna

    time = outcome.events.get(event)
    state = optuna.trial.TrialState.FAIL
    if outcome.is_result:
        state = optuna.trial.TrialState.PRUNED if time is None else optuna.trial.TrialState.COMPLETE
    about = {"seed": outcome.seed, "state": outcome.state, "horizon": outcome.horizon, "class": outcome.kind,
             "lead": outcome.lead, "trial_id": outcome.trial_id, "run_id": outcome.run_id}  # fmt: skip
    last = {f"last {metric}": points[-1][1] for metric, points in outcome.curves.items()}
    accuracies = [points for metric, points in outcome.curves.items() if metric.startswith("accuracy/")]
    return optuna.trial.create_trial(
        state=state,
        value=time if outcome.is_result else None,
        params=dict(outcome.settings),
        distributions=dict(kinds),
        user_attrs={**about, **{f"steps until {name}": step for name, step in outcome.events.items()}, **last},
        intermediate_values=dict(accuracies[0]) if accuracies else {},
    )


def _distribution(values: Sequence[Any]) -> optuna.distributions.BaseDistribution:
    """The range of an axis as it was swept; words, switches and mixtures are categories."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if all(type(value) is int for value in values):
        return IntDistribution(min(values), max(values))
    if all(type(value) in (int, float) for value in values):
        return FloatDistribution(min(values), max(values))
    return CategoricalDistribution(_distinct(values))


def _distinct(values: Iterable[Any]) -> list[Any]:
    """In the order of their coming; True and 1 are two."""
    return list({(type(value), value): value for value in values}.values())
