"""The update: nothing in it needs the host, the numbers stay however it is carried out, and what fails is told."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from grokstudy.trainables.bench.speed import timed_engine
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.training import program
from grokstudy.trainables.training import stepper as capture
from grokstudy.trainables.training.engine import Engine, precision
from grokstudy.trainables.training.optimizer import AdamW, rates
from grokstudy.trainables.training.stepper import WARM_UP, Mode, Stepper

Small = Callable[..., RunConfig]
CPU, META = torch.device("cpu"), torch.device("meta")
MIXER = {"family": "mixer", "layers": 1, "width": 16}
UNCAPTURABLE = ("_local_scalar_dense", "nonzero", "lift_fresh", "masked_select", "_unique", "is_nonzero")
"""What waits for the device, has a shape that depends on data, or brings a number from the host."""


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operation that could not be captured, and every tensor of another device."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device, self.count = device, 0
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        if any(name in str(func) for name in UNCAPTURABLE):
            self.found.add(str(func))
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        if any(tensor.device.type != self.device.type for tensor in tensors):
            self.found.add(str(func))
        return result


STEPS_OF = {
    "plain": {},
    "untied": {"model": {"tied": False, "norm": "layernorm", "bias": True, "input_injection": True}},
    "post": {"model": {"norm_place": "post", "positions": "none"}},
    "clip": {"optim": {"clip": 0.1, "decay": "matrices"}},
    "average": {"train": {"ema": 0.9}},
    "all tokens": {"train": {"loss": "all_tokens"}},
    "stablemax": {"train": {"loss": "all_tokens_stablemax"}},
}


@pytest.mark.parametrize("changes", STEPS_OF.values(), ids=STEPS_OF.keys())
def test_a_step_stays_on_the_device(small: Small, changes: dict[str, Any]) -> None:
    """On the meta device there are no values: what needs one, or mixes devices, raises."""
    engine = timed_engine(small(**changes), META, 2)
    with Watch(META) as watch:
        engine.update()
    assert watch.count > 50
    assert not watch.found


def test_a_step_of_the_mixer_stays_on_the_device() -> None:
    engine = timed_engine(RunConfig.from_dict({"model": MIXER, "train": {"batch": 8}}), META, 2)
    engine.update()  # its fixed start is moved to the device once
    with Watch(META) as watch:
        engine.update()
    assert not watch.found


def test_a_step_in_bf16_keeps_its_master_weights_and_needs_no_host(small: Small) -> None:
    engine = timed_engine(small(train={"precision": "bf16"}), CPU, 2)
    with Watch(CPU) as watch:
        engine.update()
    assert not watch.found
    assert {engine.flat_MP.dtype, engine.optimizer.mean_MP.dtype, engine.ring_K3M.dtype} == {torch.float32}


@pytest.mark.parametrize(
    "fault", [lambda e: e.ring_K3M.sum().item(), lambda e: torch.tensor(1.0), lambda e: e.flat_MP[e.flat_MP > 0]]
)
def test_the_watch_sees_what_could_not_be_captured(small: Small, fault: Callable[[Engine], object]) -> None:
    engine = timed_engine(small(), META)
    with Watch(META) as watch:
        try:
            fault(engine)
        except RuntimeError:
            return  # as it would in a step
    assert watch.found


def curve(config: RunConfig, mode: Mode = "auto", members: int = 2, count: int = 30) -> np.ndarray[Any, Any]:
    engine = timed_engine(config, CPU, members, mode)
    return np.concatenate([engine.train(start, start + 10) for start in range(0, count, 10)], axis=1)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_the_whole_step_compiles_without_a_break(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_compiled", {})
    monkeypatch.setattr(program, "_made", lambda graph, *_: graph)
    np.testing.assert_allclose(curve(small(), "compile"), curve(small()), rtol=1e-5)


def test_where_compiling_fails_one_warning_says_so_and_the_numbers_stay(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(*_: object) -> None:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(program, "_compiled", {})
    monkeypatch.setattr(program, "_made", no_compiler)
    with pytest.warns(UserWarning, match=r"compiling a step failed .*no compiler here.*one by one") as said:
        found = curve(small(), "compile")
    assert len(said) == 1
    assert np.array_equal(found, curve(small()))


class Tape:
    """Stands in for a CUDA graph: what runs while it records is undone, and a replay carries it out."""

    engine: Engine
    recorded = replayed = 0
    fault: str | None = None

    def replay(self) -> None:
        type(self).replayed += 1
        self.engine.update()


@contextlib.contextmanager
def recording(tape: Tape, **_: object) -> Iterator[None]:
    engine = tape.engine
    touched = (engine.flat_MP.detach(), engine.optimizer.mean_MP, engine.optimizer.square_MP, engine.next_1)
    before = [tensor.clone() for tensor in touched]
    yield
    if Tape.fault is not None:
        error = RuntimeError("capture_end: invalidated")
        error.__context__ = RuntimeError(Tape.fault)
    for tensor, value in zip(touched, before, strict=True):
        tensor.copy_(value)
    if Tape.fault is not None:
        raise error
    Tape.recorded += 1


@pytest.fixture
def taped(monkeypatch: pytest.MonkeyPatch) -> Callable[[Engine], Engine]:
    """Carry out an engine's steps as on a GPU, with a tape in place of the graph."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Tape)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(capture, "beside", lambda work, _: work())
    monkeypatch.setattr(Tape, "recorded", 0)
    monkeypatch.setattr(Tape, "replayed", 0)

    def prepare(engine: Engine) -> Engine:
        monkeypatch.setattr(Tape, "engine", engine, raising=False)
        engine.steps = Stepper("auto", engine.update, torch.device("cuda"))
        return engine

    return prepare


