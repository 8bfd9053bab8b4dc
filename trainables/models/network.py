"""What a model family is: a pure function of flat parameters, for a pack of M members at once.

All parameters of a member lie in one flat row: `flat_MP` is the only thing that is trained, saved and restored.
Measurements see a network as states (M, B, T, D) at effective depths 0 .. depth, and may write into them.

Axes: M member, B example, T token position, D width, V vocabulary, P parameter.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grokstudy.trainables.config import Model
from grokstudy.trainables.randomness import Stream

Edit = Callable[[int, Tensor], Tensor]
"""(effective depth, resid_MBTD) -> resid_MBTD: sees the residual stream, and may replace it."""

IGNORED = -100
"""Target that has no loss."""


@dataclass(frozen=True)
class Parameter:
    """One named block of the flat row."""

    name: str
    shape: tuple[int, ...]
    std: float | None
    """Standard deviation of the initial values; None: constant `fill`."""
    fill: float = 0.0
    truncated: bool = False
    """Normal values beyond two standard deviations are drawn again."""

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def is_matrix(self) -> bool:
        """Whether `optim.decay: matrices` decays it."""
        return len(self.shape) > 1

    def initial(self, stream: Stream) -> Tensor:
        """Initial values (size,)."""
        if self.std is None:
            return torch.full((self.size,), self.fill)
        values = stream.truncated_normal(self.size) if self.truncated else stream.normal(self.size)
        return torch.from_numpy(values) * self.std


class Network(ABC):
    """The function of a family. Holds no weights: they are passed in as `flat_MP` or as unpacked `weights`."""

    positions: tuple[str, ...]
    """Names of the token positions that can be measured; the first three are h, r1, r2."""
    mean_per_example: bool = False
    """Whether a loss over several tokens is first averaged within each example."""

    def __init__(self, options: Model, vocabulary: int) -> None:
        """Lay out the parameters of one member."""
        self.options = options
        self.parameters = self.layout(options, vocabulary)
        self.depth = options.depth

    @staticmethod
    @abstractmethod
    def layout(options: Model, vocabulary: int) -> list[Parameter]:
        """The parameters in the order in which they lie in the flat row."""

    @staticmethod
    @abstractmethod
    def step_flops(options: Model, vocabulary: int, batch: int) -> float:
        """Floating-point operations of one training step of one member, matrix products alone."""

    def initial(self, seed: int) -> Tensor:
        """Initial flat row (P,) of a member; the same on every device."""
        stream = Stream(seed, "init")
        return torch.cat([parameter.initial(stream) for parameter in self.parameters])

    def matrix_mask(self) -> Tensor:
        """(P,) 1 where the parameter belongs to a matrix, 0 for gains and biases."""
        return torch.cat([torch.full((p.size,), float(p.is_matrix)) for p in self.parameters])

    def unpack(self, flat_MP: Tensor) -> dict[str, Tensor]:
        """Name -> view with leading member axis. One split, so that its backward pass is one concatenation."""
        members = flat_MP.shape[0]
        pieces = torch.split(flat_MP, [p.size for p in self.parameters], dim=1)
        return {p.name: piece.view(members, *p.shape) for p, piece in zip(self.parameters, pieces, strict=True)}

    @abstractmethod
    def targets(self, tokens_MBT: Tensor, answer_at_MB: Tensor, answer_MB: Tensor) -> Tensor:
        """What each position of `residual` should say, IGNORED where nothing."""

    @abstractmethod
    def residual(
        self, weights: dict[str, Tensor], tokens_MBT: Tensor, edit: Edit | None = None, last: int | None = None
    ) -> Tensor:
        """States (M, B, T, D) at depth `last`, or at the end. `edit` is called at every effective depth until there."""

    @abstractmethod
    def unembed(self, weights: dict[str, Tensor], resid_MxD: Tensor) -> Tensor:
        """Logits (M, x, V) of states (M, x, D) with any axes between."""

    @abstractmethod
    def answer_logits(
        self, weights: dict[str, Tensor], tokens_MBT: Tensor, answer_at_MB: Tensor, edit: Edit | None = None
    ) -> Tensor:
        """Logits (M, B, V) at each example's answer position."""

    @abstractmethod
    def resume(
        self, weights: dict[str, Tensor], tokens_MBT: Tensor, path: Sequence[Tensor], answer_at_MB: Tensor,
        place: int = 0, unedited: Sequence[Tensor] = (),
    ) -> Tensor:  # fmt: skip
        """Answer logits (M, B, V) of a run whose states at depths 0, 1, ... are `path`, the last of them edited.

        Where nothing before the position `place` was edited, `unedited` are the states of the run without the edit at
        every depth before the last: a causal model need not compute the earlier positions again.
        """


def at_position(resid_MBTD: Tensor, position_MB: Tensor) -> Tensor:
    """The state (M, B, D) at one position per example."""
    index = position_MB[:, :, None, None].expand(-1, -1, 1, resid_MBTD.shape[-1])
    return resid_MBTD.gather(2, index).squeeze(2)


def margins(logits_MSV: Tensor, answer_MS: Tensor, entities: int) -> Tensor:
    """Logit of the answer minus the largest other entity logit (M, S); positive when the answer is the arg max.

    Entities are the tokens 0 .. entities - 1.
    """
    entity_logits = logits_MSV[..., :entities]
    answer = answer_MS[..., None]
    own = entity_logits.gather(-1, answer).squeeze(-1)
    others = entity_logits.scatter(-1, answer, -torch.inf)
    return own - others.amax(dim=-1)
