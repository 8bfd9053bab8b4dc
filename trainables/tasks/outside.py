"""A task from outside: what it must have to be one, the contract that `grokstudy check` tries, and one to start from.

The one place that says what a task looks like to somebody who writes one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from grokstudy.trainables.options import option_faults
from grokstudy.trainables.tasks.base import Fresh, Task

EXAMPLES = 50
"""Of a split, in the contract."""

SKELETON = '''\
"""Sparse parity: the answer is the exclusive or of k of n bits, the same k for every example of a seed.

In a study beside this file: base: {{task: ./{file}:{name}, data: {{bits: 8}}}}. `grokstudy check ./{file}:{name}` tries
it, `grokstudy plan` says what the study comes to. Change it to what you want to know.
"""

from dataclasses import dataclass

import numpy as np
import torch

from grokstudy.trainables.events import Event
from grokstudy.trainables.options import Problem, option
from grokstudy.trainables.randomness import Stream
from grokstudy.trainables.tasks.base import Batch, Fresh, Mechanism, Shape
from grokstudy.trainables.words import several, uniform


@dataclass(frozen=True, kw_only=True)
class Options:
    bits: int = option(6, "bits n of a string", ge=2, le=200)
    support: int = option(2, "bits k that the answer depends on", ge=1)

    def problems(self):
        if self.support <= self.bits:
            return []
        return [Problem("data.support", f"{{self.support}} of {{self.bits}} bits is not possible")]


class {name}(Fresh):
    Options = Options
    splits = {{"fresh": "half of the bits are ones", "sparse": "a fifth of the bits are ones"}}
    headline = "sparse"
    looks = {{"support": "the k places that the answer depends on; chance is k / (n + 1)"}}
    events = {{
        "memorised": Event(metric="accuracy", split=("fresh",), at_least=0.95),
        "generalised": Event(metric="accuracy", split=("sparse",), at_least=0.95),
        "circuit": Event(metric="mass_support", split=("fresh",), at_least=0.5),
    }}
    default_probes = ("attention_mass",)

    @staticmethod
    def shape(options):
        return Shape(options.bits + 1, fields=(3,), classes=3, candidates=(0, 2), static=(options.support,))

    @classmethod
    def values(cls, options, seeds):
        orders = [Stream(seed, "support").permutation(o.bits)[: o.support] for o, seed in zip(options, seeds)]
        return {{"support_MK": np.stack(orders)}}

    @classmethod
    def draw(cls, options, values, split, word_MB):
        ones = 0.2 if split == "sparse" else 0.5
        bits = (uniform(several(word_MB, 1, options.bits)) < ones).long()
        support = values["support_MK"][:, None].expand(-1, bits.shape[1], -1)
        answer = bits.gather(2, support).sum(dim=2, keepdim=True) % 2
        tokens = torch.cat([bits, torch.full_like(answer, 2)], dim=2)
        look = torch.zeros_like(tokens, dtype=torch.bool).scatter(2, support, True)
        mechanism = None if split is None else Mechanism(look={{"support": look[:, :, None]}})
        return Batch(tokens, torch.full_like(answer, options.bits), answer, None, mechanism)
'''


def skeleton(file: str, name: str) -> str:
    """The text of a task to start from."""
    return SKELETON.format(file=file, name=name)


def fault(task: Any) -> str | None:
    """What keeps something from outside from being a task; None where it is one."""
    if not (isinstance(task, type) and issubclass(task, Task)):
        return "it is no subclass of Task (grokstudy.trainables.tasks.base); `grokstudy new --task FILE` writes one"
    if not hasattr(task, "Options"):
        return "it has no Options, a frozen dataclass of option(...) fields"
    if reason := option_faults(task.Options):
        return reason
    problems: Any = getattr(task.Options(), "problems", list)()
    if not isinstance(problems, list):
        return f"the problems() of its Options give {type(problems).__name__}, and should give a list of Problem"
    splits = getattr(task, "splits", None)
    if not isinstance(splits, dict) or not splits:
        return "its splits are no mapping of names and meanings"
    if getattr(task, "headline", None) not in splits:
        return f"its headline is none of its splits, {', '.join(map(str, splits))}"
    for name in ("shape", "check", "memory", "build", "scores"):
        if not callable(getattr(task, name)):
            return f"its {name} is no function"
    needed = ("shape", "values", "draw") if issubclass(task, Fresh) else ("shape", "build")
    base = Fresh if issubclass(task, Fresh) else Task
    missing = [name for name in needed if name != "values" and _same(task, base, name)]
    if missing:
        return f"it has no {' and no '.join(missing)} of its own"
    for event in (*task.events.values(), *task.earlier_events.values()):
        if unknown := sorted(set(event.split) - set(splits)):
            return f"an event looks at split {unknown[0]}, which it has not"
    return None


def _same(task: type[Any], base: type[Any], name: str) -> bool:
    own, theirs = getattr(task, name), getattr(base, name)
    return bool(getattr(own, "__func__", own) is getattr(theirs, "__func__", theirs))


def contract(task: Any) -> Iterator[tuple[str, str | None]]:
    """Try a task with its default options: each promise of a task, and how this one breaks it (None: it keeps it)."""
    options = task.Options()
    problems = [*getattr(options, "problems", list)(), *task.check(options, 0)]
    yield "its default options are possible", "; ".join(map(str, problems)) or None
    if problems:
        return
    data, again, other = (task.build(options, seed, EXAMPLES) for seed in (0, 0, 1))
    yield "the same seed gives the same data", None if data.hash == again.hash else "two builds of seed 0 differ"
    yield "another seed gives other data", "seeds 0 and 1 give the same" if data.hash == other.hash else None
    unknown = sorted(set(data.splits) - set(task.splits))
    yield "build gives splits that are declared", f"{', '.join(unknown)} is not among them" if unknown else None
    absent = task.headline not in data.splits
    yield "the headline split is there", f"{task.headline} is not" if absent else None
    shape = task.shape(options)
    for name, rows in {**({} if data.train is None else {"train": data.train}), **data.splits}.items():
        yield f"{name} has the shape that it declares", _misshapen(shape, name, rows)
    yield "its mechanisms are those that it declares", _mechanisms(task, data)
    if data.train is None:
        yield "an example depends on its word alone", _impure(task, options)
    yield "its options are kept in run.json as they are", _json(task, options)


def _misshapen(shape: Any, name: str, rows: Any) -> str | None:
    count, length = rows.inputs.shape[:2]
    if not count:
        return "it is empty"
    if name != "train" and count > EXAMPLES:
        return f"it has {count} examples where at most {EXAMPLES} were asked for"
    if length > shape.longest:
        return f"it has {length} places, of at most {shape.longest}"
    behind = (shape.reals,) if shape.reals else (len(shape.fields),) if len(shape.fields) > 1 else ()
    if rows.inputs.shape[2:] != behind:
        return f"inputs are {rows.inputs.shape}, not (N, T{''.join(f', {n}' for n in behind)})"
    wanted = (count, rows.at.shape[1], *(() if shape.classes else (shape.outputs,)))
    if rows.at.shape[0] != count or rows.target.shape != wanted:
        return f"at is {rows.at.shape} and target {rows.target.shape}; they should be {wanted[:2]} and {wanted}"
    if rows.at.min() < 0 or rows.at.max() >= length:
        return f"answers are read at places {rows.at.min()} to {rows.at.max()}, of {length}"
    tokens = rows.inputs.reshape(count, length, -1)
    for field, size in enumerate(shape.fields):
        if tokens[..., field].min() < 0 or tokens[..., field].max() >= size:
            return f"tokens are {tokens[..., field].min()} to {tokens[..., field].max()}, of {size}"
    if shape.classes:
        low, high = shape.range
        answers = rows.target if rows.weight is None else rows.target[rows.weight > 0]
        if answers.min() < low or answers.max() >= high:
            return f"answers are {answers.min()} to {answers.max()}, and candidates {low} to {high - 1}"
    elif not _finite(rows.target):
        return "a target is not finite"
    return None if not shape.reals or _finite(rows.inputs) else "an input is not finite"


def _finite(values: Any) -> bool:
    import numpy as np

    return bool(np.isfinite(values).all())


def _mechanisms(task: Any, data: Any) -> str | None:
    for kind, attribute in (("look", "looks"), ("latent", "latents"), ("truth", "truths"), ("swap", "swaps")):
        names = {name for rows in data.splits.values() for name in getattr(rows.mechanism, kind)}
        if names != set(getattr(task, attribute)):
            return f"{attribute} declares {sorted(getattr(task, attribute))}, and the splits have {sorted(names)}"
    return None


def _impure(task: Any, options: Any) -> str | None:
    """Whether examples change when they are drawn again, in another order, or in a pack with another member."""
    import torch

    def drawn(seeds: list[int], words: Any) -> Any:
        values = {name: torch.from_numpy(x) for name, x in task.values([options] * len(seeds), seeds).items()}
        batch = task.draw(options, values, None, words.expand(len(seeds), -1))
        return torch.cat([x.double().flatten(2) for x in (batch.inputs_MBx, batch.at_MBA, batch.target_MBAx)], dim=2)

    words = (torch.arange(64) * 7919 + 1)[None]
    once = drawn([0], words)
    if not all(torch.equal(once, drawn([0], words)) for _ in range(8)):  # one die of few sides may fall alike twice
        return "drawn twice, they differ"
    if not torch.equal(once, drawn([0], words.flip(1)).flip(1)):
        return "drawn in another order, they differ"
    if not torch.equal(once[0], drawn([1, 0], words)[1]):
        return "in a pack with another seed, they differ"
    return None


def _json(task: Any, options: Any) -> str | None:
    import json

    kept = json.loads(json.dumps(dataclasses.asdict(options)))
    back = task.Options(**{key: tuple(value) if isinstance(value, list) else value for key, value in kept.items()})
    return None if back == options else f"{back} instead of {options}"
