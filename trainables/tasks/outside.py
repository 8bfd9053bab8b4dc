"""A task from outside: what it must have to be one, the contract that `grokstudy check` tries, and one to start from.

The one place that says what a task looks like to somebody who writes one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from grokstudy.trainables.options import option_faults
from grokstudy.trainables.schema import SPLITS

NEEDED = ("Options", "positions", "splits", "events", "earlier_events", "check", "build")
OF_OPTIONS = ("vocabulary", "chains", "problems")
EXAMPLES = 50
"""Of a split, in the contract."""

SKELETON = '''\
"""{name}: two-hop composition of which some trained chains have a wrong answer. Change it to what you want to know.

In a study beside this file: base: {{task: ./{file}:{name}, data: {{noise: 0.1}}}}. `grokstudy check ./{file}:{name}`
tries it, `grokstudy plan` says what the study comes to.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from grokstudy.trainables.options import option
from grokstudy.trainables.randomness import Stream
from grokstudy.trainables.tasks.graph import TaskData
from grokstudy.trainables.tasks.two_hop import TwoHop, TwoHopOptions


@dataclass(frozen=True, kw_only=True)
class Options(TwoHopOptions):
    """What a study can set under data: the options of two_hop, and one more."""

    noise: float = option(0.0, "share of the trained chains whose answer is drawn at random", ge=0, lt=1)


class {name}(TwoHop):
    """The task."""

    Options = Options

    @staticmethod
    def build(options: Options, seed: int, max_examples: int) -> TaskData:
        """Training set and evaluation splits: a function of the options and the seed, and of nothing else."""
        data = TwoHop.build(options, seed, max_examples)
        chains = np.flatnonzero(data.train.bridge >= 0)
        order = Stream(seed, "noise").permutation(len(chains))
        wrong = chains[order[: round(options.noise * len(chains))]]
        answer = data.train.answer.copy()
        answer[wrong] = Stream(seed, "noise/answer").integers(data.entities, len(wrong))
        return dataclasses.replace(data, train=dataclasses.replace(data.train, answer=answer))
'''


def skeleton(file: str, name: str) -> str:
    """The text of a task to start from."""
    return SKELETON.format(file=file, name=name)


def fault(task: Any) -> str | None:
    """What keeps something from outside from being a task; None where it is one."""
    missing = [name for name in NEEDED if not hasattr(task, name)]
    if missing:
        return f"it has no {', '.join(missing)}; `grokstudy new --task FILE` writes one to start from"
    options = task.Options
    if found := option_faults(options):
        return found
    lacking = [name for name in OF_OPTIONS if not hasattr(options, name)]
    if lacking:
        return f"its Options have no {', '.join(lacking)}"
    if not isinstance(found := options().problems(), list):
        return f"the problems() of its Options give {type(found).__name__}, and should give a list of Problem"
    for name in ("check", "build"):
        if not callable(getattr(task, name)):
            return f"its {name} is no function"
    splits = task.splits
    if isinstance(splits, str) or not splits:
        return "its splits are no list of names"
    unknown = [split for split in splits if split not in SPLITS]
    return f"its splits {', '.join(map(str, unknown))} are unknown; known: {', '.join(SPLITS)}" if unknown else None


def contract(task: Any) -> Iterator[tuple[str, str | None]]:
    """Try a task with its default options: each promise of a task, and how this one breaks it (None: it keeps it)."""
    options = task.Options()
    found = [*options.problems(), *task.check(options, 0)]
    yield "its default options are possible", "; ".join(map(str, found)) or None
    if found:
        return
    data, again, other = (task.build(options, seed, EXAMPLES) for seed in (0, 0, 1))
    yield "the same seed gives the same data", None if data.hash == again.hash else "two builds of seed 0 differ"
    yield "another seed gives other data", "seeds 0 and 1 give the same" if data.hash == other.hash else None
    named, built = tuple(task.splits), tuple(data.splits)
    yield "build gives the splits that are declared", None if named == built else f"{built} instead of {named}"
    yield "its vocabulary is that of its options", _vocabulary(data, options)
    for name, examples in {"train": data.train, **data.splits}.items():
        yield f"{name} can be trained or evaluated on", _examples(data, name, examples)
    yield "its options are kept in run.json as they are", _json(task, options)


def _vocabulary(data: Any, options: Any) -> str | None:
    if data.vocabulary != options.vocabulary:
        return f"the data have {data.vocabulary}, the options {options.vocabulary}"
    most = int(max(examples.tokens.max() for examples in (data.train, *data.splits.values())))
    return None if most < data.vocabulary else f"token {most} is beyond the {data.vocabulary} that there are"


def _examples(data: Any, name: str, examples: Any) -> str | None:
    lengths = {len(column) for column in (examples.tokens, examples.answer_at, examples.answer, examples.bridge)}
    if len(lengths) != 1 or lengths == {0}:
        return f"its columns have {sorted(lengths)} rows"
    if name != "train" and len(examples) > EXAMPLES:
        return f"has {len(examples)} examples where at most {EXAMPLES} were asked for"
    low, high = int(examples.answer.min()), int(examples.answer.max())
    return None if 0 <= low <= high < data.entities else f"answers lie in {low} .. {high}, of {data.entities} entities"


def _json(task: Any, options: Any) -> str | None:
    import json

    kept = json.loads(json.dumps(dataclasses.asdict(options)))
    back = task.Options(**{key: tuple(value) if isinstance(value, list) else value for key, value in kept.items()})
    return None if back == options else f"{back} instead of {options}"
