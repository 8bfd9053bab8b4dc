"""The contract of every scheduler, and what each does on trials made by hand."""

from __future__ import annotations

import pytest
from worlds import ACCURACY, EVENTS, GRID, HORIZON, Run, on_headline, play, study

from grokstudy.orchestrator.schedulers import SCHEDULERS
from grokstudy.orchestrator.schedulers.asha import Asha, AshaOptions
from grokstudy.orchestrator.schedulers.base import Scheduler
from grokstudy.orchestrator.schedulers.futility import Futility, FutilityOptions
from grokstudy.orchestrator.schedulers.hyperband import Hyperband, HyperbandOptions
from grokstudy.orchestrator.schedulers.median import Median, MedianOptions


@pytest.fixture(params=SCHEDULERS)
def scheduler(request: pytest.FixtureRequest) -> Scheduler:
    kind = SCHEDULERS[request.param]
    return kind(on_headline(kind.Options()), EVENTS)


def test_nobody_is_stopped_in_its_grace_or_at_its_end(scheduler: Scheduler) -> None:
    grace = getattr(scheduler.options, "grace_steps", 0)
    for run in (runs := study(1)):
        scheduler.begin(run.name, HORIZON)
    for step in GRID:
        for run in [run for run in runs if scheduler.standing(run.name) == "continue"]:
            decision = scheduler.on_result(run.name, step, run.metrics(step))
            assert decision == "continue" or grace <= step < HORIZON


def test_an_evaluation_without_the_metric_stops_nobody(scheduler: Scheduler) -> None:
    for name in "abcdefgh":
        scheduler.begin(name, HORIZON)
    for step in GRID:
        assert {scheduler.on_result(name, step, {}) for name in "abcdefgh"} == {"continue"}


def test_the_same_results_lead_to_the_same_decisions(scheduler: Scheduler) -> None:
    again = type(scheduler)(scheduler.options, EVENTS)
    if not isinstance(scheduler, Hyperband):  # which pauses, and play() trains nobody who was paused
        assert play(scheduler, study(2)) == play(again, study(2))


def scores(scheduler: Scheduler, step: int, values: dict[str, float]) -> list[str]:
    return [scheduler.on_result(name, step, {ACCURACY: value}) for name, value in values.items()]


def test_asha_keeps_one_of_three_at_a_rung() -> None:
    scheduler = Asha(AshaOptions(grace_steps=100, split="test_oo"), {})
    for name in "abcd":
        scheduler.begin(name, 1000)
    assert scores(scheduler, 100, {"a": 0.1, "b": 0.5, "c": 0.3, "d": 0.6}) == [
        "continue",
        "continue",
        "stop",
        "continue",
    ]
    assert scores(scheduler, 200, {"a": 0.0}) == ["continue"], "between two rungs"
    assert scores(scheduler, 300, {"b": 0.5, "d": 0.6, "a": 0.1}) == ["continue", "continue", "stop"]


def test_hyperband_pauses_until_its_bracket_is_complete() -> None:
    scheduler = Hyperband(HyperbandOptions(grace_steps=100, brackets=1, split="test_oo"), {})
    for name in "abc":
        scheduler.begin(name, 1000)
    assert scores(scheduler, 100, {"a": 0.1, "b": 0.5}) == ["pause", "pause"]
    assert scheduler.standing("b") == "pause"
    assert scores(scheduler, 120, {"c": 0.3}) == ["stop"]
    assert [scheduler.standing(name) for name in "abc"] == ["stop", "continue", "stop"]


def test_hyperband_does_not_wait_for_a_trial_that_failed() -> None:
    scheduler = Hyperband(HyperbandOptions(grace_steps=100, brackets=1, reduction_factor=2, split="test_oo"), {})
    for name in "abc":
        scheduler.begin(name, 1000)
    scores(scheduler, 100, {"a": 0.1, "b": 0.5})
    scheduler.on_end("c", "failed")
    assert [scheduler.standing(name) for name in "ab"] == ["stop", "continue"]


def test_the_median_rule_stops_who_was_never_as_good_as_the_others_usually_are() -> None:
    scheduler = Median(MedianOptions(grace_steps=50, split="test_oo"), {})
    for name in "abcd":
        scheduler.begin(name, 1000)
    for step in (50, 100):
        assert scores(scheduler, step, {"a": 0.5, "b": 0.6, "c": 0.7}) == ["continue"] * 3
    assert scores(scheduler, 50, {"d": 0.65}) == ["continue"]
    assert scores(scheduler, 100, {"d": 0.1}) == ["continue"], "it was better before"
    scheduler.begin("e", 1000)
    assert scores(scheduler, 50, {"e": 0.1}) == ["stop"]


def finished(scheduler: Futility, runs: list[Run]) -> Futility:
    play(scheduler, runs)
    return scheduler


def test_futility_needs_examples() -> None:
    heavy = [Run(f"h{number}", float("inf"), 60.0 + number, 1.0 + 0.01 * number) for number in range(6)]
    scheduler = finished(Futility(FutilityOptions(), EVENTS), heavy)
    scheduler.begin("new", HORIZON)
    scheduler.on_result("new", 1000, heavy[0].metrics(1000))
    assert 0.05 < scheduler.chance("new", "generalised", 1000) < 0.2, "six that came to nothing are not enough"


def test_futility_stops_a_run_like_those_that_came_to_nothing_and_not_the_others() -> None:
    scheduler = Futility(FutilityOptions(grace_steps=HORIZON - 1), EVENTS)  # all of these run to their end
    play(scheduler, study(3, 120))
    scheduler.options = FutilityOptions(chance=0.1)
    for norm, expected in ((20.0, "continue"), (55.0, "stop")):
        scheduler.begin(f"norm{norm}", HORIZON)
        run = Run(f"norm{norm}", float("inf"), norm, 1.0)
        assert scheduler.on_result(run.name, 2000, run.metrics(2000)) == expected
    assert scheduler.futile("norm20.0") == {}
    assert scheduler.futile("norm55.0")["generalised"] < 0.1
    assert scheduler.chance("norm20.0", "generalised", 2000) > 0.5


def test_futility_lets_those_be_that_have_generalised_and_those_unlike_any() -> None:
    scheduler = finished(Futility(FutilityOptions(), EVENTS), study(4, 120))
    for run in (Run("early", 500.0, 55.0, 1.0), Run("strange", float("inf"), 4000.0, 1.0)):
        scheduler.begin(run.name, HORIZON)
        assert {scheduler.on_result(run.name, step, run.metrics(step)) for step in GRID} == {"continue"}


def test_futility_spares_late_generalisers_that_asha_stops() -> None:
    lost: dict[str, list[bool]] = {"asha": [], "futility": []}
    steps = dict.fromkeys(lost, 0)
    for seed in range(10):
        runs = study(seed)
        for kind in lost:
            options = {"chance": 0.1} if kind == "futility" else {}
            ended = play(SCHEDULERS[kind](on_headline(SCHEDULERS[kind].Options(**options)), EVENTS), runs)
            steps[kind] += sum(step for step, _ in ended.values())
            late = [run for run in runs if 1500 < run.at <= HORIZON]
            lost[kind] += [ended[run.name][1] and ended[run.name][0] < run.at for run in late]
    share = {kind: sum(values) / len(values) for kind, values in lost.items()}
    assert share["asha"] > 0.5
    assert share["futility"] < 0.02
    assert steps["futility"] < 0.88 * 10 * 80 * HORIZON
