"""When the budget is gone nothing is begun, and what trains goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import TWO_RUNS

from grokstudy.orchestrator.execution import local
from grokstudy.orchestrator.execution.budget import Budget
from grokstudy.orchestrator.execution.driver import Driver, study_state
from grokstudy.orchestrator.runs.trials import Run
from grokstudy.orchestrator.study.load import load_study
from grokstudy.trainables.storage.store import Store


def test_hours_and_money_run_out() -> None:
    now = [0.0]
    hours, money = Budget(hours=2, clock=lambda: now[0]), Budget(cost=3.0, price=0.5, clock=lambda: now[0], workers=4)
    now[0] = 3600.0
    assert (hours.gone, money.gone, money.spent) == (False, False, 2.0)
    now[0] = 5400.0
    assert (hours.gone, money.gone) == (False, True)
    now[0] = 7200.0
    assert hours.gone
    assert not Budget(clock=lambda: now[0]).gone
    assert "4.00 at 0.5 an hour of a worker" in str(money)


@pytest.mark.slow
def test_a_launch_ends_what_it_has_begun_and_the_next_one_does_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(TWO_RUNS + "resources: {pack: 1}\n")
    study, store, now = load_study(path), Store(tmp_path / "root"), [0.0]
    budget = Budget(hours=1, clock=lambda: now[0])

    def execute(runs: list[Run]) -> bool:
        def heard(lines: list[dict[str, object]]) -> None:
            now[0] += 7200.0  # it runs out while the first of them trains

        return local.launch(study, runs, store, heard, 1, False, budget=budget)

    after = Driver(study, store).train(execute)
    assert after.ledger.counts() == {"done": 1, "missing": 1}
    assert not after.finished()
    budget.hours = None
    assert Driver(study, store).train(execute).finished()
    assert study_state(study, store).ledger.counts() == {"done": 2}
