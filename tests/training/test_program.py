"""A step as one program: what is noted of it, what is refused, and when it is compiled again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from grokstudy.trainables.training import program


class Descent:
    """A few rows of a table are looked up, and weights move along a gradient, in place."""

    def __init__(self, length: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.table_1N3 = torch.randn(1, length, 3, generator=generator)
        self.rows_B = torch.randint(length, (8,), generator=generator)
        self.weight_3 = torch.randn(3, generator=generator).requires_grad_()
        self.norm_1 = torch.zeros(1)

    def step(self) -> None:
        examples_B3 = self.table_1N3[0, self.rows_B]
        loss = (examples_B3 @ self.weight_3).square().mean()
        (grad_3,) = torch.autograd.grad(loss, self.weight_3)
        with torch.no_grad():
            self.norm_1.copy_(grad_3.norm()[None])
            self.weight_3.sub_(0.1 * grad_3)

    @property
    def changed(self) -> list[Tensor]:
        return [self.weight_3, self.norm_1]

    def compiled(self) -> Callable[[], None]:
        return program.program(self.step, self.changed, [self.table_1N3])


def state(descent: Descent) -> list[Tensor]:
    return [x.detach().clone() for x in descent.changed]


def test_a_graph_does_what_the_step_does_and_noting_it_changes_nothing() -> None:
    noted, plain = Descent(20), Descent(20)
    before = state(noted)
    graph, inputs = program.traced(noted.step, noted.changed)
    assert all(torch.equal(x, y) for x, y in zip(state(noted), before, strict=True))
    assert {id(noted.table_1N3), id(noted.weight_3), id(noted.norm_1)} <= {id(x) for x in inputs}
    for _ in range(3):
        with torch.no_grad():
            graph(*inputs)
        plain.step()
    assert all(torch.equal(x, y) for x, y in zip(state(noted), state(plain), strict=True))


def test_the_state_is_there_again_when_a_step_fails_halfway() -> None:
    descent = Descent(20)
    before = state(descent)

    def failing() -> None:
        descent.step()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        program.traced(failing, descent.changed)
    assert all(torch.equal(x, y) for x, y in zip(state(descent), before, strict=True))
    assert not torch.compiler.is_compiling()


def test_what_fails_when_it_is_tried_is_told_before_a_step_is_made_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that steps go on one by one, from where they are."""
    descent = Descent(20)
    before = state(descent)

    def failing(*inputs: Tensor) -> None:
        descent.weight_3.add_(1)
        raise RuntimeError("index out of bounds")

    monkeypatch.setattr(program, "_compiled", {})
    monkeypatch.setattr(program, "_made", lambda *_: failing)
    with pytest.raises(RuntimeError, match="out of bounds"):
        descent.compiled()
    assert all(torch.equal(x, y) for x, y in zip(state(descent), before, strict=True))


@pytest.mark.parametrize(
    ("waits", "message"),
    [
        (lambda x: x.sum().item(), "waits for a value"),
        (lambda x: x.nonzero(), "waits for a value"),
        (lambda x: x[x > 0], "waits for a value"),
        (lambda x: bool((x > 0).any()), "waits for a value"),
        (lambda x: torch.from_numpy((x + 1).numpy()) * 2, "came about unseen"),
    ],
)
def test_what_a_program_could_not_know_is_refused(waits: Callable[[Tensor], object], message: str) -> None:
    x = torch.arange(4.0)
    with pytest.raises(RuntimeError, match=message):
        program.traced(lambda: (waits(x), None)[1], [])


@pytest.fixture
def compilations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry per compilation; nothing was compiled before."""
    count, compile_ = [], torch._inductor.standalone_compile

    def counting(graph: torch.fx.GraphModule, inputs: list[Tensor], **options: Any) -> object:
        count.append(len(inputs))
        return compile_(graph, [*inputs], **options)

    monkeypatch.setattr(torch._inductor, "standalone_compile", counting)
    monkeypatch.setattr(program, "_compiled", {})
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    return count


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++: bash scripts/system-packages.sh")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it compiles
def test_tables_of_any_length_share_a_program_in_this_process_and_the_next(
    compilations: list[int], tmp_path: Path
) -> None:
    def check(length: int) -> None:
        compiled, plain = Descent(length, length), Descent(length, length)
        run = compiled.compiled()
        for _ in range(3):
            run()
            plain.step()
        torch.testing.assert_close(state(compiled), state(plain))

    for length in (20, 7, 300):
        check(length)
    assert len(compilations) == 1
    program._compiled.clear()  # as another process begins
    check(12)
    assert len(compilations) == 1
    (kept,) = tmp_path.rglob("*.bin")
    kept.write_bytes(kept.read_bytes()[:1000])
    program._compiled.clear()
    check(12)
    assert len(compilations) == 2
