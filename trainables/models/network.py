"""What a model family is: a pure function of flat parameters, for a pack of M members at once.

All parameters of a member lie in one flat row: `flat_MP` is the only thing that is trained, saved and restored.
Measurements see a network as states (M, B, T, D) at effective depths 0 .. depth, and may write into them.

Inputs are one tensor: (M, B, T) tokens, (M, B, T, F) integer fields of a place whose embeddings are added up, or
(M, B, T, R) real channels. Places where answers are read are (M, B) for one answer, or (M, B, A).

Axes: M member, B example, T token position, F field, R real channel, A answer, D width, V output, P parameter.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grokstudy.trainables.config import Model
from grokstudy.trainables.models.prefixes import Prefixes
from grokstudy.trainables.randomness import Stream
from grokstudy.trainables.tasks.base import Shape

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
    """Names of the positions that can be measured: the task's, and a family's own behind them."""
    says_behind: int = 0
    """How many positions behind the last token of a sequence the network says what follows it."""
    mean_per_example: bool = False
    """Whether a loss over several tokens is first averaged within each example."""

    def __init__(self, options: Model, shape: Shape) -> None:
        """Lay out the parameters of one member."""
        self.options, self.shape = options, shape
        self.parameters = self.layout(options, shape)
        self.depth = options.depth
        self.positions = shape.names

    @staticmethod
    @abstractmethod
    def layout(options: Model, shape: Shape) -> list[Parameter]:
        """The parameters in the order in which they lie in the flat row."""

    @staticmethod
    @abstractmethod
    def step_flops(options: Model, shape: Shape, batch: int) -> float:
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

    def targets(self, tokens_MBT: Tensor, answer_at_MB: Tensor, answer_MB: Tensor) -> Tensor:
        """What each position of `residual` should say, IGNORED where nothing; of families that say every token."""
        raise NotImplementedError

    @abstractmethod
    def residual(
        self, weights: dict[str, Tensor], inputs_MBx: Tensor, edit: Edit | None = None, last: int | None = None
    ) -> Tensor:
        """States (M, B, T, D) at depth `last`, or at the end. `edit` is called at every effective depth until there."""

    @abstractmethod
    def unembed(self, weights: dict[str, Tensor], resid_MxD: Tensor) -> Tensor:
        """Outputs (M, x, V) of states (M, x, D) with any axes between: logits, or real numbers."""

    @abstractmethod
    def answer_logits(
        self, weights: dict[str, Tensor], inputs_MBx: Tensor, at_MBx: Tensor, edit: Edit | None = None
    ) -> Tensor:
        """Outputs (M, B, V), or (M, B, A, V), where each example's answers are read."""

    def resume(
        self, weights: dict[str, Tensor], inputs_MBx: Tensor, path: Sequence[Tensor], at_MBx: Tensor,
        place: int = 0, unedited: Sequence[Tensor] = (),
    ) -> Tensor:  # fmt: skip
        """Answers of a run whose states at depths 0, 1, ... are `path`, the last of them edited; of families with such.

        Where nothing before the position `place` was edited, `unedited` are the states of the run without the edit at
        every depth before the last: a causal model need not compute the earlier positions again.
        """
        raise NotImplementedError

    def takes_prefixes(self, inputs_MBx: Tensor) -> bool:
        """Whether there are `states_of_prefixes` and `answers_of_prefixes` of such inputs."""
        return False

    def states_of_prefixes(self, weights: dict[str, Tensor], prefixes: Prefixes, last: int) -> list[Tensor]:
        """States (M, R, D) at the last place of each beginning, by depth until `last`."""
        raise NotImplementedError

    def answers_of_prefixes(self, weights: dict[str, Tensor], prefixes: Prefixes, row_MBA: Tensor) -> Tensor:
        """Outputs (M, B, A, V) behind some rows, as `answer_logits` of the sequences."""
        raise NotImplementedError

    def said(self, logits_MxV: Tensor) -> Tensor:
        """The class that is said (M, x): the arg max over the task's candidates."""
        low, high = self.shape.range
        return logits_MxV[..., low:high].argmax(dim=-1) + low

    def patterns(self, weights: dict[str, Tensor], inputs_MBx: Tensor, at_MBA: Tensor) -> list[Tensor]:
        """Attention (M, B, H, A, T) from the places of answers, by effective depth; none without attention."""
        return []


def at_position(resid_MBTD: Tensor, position_MBx: Tensor) -> Tensor:
    """The state (M, B, D) at one position per example, or (M, B, A, D) at several."""
    one = position_MBx.dim() == 2
    position_MBA = position_MBx[:, :, None] if one else position_MBx
    state_MBAD = resid_MBTD.gather(2, position_MBA[..., None].expand(-1, -1, -1, resid_MBTD.shape[-1]))
    return state_MBAD.squeeze(2) if one else state_MBAD


def margins(logits_MxV: Tensor, answer_Mx: Tensor, high: int, low: int = 0) -> Tensor:
    """Logit of the answer minus the largest other candidate's (M, x); positive when the answer is the arg max.

    Candidates are the classes low .. high - 1.
    """
    candidates = logits_MxV[..., low:high]
    answer = (answer_Mx[..., None] - low).clamp(min=0)  # below it where padded
    own = candidates.gather(-1, answer).squeeze(-1)
    others = candidates.scatter(-1, answer, -torch.inf)
    return own - others.amax(dim=-1)
