"""A searcher from outside: what it must be, and the contract that `grokstudy check` tries."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from grokstudy.orchestrator.search.base import AllAtOnce, Proposals, Score, Searcher
from grokstudy.orchestrator.search.space import Choices, Range
from grokstudy.trainables.options import option_faults

AXES = (Range("optim.lr", "log", 1e-4, 1e-2, 3, False), Choices("data.exposure", ("natural", "both_hops")))
"""A space to search in."""


def fault(searcher: Any) -> str | None:
    """What keeps something from outside from being a searcher; None where it is one."""
    if not (isinstance(searcher, type) and issubclass(searcher, Searcher)):
        return "it is no subclass of Searcher (grokstudy.orchestrator.search.base)"
    if inspect.isabstract(searcher):
        return f"it has no {', '.join(sorted(searcher.__abstractmethods__))}"
    if not hasattr(searcher, "Options"):
        return "it has no Options"
    return option_faults(searcher.Options) or _preview_fault(searcher)


def _preview_fault(searcher: type[Searcher]) -> str | None:
    """What is wrong with the points that it shows of a small space."""
    preview = searcher(AXES, searcher.Options()).preview()
    wanted = "and should give pairs of a number and a point"
    if not isinstance(preview, Iterable):
        return f"its preview gives {type(preview).__name__}, {wanted}"
    for pair in preview:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], dict)):
            return f"its preview gives {pair!r}, {wanted}"
    return None


def contract(searcher: type[Searcher]) -> Iterator[tuple[str, str | None]]:
    """Try a searcher on a small space: each promise, and how this one breaks it (None: it keeps it)."""
    options = searcher.Options()
    count, batches, again = searcher.count(AXES, options), _play(searcher, options), _play(searcher, options)
    numbers = [number for batch in batches for number, _ in batch]
    points = [point for batch in batches for _, point in batch]
    early = not issubclass(searcher, AllAtOnce) and len(numbers) < count  # it may know enough before
    whole = numbers == list(range(len(numbers) if early else count))
    yield "numbers count up from 0, as many as it says", None if whole else f"{numbers} where there should be {count}"
    yield "a new driver gets the same points for the same values", None if batches == again else "they differ"
    names = [axis.name for axis in AXES]
    strange = [point for point in points if list(point) != names]
    yield "points have a value for every axis, in their order", f"{strange[0]} for {names}" if strange else None
    outside = [point for point in points if not strange and not _within(point)]
    yield "points lie in the space", f"{outside[0]} does not" if outside else None
    preview = [point for _, point in searcher(AXES, options).preview()]
    yield "it shows points before anything is trained", None if preview else "its preview is empty"


def _play(searcher: type[Searcher], options: Any) -> list[Proposals]:
    goals = max(1, len(searcher(AXES, options).goals))
    started, values, batches = searcher(AXES, options), dict[int, Score | None](), list[Proposals]()
    while len(batches) < 10_000 and (batch := started.next_points(values)):
        batches.append(batch)
        for number, _ in batch:
            values[number] = None if number % 5 == 4 else Score((float(number % 3),) * goals, (False,) * goals)
    return batches


def _within(point: Any) -> bool:
    lr, exposure = point["optim.lr"], point["data.exposure"]
    return isinstance(lr, float) and 1e-4 <= lr <= 1e-2 and exposure in ("natural", "both_hops")
