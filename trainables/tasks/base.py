"""What a task is to the loop: the shape of an example, where examples come from, and what is made of an answer.

A task is a class with the attributes and functions of `Task`, one file and one line of `TASKS` (or a file of a user's
own). The loop, the networks, the packing and the reports know `Shape`, `Rows`, `Batch` and what a task declares; none
of them knows a task by name.

An example is a pure function of one 64-bit word, which follows from (seed, step): nothing has to be stored to resume,
and a member of a pack sees what it would see alone. A stored task turns the word into a row (`Rows`); a drawn one
(`Fresh`) turns it into as many further words as the example needs. Rules for `draw`: a fixed number of words, static
shapes, no rejection loops, nothing that waits for the device. A permutation is the argsort of words, a choice among k
is a multiply-shift.

Axes: M member, B example, T place, F field of a place, R real channel, A answer, O output, N row, S row of a split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from grokstudy.trainables.events import Event
from grokstudy.trainables.options import Problem
from grokstudy.trainables.randomness import IntArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Shape:
    """What an example looks like to a network. Equal for all members of a pack."""

    length: int
    """T, places of a training example; evaluation splits have their own."""
    fields: tuple[int, ...] = ()
    """Sizes of the integer fields of a place, whose embeddings are added up: (V,) for tokens, () for none."""
    reals: int = 0
    """R, real channels of a place (a linear map takes them into the width), 0 for none."""
    classes: int = 0
    """Classes that an output is one of (cross-entropy), 0 where outputs are real."""
    outputs: int = 0
    """O, real numbers of an output (squared error)."""
    candidates: tuple[int, int] | None = None
    """Classes low .. high - 1 among which an answer is looked for; None for all of them."""
    answers: int = 1
    """A, most scored places of an example."""
    places: int = 0
    """Rows of the position table: the longest example of all splits; 0 for `length`."""
    names: tuple[str, ...] = ()
    """Names of the places, where each has its role in every example."""
    query: tuple[int, int] | None = None
    """Real channels low .. high - 1 that scores of attention see (family `attention`); None for all."""
    value: tuple[int, int] | None = None
    """Real channels that are passed on where values are not trained."""
    told: tuple[int, int] | None = None
    """Real channels that say a place's own answer: others see them, its own scores do not (family `attention`)."""
    static: tuple[Any, ...] = ()
    """Whatever else must be equal in a pack: options that decide shapes rather than values."""

    @property
    def width(self) -> int:
        """Numbers of an output: logits of its classes, or real values."""
        return self.classes or self.outputs

    @property
    def longest(self) -> int:
        """Places of the longest example of all splits."""
        return self.places or self.length

    @property
    def range(self) -> tuple[int, int]:
        """First class that an answer can be, and the one behind the last."""
        return self.candidates or (0, self.classes)


@dataclass(frozen=True)
class Mechanism:
    """What is to be looked for in a model, as data, by name: arrays over the N examples, or tensors with (M, S) first.

    The names and meanings are those that the task declares (`Task.looks`, `latents`, `truths`, `swaps`).
    """

    look: Mapping[str, Any] = field(default_factory=dict)
    """(N, A, T) bool: the places that attention goes to from each answer, if the mechanism is there."""
    latent: Mapping[str, Any] = field(default_factory=dict)
    """(N, 2): a place, and the class that a lens reads there, -1 for none."""
    truth: Mapping[str, Any] = field(default_factory=dict)
    """(N, A): a real number that a lens reads where the answer is."""
    donor: Mapping[str, Any] = field(default_factory=dict)
    """Inputs of the example whose state is written into this one."""
    swap: Mapping[str, Any] = field(default_factory=dict)
    """(N, P + 1): the places where it is written, and the class that is then the answer; -1 for no such donor."""

    notes: Mapping[str, Any] = field(default_factory=dict)
    """Numbers of each example that the task's own scores need."""

    def each(self, change: Callable[[Any], Any]) -> Mechanism:
        """Every array changed in the same way."""
        return Mechanism(*({name: change(x) for name, x in arrays.items()} for arrays in vars(self).values()))


NOTHING = Mechanism()
"""Nothing to look for."""


def placed(place: int, class_N: IntArray) -> IntArray:
    """(N, 2): the same place for every example, and the class there; see `Mechanism.latent` and `swap`."""
    return np.stack([np.full_like(class_N, place), class_N], axis=1)


