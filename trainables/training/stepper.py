"""How the steps of a chunk are carried out: one by one, as a CUDA graph, or compiled. No number depends on which.

`graph` runs a few steps as they are, on a stream of their own as capturing wants it, records one and replays it from
then on: one launch per step in place of several hundred. `compile` also lets torch's Inductor fuse what lies between
the matrix products (program.py). Where either fails, one warning says so and the steps are carried out one by one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from grokstudy.trainables.training.program import program

Mode = Literal["auto", "eager", "graph", "compile"]
"""How to run, not what: no part of a run's identity. `auto` is `graph` on a GPU and `eager` elsewhere."""
MODES: tuple[Mode, ...] = get_args(Mode)
WARM_UP = 3
"""Steps before the one that is captured: libraries make their plans and workspaces in them."""


def engine_again(described: Mapping[str, Any]) -> Mode:
    """How to train a run again that run.json describes: compiled steps round differently, captured ones do not."""
    return "compile" if described.get("engine") == "compile" else "auto"


class Stepper:
    """Carries out steps of `update`, as it was given, captured or compiled."""

    def __init__(
        self, mode: Mode, update: Callable[[], None], device: torch.device, changed: Sequence[Tensor] = (),
        tables: Sequence[Tensor] = (),
    ) -> None:  # fmt: skip
        """`changed`: the tensors that an update writes; `tables` (M, N, x) it looks up in, N being no matter.

        Nothing is compiled or captured before the first steps.

        Raises ValueError for a mode not possible here.
        """
        if mode not in MODES:
            raise ValueError(f"engine: {mode!r} is unknown; it is one of {', '.join(MODES)}")
        if mode == "graph" and device.type != "cuda":
            raise ValueError(f"engine: graph needs a CUDA device, and this is {device.type}; leave it at auto")
        self.update, self.changed, self.tables = update, changed, tables
        self.compiled, self.captured = mode == "compile", device.type == "cuda" and mode != "eager"
        self.graph: torch.cuda.CUDAGraph | None = None
        self.side: torch.cuda.Stream | None = None
        self.done = 0

    def __call__(self, count: int) -> None:
        """Carry out so many steps."""
        for _ in range(count):
            if self.compiled and self.done == 0:
                self._compile()
            if self.captured and self.graph is None and self.done >= WARM_UP:
                self._capture()
            if self.graph is not None:
                self.graph.replay()
            elif self.captured:  # later: until then beside the default stream, as capturing wants it
                self.side = beside(self.update, self.side)
            else:
                self.update()
            self.done += 1

    def _compile(self) -> None:
        """Compile what updates, or go on without."""
        try:
            self.update = program(self.update, self.changed, self.tables)
        except Exception as error:
            _warn("compiling a step failed", error)
            self.compiled = False

    def _capture(self) -> None:
        """Record one step without carrying it out."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.update()
        except RuntimeError as error:
            _warn("capturing a CUDA graph failed", error.__context__ or error)
            self.captured = False
        else:
            self.graph = graph


def beside(work: Callable[[], None], side: torch.cuda.Stream | None) -> torch.cuda.Stream:
    """Carry out work on a stream beside the present one, in its turn; returns the stream, to be used again."""
    stream = side or torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream().wait_stream(stream)
    return stream


def _warn(what: str, error: BaseException) -> None:
    reason = " ".join(str(error).split("\n\n")[0].split()) or type(error).__name__
    warnings.warn(f"{what} ({reason}): steps are carried out one by one, slower but the same", stacklevel=4)
