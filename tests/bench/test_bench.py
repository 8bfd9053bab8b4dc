"""The bench: every figure is one JSON line with its spread, the checks can fail, and what is not there is told."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from grokstudy.trainables.__main__ import main
from grokstudy.trainables.bench import bench, check
from grokstudy.trainables.bench.check import THRESHOLDS, LearningCurve, event_error, loss_error
from grokstudy.trainables.bench.measure import figure, ratio


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.slow
def test_every_figure_is_a_line_with_its_spread(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = bench.Workload(bench.shape(64, 1, 8, "fp32"), (2,), (16,), (2,), 64, rounds=1)
    monkeypatch.setitem(bench.WORKLOADS, "cpu", tiny)
    assert main(["bench", "--device", "cpu", "--seconds", "0.01"]) == 0
    found = lines(capsys)
    assert [line["figure"].removeprefix("bench/") for line in found] == [
        "steps", "share_of_matmul_ceiling", "steps", "share_of_matmul_ceiling", "pack_vs_one_at_a_time",
        "chunked_vs_synced",
    ]  # fmt: skip
    for line in found:
        assert line["low"] <= line["median"] <= line["high"]
        assert {"unit", "machine", "rounds"} <= set(line)
    assert found[0]["median"] < found[0]["floor_per_s"]


def test_the_targets_of_a_gpu_are_told_on_a_gpu_alone() -> None:
    tables = {name: bench.Table(torch.device(name), bench.WORKLOADS["cuda"], 1.0) for name in ("cpu", "cuda")}
    assert tables["cpu"]._target(bench.PAPER_STEPS) is None
    assert tables["cuda"]._target(bench.PAPER_STEPS) == 450.0
    paper = bench.WORKLOADS["cuda"].large
    assert (paper.model.layers, paper.model.width, paper.train.batch, paper.train.precision) == (8, 768, 512, "bf16")
    assert tables["cuda"].flops(paper) == pytest.approx(0.53e12, rel=0.05)
    assert not paper.problems()


def test_a_target_that_is_missed_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    figure("slow", [1.0, 3.0, 2.0], "steps per s", at_least=2.5)
    ratio("gain", {"pack": [4.0], "alone": [1.0]}, "pack", "alone", 8, at_least=20.0, width=64)
    slow, gain = lines(capsys)
    assert (slow["median"], slow["low"], slow["high"], slow["verdict"]) == (2.0, 1.0, 3.0, "FAIL")
    assert (gain["median"], gain["verdict"], gain["width"]) == (32.0, "PASS", 64)


def curve(late: float = 0.0, loss: float = 1.0) -> LearningCurve:
    return LearningCurve(np.full(200, loss), {event: 200.0 + late for event in THRESHOLDS})


def test_errors_are_relative_and_an_event_may_fall_into_the_next_evaluation() -> None:
    assert loss_error(curve(loss=1.1), curve()) == pytest.approx(0.1)
    assert event_error(curve(late=check.EVAL_EVERY), curve()) == 0.0
    assert event_error(curve(late=60), curve()) == pytest.approx(0.25)
    assert event_error(curve(late=np.inf), curve()) == np.inf
    assert event_error(curve(late=np.inf), curve(late=np.inf)) == 0.0


@pytest.mark.parametrize(("loss", "code"), [(1.0, 0), (1.1, 1)])
def test_a_check_that_fails_is_printed_and_is_the_exit_code(
    loss: float, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(configs: list[Any], *_: Any) -> list[LearningCurve]:
        return [curve(loss=1.0 if config.train.precision == "fp32" else loss) for config in configs]

    monkeypatch.setattr(check, "curves", trained)
    monkeypatch.setattr(bench, "bench", lambda *_: None)
    assert main(["bench", "--device", "cpu", "--check"]) == code
    found = {line["check"]: line["verdict"] for line in lines(capsys)}
    assert found["bf16 against fp32"] == ("PASS" if code == 0 else "FAIL")
    assert found["first member of a pack against alone"] == "PASS"


def test_an_engine_that_this_device_does_not_have_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--device", "cpu", "--engine", "graph"]) == 2
    assert "graph needs a CUDA device" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--device", "cuda", "--check"]) == 2
    assert "torch sees no GPU here" in capsys.readouterr().err


def test_the_checked_run_is_possible() -> None:
    assert not check.config_of().problems()
    assert check.config_of(precision="bf16").train.precision == "bf16"