def test_a_captured_step_is_replayed_for_every_step_once(small: Small, taped: Callable[[Engine], Engine]) -> None:
    engine = taped(timed_engine(small(), CPU, 2))
    found = np.concatenate([engine.train(start, start + 10) for start in (0, 10, 20)], axis=1)
    assert np.array_equal(found, curve(small()))
    assert (Tape.recorded, Tape.replayed) == (1, 30 - WARM_UP)


def test_a_smaller_pack_is_captured_anew(small: Small, taped: Callable[[Engine], Engine]) -> None:
    engine, plain = taped(timed_engine(small(), CPU, 3)), timed_engine(small(), CPU, 3)
    for one in (engine, plain):
        one.train(0, 10)
        one.keep(torch.tensor([0, 2]))
    assert engine.steps.graph is None
    assert np.array_equal(taped(engine).train(10, 20), plain.train(10, 20))
    assert (Tape.recorded, Tape.replayed) == (2, 20 - 2 * WARM_UP)


def test_where_capturing_fails_one_warning_says_so_and_the_numbers_stay(
    small: Small, taped: Callable[[Engine], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tape, "fault", "operation not permitted when stream is capturing")
    engine = taped(timed_engine(small(), CPU, 2))
    with pytest.warns(UserWarning, match=r"CUDA graph failed \(operation not permitted.*one by one") as said:
        found = np.concatenate([engine.train(start, start + 10) for start in (0, 10, 20)], axis=1)
    assert len(said) == 1
    assert np.array_equal(found, curve(small()))


@pytest.mark.parametrize(("mode", "message"), [("graph", "needs a CUDA device"), ("fast", "eager, graph, compile")])
def test_an_impossible_engine_is_told(small: Small, mode: Mode, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        timed_engine(small(), CPU, engine=mode)


@pytest.mark.parametrize(
    ("mode", "device", "compiled", "captured"),
    [
        ("auto", "cpu", False, False), ("auto", "cuda", False, True), ("eager", "cuda", False, False),
        ("graph", "cuda", False, True), ("compile", "cuda", True, True), ("compile", "cpu", True, False),
    ],
)  # fmt: skip
def test_what_each_engine_does(mode: Mode, device: str, compiled: bool, captured: bool) -> None:
    steps = Stepper(mode, lambda: None, torch.device(device))
    assert (steps.compiled, steps.captured) == (compiled, captured)


@pytest.mark.parametrize("common", [{}, {"clip": 0.1}, {"decay": "matrices", "weight_decay": 0.5}])
def test_torchs_kernel_updates_as_the_written_out_one(small: Small, common: dict[str, Any]) -> None:
    """The kernel of the GPU's path, run on a CPU: members of two kinds, more of them than groups."""
    optims: list[dict[str, Any]] = [{"lr": 0.1}, {"lr": 0.01, "beta2": 0.999, "weight_decay": 0.0}, {"lr": 0.1}]
    configs = [small(optim={**optim, **common}) for optim in optims]
    size = 1 << 18
    mask = (torch.arange(size) // (size // 4) % 2 == 0).float()
    ours, theirs = (AdamW(configs, mask, CPU, fused) for fused in (False, True))
    assert theirs._groups() == [[0, 2], [1]]
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(3, size, generator=generator)
    same = rows.clone()
    for step in range(3):
        grad = torch.randn(3, size, generator=generator)
        told = rates(configs, step, step + 1)[0]
        torch.testing.assert_close(ours.step(rows, grad, told), theirs.step(same, grad.clone(), told))
    torch.testing.assert_close(rows, same, rtol=1e-5, atol=1e-6)
    # 1 - 0.999 in single and in double precision differ by 1.3e-5
    torch.testing.assert_close(ours.square_MP, theirs.square_MP, rtol=2e-5, atol=1e-8)
    theirs.keep(torch.tensor([0, 2]))
    assert theirs._groups() == [[0, 1]]


@pytest.mark.parametrize("clip", [0.1, 1e9])
def test_torchs_kernel_clips_what_it_reads(small: Small, clip: float) -> None:
    """Of a member alone, where it passes over the gradient once less."""
    configs, size = [small(optim={"lr": 0.1, "clip": clip})], 1 << 18
    ours, theirs = (AdamW(configs, torch.ones(size), CPU, fused) for fused in (False, True))
    assert theirs._groups() == [[0]]
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(1, size, generator=generator)
    same = rows.clone()
    for step in range(3):
        grad, told = torch.randn(1, size, generator=generator), rates(configs, step, step + 1)[0]
        torch.testing.assert_close(ours.step(rows, grad, told), theirs.step(same, grad.clone(), told))
    torch.testing.assert_close(rows, same, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.mean_MP, theirs.mean_MP, rtol=1e-5, atol=1e-6)


def test_tf32_is_for_products_of_the_step_and_its_evaluation_alone(small: Small) -> None:
    """What a GPU would see, on a CPU: set while steps are carried out, forward and backward, and put back."""
    seen = []
    products = torch.backends.cuda.matmul
    for config in (small(train={"precision": "tf32"}), small()):
        engine = timed_engine(config, CPU)
        update, engine.steps.update = engine.steps.update, lambda: seen.append(products.fp32_precision)
        engine.train(0, 1)
        with precision(config, CPU):
            seen.append(products.fp32_precision)
        engine.steps.update = update
        assert products.fp32_precision == "none"
    assert seen == ["tf32", "tf32", "none", "none"]
    assert small(train={"precision": "tf32"}).run_id != small().run_id


def test_on_a_cpu_tf32_is_single_precision(small: Small) -> None:
    curves = [timed_engine(small(train={"precision": name}), CPU).train(0, 5) for name in ("fp32", "tf32", "bf16")]
    assert np.array_equal(curves[0], curves[1])
    assert not np.array_equal(curves[0], curves[2])


def test_torchs_kernel_is_left_where_it_cannot_do_it_or_does_not_pay(small: Small) -> None:
    many = [small(optim={"lr": 0.001 * (n + 1)}) for n in range(8)]
    assert AdamW(many, torch.ones(1000), CPU, fused=True)._groups() == []
    scattered = (torch.arange(1 << 18) % 1000 == 0).float()
    assert AdamW([small(optim={"decay": "matrices"})], scattered, CPU, fused=True)._groups() == []