class Rows(Protocol):
    """N examples as arrays, padded on the right: no place sees a later one, so padding needs no mask."""

    @property
    def inputs(self) -> NDArray[Any]:
        """(N, T) int64 tokens, (N, T, F) int64 fields, or (N, T, R) float32."""

    @property
    def at(self) -> IntArray:
        """(N, A): place where each answer is read."""

    @property
    def target(self) -> NDArray[Any]:
        """(N, A) int64 classes, or (N, A, O) float32."""

    @property
    def weight(self) -> NDArray[np.float32] | None:
        """(N, A): weight of each answer, 0 where there is none; None: 1 everywhere."""

    @property
    def mechanism(self) -> Mechanism:
        """What probes look for."""

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class StoredRows:
    """Rows as plain arrays; see `Rows` for shapes."""

    inputs: NDArray[Any]
    at: IntArray
    target: NDArray[Any]
    weight: NDArray[np.float32] | None = None
    mechanism: Mechanism = NOTHING

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: IntArray | slice) -> StoredRows:
        """The chosen rows."""
        weight = None if self.weight is None else self.weight[rows]
        mechanism = self.mechanism.each(lambda x: x[rows])
        return StoredRows(self.inputs[rows], self.at[rows], self.target[rows], weight, mechanism)


@dataclass(frozen=True)
class TaskData:
    """What a task gives for one seed: the stored training rows, None where they are drawn, and the fixed splits."""

    train: Rows | None
    splits: Mapping[str, Rows]
    sizes: Mapping[str, int]
    """Counts that a reader wants to see."""

    @property
    def hash(self) -> str:
        """sha256 over training rows and splits, 16 hex digits."""
        digest = hashlib.sha256()
        for rows in (*(() if self.train is None else (self.train,)), *self.splits.values()):
            digest.update(np.ascontiguousarray(rows.inputs).tobytes())
            digest.update(np.ascontiguousarray(rows.target).tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Batch:
    """Examples of every member on the device."""

    inputs_MBx: Tensor
    """(M, B, T) tokens, (M, B, T, F) fields, or (M, B, T, R) float32."""
    at_MBA: Tensor
    target_MBAx: Tensor
    """(M, B, A) classes, or (M, B, A, O) float32."""
    weight_MBA: Tensor | None = None
    """None: 1 everywhere."""
    sought: Mechanism | None = None
    """What probes look for, in evaluation splits alone. torch.compile takes over no instance that is a default."""

    @property
    def mechanism(self) -> Mechanism:
        """What is sought, if anything."""
        return self.sought or NOTHING

    def first(self, count: int) -> Batch:
        """At most so many examples of every member."""
        return Batch(
            self.inputs_MBx[:, :count], self.at_MBA[:, :count], self.target_MBAx[:, :count],
            None if self.weight_MBA is None else self.weight_MBA[:, :count],
            None if self.sought is None else self.sought.each(lambda x: x[:, :count]),
        )  # fmt: skip


class Task:
    """A task: subclass it, or bring a class with the same attributes. Nothing in it has state."""

    Options: ClassVar[type[Any]]
    """Frozen dataclass of `option(...)` fields, and `problems() -> list[Problem]` of what is impossible."""
    splits: ClassVar[Mapping[str, str]]
    """Evaluation sets: name and meaning. Length buckets and hop classes are splits of their own."""
    headline: ClassVar[str]
    """The split whose accuracy a reader asks for first."""
    shown: ClassVar[tuple[str, ...]] = ()
    """Splits that a progress line shows; () for all."""
    positions: ClassVar[tuple[str, ...]] = ()
    """Names of places that have one role in every example."""
    metrics: ClassVar[Mapping[str, str]] = {}
    """What `scores` gives beyond accuracy, loss and margin: name and meaning."""
    families: ClassVar[tuple[str, ...]] = ("decoder",)
    """Model families that can read its examples."""
    losses: ClassVar[tuple[str, ...]] = ("answer",)
    """Values of `train.loss` that mean something for it."""
    events: ClassVar[Mapping[str, Event]] = {}
    """Events of a study that names none."""
    earlier_events: ClassVar[Mapping[str, Event]] = {}
    """What stands in for one of them where only that is measured."""
    looks: ClassVar[Mapping[str, str]] = {}
    """`Mechanism.look` by name, with its meaning: probe `attention_mass` measures `mass_NAME`."""
    latents: ClassVar[Mapping[str, str]] = {}
    """`Mechanism.latent`: probe `lens` measures `lens_NAME`."""
    truths: ClassVar[Mapping[str, str]] = {}
    """`Mechanism.truth`: probe `value_lens` measures `follows_NAME`."""
    swaps: ClassVar[Mapping[str, str]] = {}
    """`Mechanism.swap`: probe `swap` measures `swap_NAME`."""
    probes: ClassVar[tuple[str, ...]] = ()
    """Probes of a kind of task, of those in `measurements.NEEDS`, that can look into a model of this one."""
    default_probes: ClassVar[tuple[str, ...]] = ()
    """Those of a study that names none."""

    @staticmethod
    def shape(options: Any) -> Shape:
        """What its examples look like under these options."""
        raise NotImplementedError

    @classmethod
    def splits_of(cls, options: Any) -> tuple[str, ...]:
        """The splits that there are under these options. What decides it belongs to the `static` of their shape."""
        return tuple(cls.splits)

    @staticmethod
    def check(options: Any, seed: int) -> list[Problem]:
        """What this seed makes impossible, found cheaply."""
        return []

    @staticmethod
    def memory(options: Any) -> tuple[float, str, frozenset[str]] | None:
        """Bytes that the stored data would take, in words, and the options that decide it; None: next to nothing."""
        return None

    @classmethod
    def build(cls, options: Any, seed: int, max_examples: int) -> TaskData:
        """Draw the data of a seed. Raises ValueError when that is impossible, or a split would be empty."""
        raise NotImplementedError

    @staticmethod
    def scores(output_MSAx: Tensor, rows: Batch) -> dict[str, Tensor]:
        """Per example (M, S): those of `metrics` that `judge` does not give, and `accuracy` where it is another thing
        than that the target is the arg max: where outputs are real, or several answers are right.
        """
        return {}

    generates: ClassVar[bool] = False
    """Whether a model's own answers are fed back, one after the other (`feed`, `judge`), at every evaluation."""

    @staticmethod
    def feed(rows: Batch, answer: int, output_MSx: Tensor) -> Batch:
        """The examples with a model's answer of this number, a class or real numbers, written into what follows it."""
        raise NotImplementedError

    @staticmethod
    def judge(said_MSAx: Tensor, rows: Batch) -> dict[str, Tensor]:
        """Per example (M, S) what a model's own answers achieve: `exact`, all that are there equal to the targets.

        NaN where there is no such thing: of such examples the mean says nothing.
        """
        right_MSA = said_MSAx == rows.target_MBAx
        if rows.weight_MBA is not None:
            right_MSA = right_MSA | (rows.weight_MBA == 0)
        return {"exact": right_MSA.all(dim=2)}


class Fresh(Task):
    """A task whose examples are drawn as they are needed, never stored and never the same."""

    drawn_as: ClassVar[Mapping[str, str]] = {}
    """Splits that are drawn from the words of another, to be compared with it row by row."""

    @classmethod
    def values(cls, options: Sequence[Any], seeds: Sequence[int]) -> dict[str, NDArray[Any]]:
        """What differs between the members of a pack, as arrays (M, ...): options that only change values."""
        return {}

    @classmethod
    def draw(cls, options: Any, values: Mapping[str, Tensor], split: str | None, word_MB: Tensor) -> Batch:
        """The examples of these words: of training for `split` None, or of a split (with its mechanism).

        `values` are those of `values` on the device; `options` are the first member's, for what is equal in a pack.
        """
        raise NotImplementedError

    @classmethod
    def build(cls, options: Any, seed: int, max_examples: int) -> TaskData:
        """The fixed evaluation splits: the examples of words that training does not use."""
        import torch

        from grokstudy.trainables.randomness import Stream

        values = {name: torch.from_numpy(x) for name, x in cls.values([options], [seed]).items()}
        splits = {}
        for name in cls.splits_of(options):
            words = Stream(seed, f"eval/{cls.drawn_as.get(name, name)}").raw(max_examples).view(np.int64)
            batch = cls.draw(options, values, name, torch.from_numpy(words)[None])
            splits[name] = StoredRows(
                batch.inputs_MBx[0].numpy(), batch.at_MBA[0].numpy(), batch.target_MBAx[0].numpy(),
                None if batch.weight_MBA is None else batch.weight_MBA[0].numpy(),
                batch.mechanism.each(lambda x: x[0].numpy()),
            )  # fmt: skip
        return TaskData(None, splits, {})
