"""Comparisons with entities whose values are never stated (arXiv 2405.15071 section 5 and its code).

World, facts and comparisons are those of `comparison`. Trained are the in-distribution (I) facts, a share of the
comparisons of two I entities, and a share of those of an I entity with an out-of-distribution (O) one, each comparison
drawn for itself. No O fact is ever trained: its value is known only through what its entity was compared with. Two O
entities are never compared in training, and comparing them takes several trained comparisons.

What follows about an O value is an interval (`Bounds`): above each I value that the entity was said to be larger than,
below each that it was smaller than, at one that it was equal to. A relation of two O values is derivable where the
intervals decide it, by integers: larger than 3 and smaller than 5 is 4.

What the released code calls hard is derivable from I values and comparisons of I with O entities, and is not by going
from comparison to comparison alone. At the paper's size these are 4 to 70 of the 9,900 comparisons of two O entities of
an attribute, and nearly every O value is pinned by its some 54 comparisons: who knows the value need not search. So
there are also `oo_derivable` and `oo_balanced`; `oo_hard` and `oo_underdetermined` are asked for by an option, and
refused where a seed has none.

The score `bounds` says how often the likeliest answer is right for who knows the I facts and these intervals, and
nothing else (values uniform and independent): what is above it on `oo_underdetermined` has leaked.

Differences from the released code: those of `comparison`; the text ends at e2, without </q> and <a>; pairs of which
either order is trained are not in `test_io`; `oo_hard` has as many of each label as there are of the rarest, not 50.

Axes: E entity, A attribute, N comparison or fact, U O entity of one attribute.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from grokstudy.trainables.events import Event
from grokstudy.trainables.options import Problem, option
from grokstudy.trainables.randomness import IntArray, Stream
from grokstudy.trainables.tasks.base import Shape, StoredRows, Task, TaskData
from grokstudy.trainables.tasks.comparison import LABELS, Comparison, Sayer, World, WorldOptions

if TYPE_CHECKING:
    from torch import Tensor

    from grokstudy.trainables.tasks.base import Batch


@dataclass(frozen=True, kw_only=True)
class ComplexOptions(WorldOptions):
    """A world, and which comparisons are trained. The paper: 1000 / 20 / 20, .03 and .03, separators."""

    keep_ii: float = option(
        0.2, "share of the comparisons of two I entities, not held out, that is trained", gt=0, le=1
    )
    keep_io: float = option(0.2, "share of the comparisons of an I with an O entity that is trained", gt=0, lt=1)
    hard: bool = option(False, "ask oo_hard as well; refused where a seed has none of a label")
    underdetermined: bool = option(False, "ask oo_underdetermined as well; refused where a seed has none")

    @property
    def trained_ii(self) -> int:
        """Trained comparisons of two I entities."""
        return round(self.keep_ii * 2 * (self.pairs_ii - self.pairs_held_out))

    @property
    def pairs_io(self) -> int:
        """Pairs of an I with an O entity, of all attributes."""
        return self.facts_id * self.ood

    @property
    def trained_io(self) -> int:
        """Trained comparisons of an I with an O entity."""
        return round(self.keep_io * 2 * self.pairs_io)

    def problems(self) -> list[Problem]:
        """What is impossible, found without drawing anything."""
        problems = super().problems()
        for key, pairs in (("ii", self.pairs_ii - self.pairs_held_out), ("io", self.pairs_io)):
            if not problems and not getattr(self, f"trained_{key}"):
                message = f"{getattr(self, f'keep_{key}'):g} of {2 * pairs:,} comparisons leaves none"
                problems.append(Problem(f"data.keep_{key}", message))
        return problems


@dataclass(frozen=True)
class Bounds:
    """What is known of each value: low_EA <= value <= high_EA. I values are stated."""

    low_EA: IntArray
    high_EA: IntArray

    @classmethod
    def of(cls, world: World, trained_io: IntArray) -> Bounds:
        """From the facts, and from comparisons of an I with an O entity in either order."""
        top = world.options.values - 1
        low_EA, high_EA = (np.where(world.ood_EA, end, world.value_EA) for end in (0, top))
        a, e1, e2 = world.parts(trained_io)
        ood_first = world.ood_EA[e1, a]
        unknown, known = np.where(ood_first, e1, e2), np.where(ood_first, e2, e1)
        value, above = world.value_EA[known, a], np.sign(world.value_EA[unknown, a] - world.value_EA[known, a])
        np.maximum.at(low_EA, (unknown, a), np.where(above >= 0, value + above, 0))
        np.minimum.at(high_EA, (unknown, a), np.where(above <= 0, value + above, top))
        return cls(low_EA, high_EA)

    @property
    def pinned_EA(self) -> NDArray[np.bool_]:
        """Values that nothing is left open about."""
        mask: NDArray[np.bool_] = self.low_EA == self.high_EA
        return mask

    def likelihoods(self, a: IntArray, e1: IntArray, e2: IntArray) -> NDArray[np.float64]:
        """Probability (N, 3) of each label, for values uniform in their intervals."""
        low_1, low_2, high_1, high_2 = (x[e, a] for x in (self.low_EA, self.high_EA) for e in (e1, e2))
        count_N3 = np.zeros((len(a), LABELS))
        for value in range(int(self.high_EA.max()) + 1):
            mask_N = (low_1 <= value) & (value <= high_1)
            count_N3[:, 0] += mask_N * np.clip(high_2 - np.maximum(low_2, value + 1) + 1, 0, None)
            count_N3[:, 1] += mask_N & (low_2 <= value) & (value <= high_2)
            count_N3[:, 2] += mask_N * np.clip(np.minimum(high_2, value - 1) - low_2 + 1, 0, None)
        share_N3: NDArray[np.float64] = count_N3 / count_N3.sum(axis=1, keepdims=True)
        return share_N3


def hard_pairs(world: World, trained_io: IntArray, trained: IntArray) -> IntArray:
    """Comparisons of two O entities that follow from I values and I-O comparisons, not from comparisons alone.

    As in the released code: what follows is what can be reached along "at least as large", where comparisons of I with
    O entities and the order of I values, or all trained comparisons, are the steps.
    """
    numbers = []
    options = world.options
    for attribute in range(options.attributes):
        value_E, ood_E = world.value_EA[:, attribute], world.ood_EA[:, attribute]
        ood = np.flatnonzero(ood_E)
        solvable, easy = (_steps(world, comparisons, attribute) for comparisons in (trained_io, trained))
        solvable |= (value_E[:, None] >= value_E) & ~ood_E[:, None] & ~ood_E
        known_UU = _reached(solvable, ood)
        hard_UU = (known_UU | known_UU.T) & ~(reached := _reached(easy, ood)) & ~reached.T
        e1, e2 = (ood[x] for x in np.nonzero(hard_UU & ~np.eye(len(ood), dtype=bool)))
        numbers.append(world.number(np.full_like(e1, attribute), e1, e2))
    return np.concatenate(numbers)


def _steps(world: World, comparisons: IntArray, attribute: int) -> NDArray[np.bool_]:
    """(E, E): whether a comparison says that the first is at least as large as the second."""
    a, e1, e2 = world.parts(world.both_orders(comparisons))
    mask = (a == attribute) & (world.value_EA[e1, a] >= world.value_EA[e2, a])
    step_EE = np.zeros((world.options.entities, world.options.entities), dtype=bool)
    step_EE[e1[mask], e2[mask]] = True
    return step_EE


def _reached(step_EE: NDArray[np.bool_], start: IntArray) -> NDArray[np.bool_]:
    """(U, U): whether one of these entities is reached from another in any number of steps."""
    reached_UE, step = step_EE[start], step_EE.astype(np.float32)
    while True:
        further_UE = reached_UE | (reached_UE.astype(np.float32) @ step > 0)
        if (further_UE == reached_UE).all():
            return reached_UE[:, start]
        reached_UE = further_UE


@dataclass(frozen=True)
class Drawn:
    """What a seed gives: the world, what is trained, and what follows."""

    world: World
    trained_ii: IntArray
    trained_io: IntArray
    test_ii: IntArray
    test_io: IntArray
    oo: IntArray
    bounds: Bounds

    @classmethod
    def draw(cls, options: ComplexOptions, seed: int) -> Drawn:
        """Hold pairs out, and choose what is trained: a smaller share trains on a subset of a larger one."""
        world = World.draw(options, seed)

        def shuffled(name: str, pairs: IntArray) -> IntArray:
            return pairs[Stream(seed, f"pool/{name}").permutation(len(pairs))]

        pairs, mixed = shuffled("ii", world.pairs(ood=False)), shuffled("io", world.mixed())
        held_out, free = np.split(pairs, [options.pairs_held_out])
        trained_ii = world.drawn(free, options.trained_ii, Stream(seed, "train"))
        trained_io = world.drawn(mixed, options.trained_io, Stream(seed, "train/io"))
        untrained = mixed[~np.isin(mixed, world.both_orders(trained_io))]
        oo = world.both_orders(shuffled("oo", world.pairs(ood=True)))
        bounds = Bounds.of(world, trained_io)
        return cls(world, trained_ii, trained_io, world.both_orders(held_out), world.both_orders(untrained), oo, bounds)

    @property
    def trained(self) -> IntArray:
        """All trained comparisons."""
        return np.concatenate([self.trained_ii, self.trained_io])

    def derivable(self) -> NDArray[np.bool_]:
        """Of the comparisons of two O entities, those that follow."""
        mask: NDArray[np.bool_] = self.bounds.likelihoods(*self.world.parts(self.oo)).max(axis=1) == 1
        return mask

    def asked(self, options: ComplexOptions, most: int) -> dict[str, IntArray]:
        """Comparisons of each split, at most so many."""
        world = self.world
        derivable = self.derivable()
        follows = self.oo[derivable]
        splits = {
            "train_ii": self.trained_ii, "train_io": self.trained_io, "test_ii": self.test_ii,
            "near_ii": world.near(self.test_ii, most), "test_io": self.test_io, "oo_derivable": follows,
            "oo_balanced": world.balanced(follows, most), "near_oo": world.near(follows, most),
        }  # fmt: skip
        if options.hard:
            hard = self.oo[np.isin(self.oo, hard_pairs(world, self.trained_io, self.trained))]
            splits["oo_hard"] = world.balanced(hard, most)
        if options.underdetermined:
            splits["oo_underdetermined"] = self.oo[~derivable]
        return {name: comparisons[:most] for name, comparisons in splits.items()}


REMEDIES = {
    "oo_hard": "leave data.hard out, or train fewer comparisons (data.keep_ii, data.keep_io)",
    "oo_underdetermined": "leave data.underdetermined out, or train fewer comparisons (data.keep_io)",
    "atomic_ood_determined": "enlarge data.keep_io",
}
"""What to do where a split is empty, besides enlarging the world."""


class ComplexReasoning(Task):
    """The task `complex_reasoning`."""

    Options = ComplexOptions
    splits: ClassVar[dict[str, str]] = {
        "train_ii": "trained comparisons of two in-distribution entities",
        "train_io": "trained comparisons of an in-distribution entity with an out-of-distribution one",
        "test_ii": "held-out comparisons, both entities in-distribution; neither order is trained",
        "near_ii": "of test_ii, values at most one apart, each label equally often: chance is 1/3",
        "test_io": "comparisons of an in-distribution entity with an out-of-distribution one; neither order is trained",
        "oo_derivable": "comparisons of two out-of-distribution entities that follow from what is trained",
        "oo_balanced": "of oo_derivable, each label equally often: chance is 1/3",
        "near_oo": "of oo_derivable, values at most one apart, each label equally often",
        "oo_hard": "comparisons of two out-of-distribution entities that follow from values, and not from comparisons "
        "alone, each label equally often (if `hard`)",
        "oo_underdetermined": "comparisons of two out-of-distribution entities left open (if `underdetermined`)",
        "atomic_id": "in-distribution atomic facts",
        "atomic_ood_determined": "out-of-distribution facts that follow from trained comparisons; never stated",
    }
    headline = "oo_balanced"
    shown = ("train_ii", "test_io", "oo_balanced", "atomic_ood_determined")
    metrics: ClassVar[dict[str, str]] = {
        **Comparison.metrics,
        "bounds": "share in which the likeliest answer is right, given stated values and what follows of others",
    }
    latents: ClassVar[dict[str, str]] = Comparison.latents
    swaps: ClassVar[dict[str, str]] = Comparison.swaps
    events: ClassVar[dict[str, Event]] = {
        "memorised": Event(metric="accuracy", split=("train_ii", "train_io"), at_least=0.95),
        "facts": Event(metric="accuracy", split=("atomic_id",), at_least=0.95),
        "generalised_ii": Event(metric="accuracy", split=("near_ii",), at_least=0.8),
        "generalised": Event(metric="accuracy", split=("oo_balanced",), at_least=0.9),
        "circuit": Event(metric="accuracy", split=("atomic_ood_determined",), at_least=0.5),
        "value_used": Event(metric="swap_value", split=("near_oo",), at_least=0.8),
        "decodable": Event(metric="lens_v1", split=("near_oo",), at_least=0.8),
    }
    """`circuit`: the value that was never stated is said when it is asked for. It has been inferred, which needs no
    probe; it cannot be told before facts are learnt at all (`facts`). `value_used`: answers follow the value at e1."""
    default_probes = ("lens", "swap")

    @staticmethod
    def shape(options: ComplexOptions) -> Shape:
        """A comparison's tokens and one answer. Which splits there are is equal in a pack."""
        candidates, vocabulary = (options.first_value, options.padding), options.vocabulary
        static = ComplexReasoning.splits_of(options)
        return Shape(options.length, (vocabulary,), classes=vocabulary, candidates=candidates, static=static)

    @classmethod
    def splits_of(cls, options: ComplexOptions) -> tuple[str, ...]:
        """Those that are not asked for are not there."""
        optional = {"oo_hard": options.hard, "oo_underdetermined": options.underdetermined}
        return tuple(name for name in cls.splits if optional.get(name, True))

    @staticmethod
    def memory(options: ComplexOptions) -> tuple[float, str, frozenset[str]]:
        """An unordered pair takes 56 bytes while the data are drawn."""
        keys = frozenset({"data.entities", "data.attributes"})
        return 56.0 * options.pairs_ii, f"{options.pairs_ii:,} pairs of entities", keys

    @classmethod
    def build(cls, options: ComplexOptions, seed: int, max_examples: int) -> TaskData:
        """Draw the world, the training set and the splits. Raises ValueError when a split is empty."""
        drawn = Drawn.draw(options, seed)
        world, bounds = drawn.world, drawn.bounds
        say = Sayer.of(world, drawn.trained, seed)
        splits = {}
        for name, comparisons in drawn.asked(options, max_examples).items():
            a, e1, e2 = world.parts(comparisons)
            likeliest = bounds.likelihoods(a, e1, e2).argmax(axis=1)
            splits[name] = _guessed(say.split(name, comparisons), options.first_label + LABELS * a + likeliest)
        facts = Stream(seed, "atomic").permutation(world.value_EA.size)
        ood, pinned = world.ood_EA.reshape(-1)[facts], bounds.pinned_EA.reshape(-1)[facts]
        for name, mask in (("atomic_id", ~ood), ("atomic_ood_determined", ood & pinned)):
            chosen = facts[mask][:max_examples]
            splits[name] = _guessed(say.facts(chosen), options.first_value + bounds.low_EA.reshape(-1)[chosen])
        for name, rows in splits.items():
            if not len(rows):
                remedy = REMEDIES.get(name, "take fewer values, or raise eval.max_examples")
                raise ValueError(f"data: split {name} is empty for seed {seed}; enlarge the world, or {remedy}")
        atoms, compared = say.facts(np.sort(facts[~ood])), say.comparisons(drawn.trained)
        inputs, at, target = (
            np.concatenate([getattr(rows, name) for rows in (atoms, compared)]) for name in ("inputs", "at", "target")
        )
        train = StoredRows(inputs, at, target)
        sizes = {
            "atomic_id": options.facts_id, "atomic_ood": int(ood.sum()), "determined": int((ood & pinned).sum()),
            "trained_ii": len(drawn.trained_ii), "trained_io": len(drawn.trained_io),
            "test_ii": len(drawn.test_ii), "test_io": len(drawn.test_io), "oo": len(drawn.oo),
            "oo_derivable": int(drawn.derivable().sum()), "train": len(train),
        }  # fmt: skip
        return TaskData(train, splits, sizes)

    @staticmethod
    def scores(output_MSAx: Tensor, rows: Batch) -> dict[str, Tensor]:
        """Those of `comparison`, and whether the likeliest answer is right."""
        guess_MS = rows.mechanism.notes["guess"][..., 0]
        return {**Comparison.scores(output_MSAx, rows), "bounds": guess_MS == rows.target_MBAx[:, :, 0]}


def _guessed(rows: StoredRows, guess_N: IntArray) -> StoredRows:
    """The rows, with the likeliest answer."""
    notes = {**rows.mechanism.notes, "guess": guess_N[:, None]}
    return replace(rows, mechanism=replace(rows.mechanism, notes=notes))
