"""Comparison of attribute values (arXiv 2405.15071 section 4 and its code).

Each of E entities has one of N ordered values of each of A attributes, drawn uniformly. An atomic fact is (e, a) -> v,
said entity first. A comparison is (a, e1, e2) -> one of three labels of that attribute (v1 < v2, =, >), said attribute
first, so that both entities can look their value up where they stand. For each attribute the entities are split anew
into in-distribution (I) and out-of-distribution (O). All atomic facts are trained; of the unordered pairs of two I
entities a share is held out, both orders together; of the others, comparisons are drawn one by one, phi per I fact, so
that mostly one order of a pair is trained. Pairs with an O entity are never trained.

Accuracy on these pairs means little: one label for all is right in (1 - 1/N) / 2, and one known value is enough for
sum_v max(v, N-1-v) / N^2 (.45 and .70 for N = 10). The splits `near_*` have values at most one apart and each label
equally often: 1/3, and N / (3 (N-1)) (.33 and .37). An answer of another attribute is wrong; the arg max is over all
values and labels.

Differences from the released code: held-out pairs and O entities are exact counts, not coin flips; the answer is one
token, without the closing tag; mixed pairs are kept as the test sets `test_io` and `test_oi`.

Axes: E entity, A attribute, N row, T place, F fact (an attribute of an entity), M member, S row of a split.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grokstudy.trainables.events import Event
from grokstudy.trainables.options import Problem, option
from grokstudy.trainables.randomness import IntArray, Stream
from grokstudy.trainables.tasks.base import Mechanism, Shape, StoredRows, Task, TaskData, placed

if TYPE_CHECKING:
    from torch import Tensor

    from grokstudy.trainables.tasks.base import Batch

LABELS = 3
"""Smaller, equal, larger."""


@dataclass(frozen=True, kw_only=True)
class WorldOptions:
    """Entities, what is true of them, and how comparisons are said."""

    entities: int = option(100, "entities E", ge=4)
    attributes: int = option(5, "attributes A", ge=2)
    values: int = option(10, "ordered values N of each attribute", ge=2)
    ood_fraction: float = option(0.1, "share of the entities that are out-of-distribution, per attribute", gt=0, lt=1)
    holdout: float = option(0.1, "share of the pairs of two I entities held out as test_ii", gt=0, lt=1)
    separators: bool = option(False, "constant tokens before e1 and before e2, as in the paper")

    @property
    def ood(self) -> int:
        """O entities of an attribute."""
        return round(self.ood_fraction * self.entities)

    @property
    def facts_id(self) -> int:
        """In-distribution atomic facts."""
        return self.attributes * (self.entities - self.ood)

    @property
    def pairs_ii(self) -> int:
        """Unordered pairs of two I entities, of all attributes."""
        return self.facts_id * (self.entities - self.ood - 1) // 2

    @property
    def pairs_held_out(self) -> int:
        """Those that are held out."""
        return int(np.ceil(self.holdout * self.pairs_ii))

    @property
    def length(self) -> int:
        """T, places of a comparison."""
        return 5 if self.separators else 3

    @property
    def first_value(self) -> int:
        """Token of value 0. Before it come entities and attributes, behind it values, labels, and constant tokens."""
        return self.entities + self.attributes

    @property
    def first_label(self) -> int:
        """Token of the label < of attribute 0."""
        return self.first_value + self.values

    @property
    def padding(self) -> int:
        """Token of no meaning; the separators come behind it."""
        return self.first_label + LABELS * self.attributes

    @property
    def vocabulary(self) -> int:
        """Tokens: entities, attributes, values, labels, padding, separators."""
        return self.padding + (3 if self.separators else 1)

    def problems(self) -> list[Problem]:
        """What is impossible, found without drawing anything."""
        if min(self.ood, self.entities - self.ood) < 2:
            message = f"{self.ood_fraction:g} of {self.entities} entities leaves no pair of two in one of the classes"
            return [Problem("data.ood_fraction", message)]
        return []


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions(WorldOptions):
    """A world, and which comparisons are trained."""

    phi: float = option(8.0, "trained comparisons per in-distribution atomic fact", gt=0)
    both_orders: bool = option(False, "train pairs in both orders; else the order of each is drawn as well")

    @property
    def phi_max(self) -> float:
        """Largest phi: every comparison that is not held out."""
        return 2 * (self.pairs_ii - self.pairs_held_out) / self.facts_id

    def problems(self) -> list[Problem]:
        """What is impossible, found without drawing anything."""
        problems = super().problems()
        if not problems and self.phi > self.phi_max:
            message = f"{self.phi:g} is above {self.phi_max:.4g}, the comparisons that are not held out per I fact"
            problems.append(Problem("data.phi", message))
        return problems


@dataclass(frozen=True)
class World:
    """What is true of the entities. A comparison is one number, (a E + e1) E + e2."""

    options: WorldOptions
    value_EA: IntArray
    ood_EA: NDArray[np.bool_]

    @classmethod
    def draw(cls, options: WorldOptions, seed: int) -> World:
        """Uniform values, and for each attribute its own O entities."""
        size = (options.entities, options.attributes)
        value_EA = Stream(seed, "values").integers(options.values, size[0] * size[1]).reshape(size)
        ood_EA = np.zeros(size, dtype=bool)
        for a in range(options.attributes):
            ood_EA[Stream(seed, f"ood/{a}").permutation(options.entities)[: options.ood], a] = True
        return cls(options, value_EA, ood_EA)

    def number(self, a: IntArray, e1: IntArray, e2: IntArray) -> IntArray:
        """The numbers of comparisons."""
        return (a * self.options.entities + e1) * self.options.entities + e2

    def parts(self, comparison_N: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Attributes, first and second entities."""
        rest, e2 = np.divmod(comparison_N, self.options.entities)
        return (*np.divmod(rest, self.options.entities), e2)

    def mirrored(self, comparison_N: IntArray) -> IntArray:
        """The same pairs in the other order."""
        a, e1, e2 = self.parts(comparison_N)
        return self.number(a, e2, e1)

    def both_orders(self, comparison_N: IntArray) -> IntArray:
        """Each comparison, and its mirror right behind it."""
        return np.stack([comparison_N, self.mirrored(comparison_N)], axis=1).reshape(-1)

    def drawn(self, pair_N: IntArray, count: int, stream: Stream) -> IntArray:
        """So many comparisons of these pairs, drawn one by one without replacement: fewer are the first of more."""
        item = stream.permutation(2 * len(pair_N))[:count]
        chosen = pair_N[item >> 1]
        return np.where(item & 1, self.mirrored(chosen), chosen)

    def pairs(self, ood: bool) -> IntArray:
        """Unordered pairs of two entities of a class, as comparisons in one order."""
        numbers = []
        for a in range(self.options.attributes):
            of_class = np.flatnonzero(self.ood_EA[:, a] == ood)
            i, j = np.triu_indices(len(of_class), 1)
            numbers.append(self.number(np.full_like(i, a), of_class[i], of_class[j]))
        return np.concatenate(numbers)

    def mixed(self) -> IntArray:
        """Comparisons of an I entity with an O entity, in this order."""
        numbers = []
        for a in range(self.options.attributes):
            ood = self.ood_EA[:, a]
            e1, e2 = (x.reshape(-1) for x in np.meshgrid(np.flatnonzero(~ood), np.flatnonzero(ood), indexing="ij"))
            numbers.append(self.number(np.full_like(e1, a), e1, e2))
        return np.concatenate(numbers)

    def values(self, comparison_N: IntArray) -> tuple[IntArray, IntArray]:
        """Values of the first and of the second entity."""
        a, e1, e2 = self.parts(comparison_N)
        return self.value_EA[e1, a], self.value_EA[e2, a]

    def near(self, comparison_N: IntArray, most: int) -> IntArray:
        """Of these, the first whose values are at most one apart, each label equally often and in turn."""
        v1, v2 = self.values(comparison_N)
        return self.balanced(comparison_N[np.abs(v1 - v2) <= 1], most)

    def balanced(self, comparison_N: IntArray, most: int) -> IntArray:
        """Of these, the first of each label, equally many and in turn."""
        v1, v2 = self.values(comparison_N)
        of_label = [comparison_N[np.sign(v1 - v2) == sign] for sign in (-1, 0, 1)]
        size = min(most // LABELS, *map(len, of_label))
        return np.stack([of[:size] for of in of_label], axis=1).reshape(-1)


@dataclass(frozen=True)
class Pools:
    """Comparisons by class, each in a random order fixed by the seed; tests do not depend on phi."""

    trained: IntArray
    test_ii: IntArray
    test_io: IntArray
    test_oi: IntArray
    test_oo: IntArray

    @classmethod
    def split(cls, world: World, options: ComparisonOptions, seed: int) -> Pools:
        """Hold pairs out, and choose what is trained: a smaller phi trains on a subset of a larger one."""

        def shuffled(name: str, pairs: IntArray) -> IntArray:
            return pairs[Stream(seed, f"pool/{name}").permutation(len(pairs))]

        pairs, mixed = shuffled("ii", world.pairs(ood=False)), shuffled("io", world.mixed())
        held_out, free = np.split(pairs, [options.pairs_held_out])
        n_train = round(options.phi * options.facts_id)
        if options.both_orders:
            trained = world.both_orders(free[: round(n_train / 2)])
        else:
            trained = world.drawn(free, n_train, Stream(seed, "train"))
        oo = shuffled("oo", world.pairs(ood=True))
        return cls(trained, world.both_orders(held_out), mixed, world.mirrored(mixed), world.both_orders(oo))


@dataclass(frozen=True)
class Sayer:
    """Says facts and comparisons as rows of tokens, with what probes look for in them."""

    world: World
    trained_AEE: NDArray[np.bool_]
    """Whether a comparison is trained, in either order."""
    seed: int

    @classmethod
    def of(cls, world: World, trained: IntArray, seed: int) -> Sayer:
        """Lay out what is trained."""
        options = world.options
        trained_AEE = np.zeros((options.attributes, options.entities, options.entities), dtype=bool)
        trained_AEE.reshape(-1)[world.both_orders(trained)] = True
        return cls(world, trained_AEE, seed)

    def facts(self, fact_F: IntArray) -> StoredRows:
        """Rows of atomic facts, numbered e A + a."""
        options = self.world.options
        entity, attribute = np.divmod(fact_F, options.attributes)
        tokens = np.full((len(fact_F), options.length), options.padding, np.int64)
        tokens[:, 0], tokens[:, 1] = entity, options.entities + attribute
        target = options.first_value + self.world.value_EA[entity, attribute]
        notes = _notes(options, target, np.full_like(target, options.first_value), options.values)
        return StoredRows(tokens, np.ones_like(target)[:, None], target[:, None], None, Mechanism(notes=notes))

    def said(self, comparison_N: IntArray) -> IntArray:
        """Tokens (N, T) of comparisons."""
        options = self.world.options
        a, e1, e2 = self.world.parts(comparison_N)
        tokens = [options.entities + a, e1, e2]
        if options.separators:
            q, mask = (np.full_like(a, options.padding + i) for i in (1, 2))
            tokens = [tokens[0], q, e1, mask, e2]
        return np.stack(tokens, axis=1)

    def comparisons(self, comparison_N: IntArray) -> StoredRows:
        """Rows of comparisons."""
        options = self.world.options
        a, _, _ = self.world.parts(comparison_N)
        label = options.first_label + LABELS * a + _label(*self.world.values(comparison_N))
        at = np.full((len(a), 1), options.length - 1, np.int64)
        return StoredRows(self.said(comparison_N), at, label[:, None])

    def split(self, name: str, comparison_N: IntArray) -> StoredRows:
        """Rows of comparisons of a split, with values, donors, and what the task's scores need."""
        options, rows = self.world.options, self.comparisons(comparison_N)
        a, _, _ = self.world.parts(comparison_N)
        v1, v2 = self.world.values(comparison_N)
        first, last = options.length // 2, options.length - 1
        low = options.first_label + LABELS * a
        notes = _notes(options, rows.target[:, 0], low, LABELS)
        latent = {"v1": placed(first, options.first_value + v1), "v2": placed(last, options.first_value + v2)}
        donor, swap = {}, {}
        places = [np.full_like(a, place) for place in range(first, last)]
        for kind in Comparison.swaps:
            other_N, mask_N, expected_N = self._donors(name, kind, comparison_N)
            donor[kind] = self.said(other_N)
            swap[kind] = np.stack([*places, np.where(mask_N, low + expected_N, -1)], axis=1)
        mechanism = Mechanism(latent=latent, donor=donor, swap=swap, notes=notes)
        return StoredRows(rows.inputs, rows.at, rows.target, None, mechanism)

    def _donors(self, split: str, kind: str, comparison_N: IntArray) -> tuple[IntArray, NDArray[np.bool_], IntArray]:
        """For each comparison a donor (itself where there is none), whether there is one, and the label (0 to 2) that
        its value gives.

        A donor says a fact of the class of e1 (I or O), of neither entity, of another attribute (`value`) or the same
        (`entity`), whose value gives another label and whose own comparison with e2 is not trained; of near pairs, one
        that makes it near again. It is the first such fact from a place of a random order on, `MOST_LOOKED_AT` at most.
        """
        world, options = self.world, self.world.options
        stream = Stream(self.seed, f"donor/{kind}/{split}")
        facts = options.entities * (options.attributes if kind == "value" else 1)
        order_F, begin_N = stream.permutation(facts), stream.integers(facts, len(comparison_N))
        other, mask = comparison_N.copy(), np.zeros(len(comparison_N), dtype=bool)
        step_W = np.arange(min(facts, MOST_LOOKED_AT))
        size = max(1, BLOCK // len(step_W))
        for block in (slice(begin, begin + size) for begin in range(0, len(comparison_N), size)):
            a, e1, e2 = (x[:, None] for x in world.parts(comparison_N[block]))
            v1, v2 = (x[:, None] for x in world.values(comparison_N[block]))
            entity_NW = order_F[(begin_N[block, None] + step_W) % facts]
            attribute_NW = np.broadcast_to(a, entity_NW.shape)
            if kind == "value":
                entity_NW, attribute_NW = np.divmod(entity_NW, options.attributes)
            value_NW = world.value_EA[entity_NW, attribute_NW]
            fit_NW = (
                (entity_NW != e1) & (entity_NW != e2) & (world.ood_EA[entity_NW, attribute_NW] == world.ood_EA[e1, a])
            )
            fit_NW &= (_label(value_NW, v2) != _label(v1, v2)) & ~self.trained_AEE[attribute_NW, entity_NW, e2]
            if kind == "value":
                fit_NW &= attribute_NW != a
            if split.startswith("near"):
                fit_NW &= np.abs(value_NW - v2) <= 1
            row, first = np.arange(len(a)), fit_NW.argmax(axis=1)
            number = world.number(attribute_NW[row, first], entity_NW[row, first], e2[:, 0])
            mask[block] = fit_NW[row, first]
            other[block] = np.where(mask[block], number, comparison_N[block])
        return other, mask, _label(world.values(other)[0], world.values(comparison_N)[1])


MOST_LOOKED_AT, BLOCK = 4096, 2_000_000
"""Facts that are looked at for a donor, and pairs of a comparison and a fact that are looked at together."""


def _label(v1: IntArray, v2: IntArray) -> IntArray:
    """0 for smaller, 1 for equal, 2 for larger."""
    label: IntArray = np.sign(v1 - v2) + 1
    return label


def _notes(options: WorldOptions, target_N: IntArray, low_N: IntArray, kinds: int) -> dict[str, NDArray[Any]]:
    """What scores need: tokens that can be said at all, those `kinds` from `low` on that can be meant, and weights of
    mean 1 under which each of these counts the same, as far as there is any.
    """
    possible = np.tile(np.array([options.first_value, options.padding]), (len(target_N), 1))
    n = np.bincount(target_N - low_N, minlength=kinds)
    weight_N = len(target_N) / (np.count_nonzero(n) * n[target_N - low_N])
    meant = np.stack([low_N, low_N + kinds], axis=1)
    return {"any": possible, "kind": meant, "weight": weight_N.astype(np.float32)[:, None]}


class Comparison(Task):
    """The task `comparison`."""

    Options = ComparisonOptions
    splits: ClassVar[dict[str, str]] = {
        "train_cmp": "trained comparisons",
        "test_ii": "held-out comparisons, both entities in-distribution; neither order is trained",
        "test_io": "comparisons of an in-distribution entity with an out-of-distribution one; never trained",
        "test_oi": "the same pairs in the other order",
        "test_oo": "comparisons, both entities out-of-distribution; never trained",
        "near_ii": "of test_ii, values at most one apart, each label equally often: chance is 1/3",
        "near_io": "of test_io, values at most one apart, each label equally often",
        "near_oi": "of test_oi, values at most one apart, each label equally often",
        "near_oo": "of test_oo, values at most one apart, each label equally often",
        "atomic_id": "in-distribution atomic facts",
        "atomic_ood": "out-of-distribution atomic facts (trained as facts, never compared)",
    }
    headline = "near_oo"
    shown = ("train_cmp", "near_ii", "near_oo", "atomic_ood")
    metrics: ClassVar[dict[str, str]] = {
        "macro": "mean over the three labels, or the values, of the share that is right",
        "right_of_kind": "share that is right if only the labels of the attribute, or only values, can be said",
    }
    latents: ClassVar[dict[str, str]] = {"v1": "value of e1, at e1", "v2": "value of e2, at e2"}
    swaps: ClassVar[dict[str, str]] = {
        "value": "e1's state from a comparison of another attribute: only the value can carry over",
        "entity": "e1's state from a comparison of the same attribute, which also says who it is: an upper bound",
    }
    events: ClassVar[dict[str, Event]] = {
        "memorised": Event(metric="accuracy", split=("train_cmp",), at_least=0.95),
        "facts": Event(metric="accuracy", split=("atomic_ood",), at_least=0.95),
        "generalised": Event(metric="accuracy", split=("near_oo",), at_least=0.8),
        "generalised_ii": Event(metric="accuracy", split=("near_ii",), at_least=0.8),
        "circuit": Event(metric="swap_value", split=("near_oo",), at_least=0.8),
        "decodable": Event(metric="lens_v1", split=("near_oo",), at_least=0.8),
    }
    """`circuit`: answers follow the value that stands at e1, whatever it is the value of. `decodable`: a logit lens
    reads it there, used or not. Chance is at most .37 for answers and exchanges."""
    default_probes = ("lens", "swap")

    @staticmethod
    def shape(options: ComparisonOptions) -> Shape:
        """A comparison's tokens and one answer, a value or a label."""
        candidates = (options.first_value, options.padding)
        return Shape(options.length, (options.vocabulary,), classes=options.vocabulary, candidates=candidates)

    @staticmethod
    def memory(options: ComparisonOptions) -> tuple[float, str, frozenset[str]]:
        """An unordered pair takes 40 bytes while the data are drawn."""
        keys = frozenset({"data.entities", "data.attributes"})
        return 40.0 * options.pairs_ii, f"{options.pairs_ii:,} pairs of entities", keys

    @classmethod
    def build(cls, options: ComparisonOptions, seed: int, max_examples: int) -> TaskData:
        """Draw the world, the training set and the splits. Raises ValueError when a split is empty."""
        world = World.draw(options, seed)
        pools = Pools.split(world, options, seed)
        say = Sayer.of(world, pools.trained, seed)
        facts = Stream(seed, "atomic").permutation(world.value_EA.size)
        ood = world.ood_EA.reshape(-1)[facts]
        splits = {
            **{name: say.split(name, rows) for name, rows in _asked(world, pools, max_examples)},
            "atomic_id": say.facts(facts[~ood][:max_examples]),
            "atomic_ood": say.facts(facts[ood][:max_examples]),
        }
        if empty := [name for name, rows in splits.items() if not len(rows)]:
            message = f"data: split {', '.join(empty)} is empty for seed {seed}; enlarge entities, ood_fraction"
            raise ValueError(f"{message} or eval.max_examples, or take fewer values")
        atoms, compared = say.facts(np.arange(world.value_EA.size)), say.comparisons(pools.trained)
        inputs, at, target = (
            np.concatenate([getattr(rows, name) for rows in (atoms, compared)]) for name in ("inputs", "at", "target")
        )
        train = StoredRows(inputs, at, target)
        sizes = {
            "atomic": len(atoms), "atomic_id": options.facts_id, "atomic_ood": len(atoms) - options.facts_id,
            "pairs_ii": options.pairs_ii, "held_out": options.pairs_held_out,
            **{name: len(getattr(pools, name)) for name in ("test_ii", "test_io", "test_oi", "test_oo")},
            "trained": len(pools.trained), "train": len(train),
        }  # fmt: skip
        return TaskData(train, splits, sizes)

    @staticmethod
    def scores(output_MSAx: Tensor, rows: Batch) -> dict[str, Tensor]:
        """Per example: right, weighted so that each label or value counts the same; right among those of its kind."""
        import torch

        notes, target_MS = rows.mechanism.notes, rows.target_MBAx[:, :, 0]
        token_V = torch.arange(output_MSAx.shape[3], device=target_MS.device)

        def right_MS(among: str) -> Tensor:
            begin_MS1, end_MS1 = notes[among].split(1, dim=2)
            outside_MSV = (token_V < begin_MS1) | (token_V >= end_MS1)
            return output_MSAx[:, :, 0].masked_fill(outside_MSV, -torch.inf).argmax(dim=2) == target_MS

        return {"macro": right_MS("any") * notes["weight"][..., 0], "right_of_kind": right_MS("kind")}


def _asked(world: World, pools: Pools, most: int) -> Iterator[tuple[str, IntArray]]:
    """Comparisons of each split, at most so many."""
    yield "train_cmp", pools.trained[:most]
    tests = {"ii": pools.test_ii, "io": pools.test_io, "oi": pools.test_oi, "oo": pools.test_oo}
    for letters, comparisons in tests.items():
        yield f"test_{letters}", comparisons[:most]
    for letters, comparisons in tests.items():
        yield f"near_{letters}", world.near(comparisons, most)
