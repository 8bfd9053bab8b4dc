"""The update of a pack: forward, backward, optimiser and metrics, as tensors on the device from end to end.

Everything that varies from step to step is laid out on the device once per chunk, in rows: which examples, and what the
optimiser needs. A counter on the device says which row is next, so a step takes no number from Python, allocates
nothing on the host and waits for nothing: it can be captured as a CUDA graph. Its metrics go into a ring on the device
that is copied once per chunk.

Axes: K step of a chunk, M member, B example, P parameter, R what the optimiser needs (optimizer.RATES).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.models.network import Network
from grokstudy.trainables.storage.checkpoint import Checkpoint
from grokstudy.trainables.training import optimizer
from grokstudy.trainables.training.batches import TrainingSet
from grokstudy.trainables.training.losses import LOSSES
from grokstudy.trainables.training.program import apart
from grokstudy.trainables.training.stepper import Mode, Stepper

CHUNK = 100
"""Most steps between two copies of the metrics, and between two looks at the clock."""
STEP_METRICS = ("loss", "grad_norm", "weight_norm", "lr")
"""Metrics of the table `steps`."""


class Engine:
    """Weights, optimiser and training data of a pack, and the update that moves them."""

    def __init__(
        self, model: Network, configs: list[RunConfig], training: TrainingSet, weights: Sequence[Tensor],
        restored: Sequence[Checkpoint | None], device: torch.device, mode: Mode = "auto",
    ) -> None:  # fmt: skip
        """Begin at initial weights (P,), or at checkpoints where there are some. Configurations have one shape."""
        self.model, self.configs, self.training = model, configs, training
        self.device, self.mode = device, mode
        self.loss = LOSSES[configs[0].train.loss]
        self.batch = configs[0].train.batch
        self.flat_MP = torch.stack([row.to(device) for row in weights])
        fused = device.type == "cuda" and mode != "compile"  # which makes a better kernel of the written-out update
        self.optimizer = optimizer.OPTIMIZERS[configs[0].optim.name](configs, model.matrix_mask(), device, fused)
        self.optimizer.begin(self.flat_MP, restored)
        self.flat_MP.requires_grad_()
        self._lay_out()

    def _lay_out(self) -> None:
        """The tensors that a step reads and writes, at addresses that stay, and how steps are carried out on them."""
        members = len(self.configs)
        self.next_1 = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.word_KMB = torch.zeros(CHUNK, members, self.batch, dtype=torch.int64, device=self.device)
        self.rates_KRM = torch.zeros(CHUNK, len(optimizer.RATES), members, device=self.device)
        self.ring_K3M = torch.zeros(CHUNK, 3, members, device=self.device)
        self.landing_K3M = torch.empty_like(self.ring_K3M, device="cpu", pin_memory=self.device.type == "cuda")
        changed = (self.flat_MP, *self.optimizer.changed(), self.ring_K3M, self.next_1)
        self.steps = Stepper(self.mode, self.update, self.device, changed, self.training.source.tables())

    def train(self, start: int, stop: int) -> NDArray[np.float32]:
        """Carry out the updates start .. stop - 1, at most CHUNK; returns STEP_METRICS of each as (4, K, M)."""
        count = stop - start
        rates_KRM = optimizer.rates(self.configs, start, stop)
        self.word_KMB[:count] = self.training.words(start, stop, self.batch)
        self.rates_KRM[:count].copy_(rates_KRM, non_blocking=True)
        self.next_1.zero_()
        with precision(self.configs[0], self.device, "tf32"):  # forward and backward, and while a graph is captured
            self.steps(count)
        lr_1KM = rates_KRM[None, :, optimizer.RATES.index("lr")].numpy()
        return np.concatenate([self._metrics(count).transpose(1, 0, 2), lr_1KM])

    def _metrics(self, count: int) -> NDArray[np.float32]:
        """The first rows of the ring, copied to the host; the one time that a chunk waits for the device."""
        self.landing_K3M.copy_(self.ring_K3M, non_blocking=True)
        if self.device.type == "cuda":
            copied = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            copied.record()
            copied.synchronize()
        return self.landing_K3M[:count].numpy()

    def update(self) -> None:
        """One step: the next row of the chunk. Nothing in here knows the number of the step."""
        word_MB = self.word_KMB.index_select(0, self.next_1)[0]
        if torch.compiler.is_compiling():
            word_MB = apart(word_MB)
        rates_RM = self.rates_KRM.index_select(0, self.next_1)[0]
        loss_M = self.losses(self.flat_MP, word_MB)
        (grad_MP,) = torch.autograd.grad(loss_M.sum(), self.flat_MP)
        with torch.no_grad():
            weight_norm_M = torch.linalg.vector_norm(self.flat_MP, dim=1)
            grad_norm_M = self.optimizer.step(self.flat_MP.detach(), grad_MP, rates_RM)
            row_13M = torch.stack([loss_M, grad_norm_M, weight_norm_M])[None]
            self.ring_K3M.index_copy_(0, self.next_1, row_13M)
            self.next_1.add_(1)

    def losses(self, flat_MP: Tensor, word_MB: Tensor) -> Tensor:
        """Loss (M,) of the examples, differentiable in the weights."""
        with precision(self.configs[0], self.device, "bf16"):
            return self.loss(self.model, self.model.unpack(flat_MP), self.training.batch(word_MB))

    def restore(self, states: list[Checkpoint]) -> None:
        """Go on from other states, one of each member. Tensors stay where they are: a captured step knows them so."""
        with torch.no_grad():
            for row, state in enumerate(states):
                self.flat_MP[row] = state.flat_P.to(self.device)
                self.optimizer.restore(row, state)

    def keep(self, rows: Tensor) -> None:
        """Drop all members but these."""
        self.configs = [self.configs[row] for row in rows.tolist()]
        self.flat_MP = self.flat_MP.detach()[rows].contiguous().requires_grad_()
        self.optimizer.keep(rows)
        self.training.keep(rows)
        self._lay_out()

    def checkpoint(self, row: int, step: int) -> Checkpoint:
        """The state of one member."""
        return self.optimizer.checkpoint(self.flat_MP, row, step)

    def evaluated(self) -> dict[str, Tensor]:
        """The weights to evaluate, unpacked: their average, or the weights themselves."""
        return self.model.unpack(self.optimizer.evaluated(self.flat_MP))


def precision(
    config: RunConfig, device: torch.device, *among: Literal["bf16", "tf32"]
) -> contextlib.AbstractContextManager[object]:
    """Arithmetic of matrix products: in bfloat16 of weights kept in float32, or in TF32; `among` these, or any.

    bf16 is of the forward pass alone: its backward pass follows from what was computed.
    """
    asked = config.train.precision
    if asked == "fp32" or (among and asked not in among):
        return contextlib.nullcontext()
    return _tf32() if asked == "tf32" else torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)


@contextlib.contextmanager
def _tf32() -> Iterator[None]:
    """Let products on a GPU take operands of ten bits of mantissa; those on a CPU stay as they are."""
    products = torch.backends.cuda.matmul
    before, products.fp32_precision = products.fp32_precision, "tf32"
    try:
        yield
    finally:
        products.fp32_precision = before
