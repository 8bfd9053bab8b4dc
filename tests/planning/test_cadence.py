"""What evaluation costs at the cadence of a study, and the advice of `plan`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.planning import forecast
from grokstudy.orchestrator.planning.cost import Pace, costly
from grokstudy.orchestrator.planning.seconds import Seconds
from grokstudy.trainables.bench import speed
from grokstudy.trainables.config import RunConfig, eval_steps
from grokstudy.trainables.models import step_flops
from grokstudy.trainables.models.network import Network
from grokstudy.trainables.probes.splits import SplitBatch
from grokstudy.trainables.tasks.base import Task
from grokstudy.trainables.training.engine import Engine
from grokstudy.trainables.training.evaluate import Behaviour, Group, evaluate
from grokstudy.trainables.training.stepper import Mode

Small = Callable[..., RunConfig]


def found(config: RunConfig, seconds: float) -> tuple[float, str, int | None] | None:
    """At 10 steps per second."""
    cadence = costly([config], Pace(lambda *_: Seconds(0.1), lambda _: Seconds(seconds), lambda _: 0))
    return None if cadence is None else (round(cadence.share, 3), cadence.key, cadence.value)


def test_a_cadence_that_takes_too_long_is_named_with_one_that_does_not(small: Small) -> None:
    config = small(train={"steps": 10_000}, eval={"every": 100})
    assert len(eval_steps(config.eval, 10_000)) == 101
    assert found(config, 1.0) is None
    assert found(config, 3.0) == (0.233, "eval.every", 290)
    better = small(train={"steps": 10_000}, eval={"every": 290})
    assert found(better, 3.0) is None


@pytest.mark.parametrize("steps", [1, 60, 5000])
@pytest.mark.parametrize("every", [1, 20, 100_000])
@pytest.mark.parametrize("seconds", [0.01, 1.0, 100.0])
def test_the_advice_is_never_denser_than_what_is_asked_nor_what_is_set(
    small: Small, steps: int, every: int, seconds: float
) -> None:
    cadence = found(small(train={"steps": steps}, eval={"every": every}), seconds)
    if cadence is not None and cadence[2] is not None:
        assert every < cadence[2] <= steps
    thinning = found(small(train={"steps": steps}, eval={"grid": "thinning", "every": every}), seconds)
    if thinning is not None and thinning[2] is not None:
        assert every < thinning[2] <= steps
    log = found(small(train={"steps": steps}, eval={"grid": "log", "per_decade": min(every, 30)}), seconds)
    if log is not None and log[2] is not None:
        assert 1 <= log[2] < min(every, 30)


def test_the_logarithmic_grid_has_a_density(small: Small) -> None:
    config = small(train={"steps": 10_000}, eval={"grid": "log", "per_decade": 20})
    cadence = found(config, 5.0)
    assert cadence is not None
    assert cadence[1] == "eval.per_decade"
    assert found(small(train={"steps": 10_000}, eval={"grid": "log", "per_decade": cadence[2]}), 5.0) is None


def test_the_thinning_grid_has_a_spacing_to_begin_with(small: Small) -> None:
    steps = {"steps": 30_000}
    cadence = found(small(train=steps, eval={"grid": "thinning", "every": 100}), 5.0)
    assert cadence is not None
    assert cadence[1] == "eval.every"
    assert found(small(train=steps, eval={"grid": "thinning", "every": cadence[2]}), 5.0) is None
    linear = found(small(train=steps, eval={"every": 100}), 5.0)
    assert linear is not None
    assert linear[0] > 2 * cadence[0]


def test_the_worst_kind_counts_and_each_is_measured_once(small: Small) -> None:
    asked: list[RunConfig] = []

    def evaluation(config: RunConfig) -> Seconds:
        asked.append(config)
        return Seconds(float(config.model.width))

    wide, pace = small(model={"width": 32}), Pace(lambda *_: Seconds(1.0), evaluation, lambda _: 0).remembered()
    cadence = costly([small(), small(seed=1), wide, small(model={"width": 32}, seed=1)], pace)
    assert [config.model.width for config in asked] == [16, 32]
    assert cadence == costly([wide], pace)
    assert str(cadence).startswith("takes about 79% of the time; eval: {every: ")
    assert costly([], pace) is None


def test_a_large_evaluation_is_measured_on_fewer_examples(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def noting(
        model: Network,
        weights: dict[str, Tensor],
        splits: dict[str, SplitBatch],
        task: type[Task],
        generated: int,
        temperature: float,
        groups: list[Group],
    ) -> list[Behaviour]:
        sizes.append(max(split.inputs_MSx.shape[1] for split in splits.values()))
        return evaluate(model, weights, splits, task, generated, temperature, groups)

    monkeypatch.setattr(speed, "evaluate", noting)
    assert min(speed.evaluation_seconds(small())) > 0
    monkeypatch.setattr(speed, "EVALUATION_FLOPS", 4e6)
    assert len(speed.evaluation_seconds(small())) > 1
    assert sizes[-1] < sizes[0] / 2


def test_speed_is_measured_with_the_engine_that_is_asked_for(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, timed_engine = [], speed.timed_engine

    def noting(config: RunConfig, device: torch.device, members: int, engine: Mode) -> Engine:
        asked.append(engine)
        return timed_engine(config, device, members)

    monkeypatch.setattr(speed, "timed_engine", noting)
    assert min(speed.step_seconds(small(), engine="compile")) > 0
    assert asked == ["compile"]


def test_plan_says_what_it_waits_for_when_it_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines: list[Mode] = []

    def step_seconds(config: RunConfig, device: str, threads: int, engine: Mode, members: int) -> tuple[float, ...]:
        engines.append(engine)
        return 0.1, 0.2

    monkeypatch.setattr(forecast, "step_seconds", step_seconds)
    monkeypatch.setattr(forecast, "evaluation_seconds", lambda *_: (0.001, 0.002))
    path = tmp_path / "tiny.yaml"
    for engine in ("compile", "eager"):
        path.write_text(f"space: {{model.loops: [1, 2]}}\nresources: {{engine: {engine}}}\n")
        words = ["plan", str(path), "--root", str(tmp_path / "root"), "--workers", "1", "--json"]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["runs_todo"] == 2
        assert done.stderr.count("Compiling to measure") == (2 if engine == "compile" else 0)
    assert engines == ["compile"] * 2 + ["eager"] * 2


@pytest.mark.parametrize(("probes", "told"), [("[circuit]", True), ("[capacity]", False)])
def test_the_plan_says_where_the_circuit_counts_trained_chains(tmp_path: Path, probes: str, told: bool) -> None:
    path = tmp_path / "asked.yaml"
    path.write_text(f"base: {{data: {{entities: 30}}, train: {{steps: 5}}, eval: {{probes: {probes}}}}}\n")
    shown = CliRunner().invoke(app, ["plan", str(path), "--root", str(tmp_path / "root")])
    assert shown.exit_code == 0, shown.output
    assert ("count chains that were trained" in shown.stdout) == told


def test_a_large_model_is_measured_by_one_of_its_blocks(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[RunConfig] = []

    def seconds(config: RunConfig, device: torch.device, members: int = 1, engine: Mode = "auto") -> float:
        tried.append(config)
        return 0.01 + flops(config, config.train.batch) / 1e10

    def flops(config: RunConfig, batch: int) -> float:
        return float(step_flops(config.model, config.example, batch))

    monkeypatch.setattr(speed, "_seconds_per_step", seconds)
    config = small(model={"layers": 8, "loops": 2, "width": 768, "heads": 12}, train={"batch": 512})
    (told,) = speed.step_seconds(config)
    assert {(one.model.layers, one.model.loops, one.model.width) for one in tried} == {(1, 1, 768)}
    assert max(flops(one, one.train.batch) for one in tried) <= speed.PROBE_FLOPS
    assert told == pytest.approx(flops(config, 512) / 1e10, rel=0.2)
    tried.clear()
    assert len(speed.evaluation_seconds(config)) == 1, "what is extended has no spread"
    huge = small(model={"width": 8192, "heads": 8})
    assert speed.step_seconds(huge) == (flops(huge, huge.train.batch) / speed.RECKONED_FLOPS,)
    assert len(speed.evaluation_seconds(huge)) == 1
    assert not tried, "nothing of that size is allocated"
