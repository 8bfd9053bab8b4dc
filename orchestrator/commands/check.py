"""`grokstudy check`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokstudy.orchestrator.commands.common import SOME_FAILED, Quiet, say, stop

if TYPE_CHECKING:
    from grokstudy.trainables.registry import Registry

Place = Annotated[str, typer.Argument(help="A file and a name in it: ./parity.py:Parity.", show_default=False)]
Contract = Callable[[Any], Iterator[tuple[str, str | None]]]


def check(place: Place, quiet: Quiet = False) -> None:
    """Try a task, probe, searcher, figure or training function of your own: does it keep what it promises?"""
    kind, thing, contract = _found(place)
    if not quiet:
        say(f"{place} is a {kind}")
    broken = 0
    for promise, fault in _tried(contract, thing):
        broken += fault is not None
        if fault is not None or not quiet:
            say(f"  {'ok     ' if fault is None else 'BROKEN '}{promise}{'' if fault is None else f': {fault}'}")
    if broken:
        raise typer.Exit(SOME_FAILED)


def _found(place: str) -> tuple[str, Any, Contract]:
    """What a place leads to, of what kind, and the promises of that kind."""
    from grokstudy.orchestrator.search.outside import contract as of_searchers
    from grokstudy.trainables import plugins
    from grokstudy.trainables.functions import TRAINABLES
    from grokstudy.trainables.probes.outside import contract as of_probes
    from grokstudy.trainables.registry import is_file
    from grokstudy.trainables.tasks.outside import contract as of_tasks
    from grokstudy.trainables.training.outside import contract as of_functions

    contracts: dict[str, Contract] = {"searcher": of_searchers, "task": of_tasks, "probe": of_probes}
    if not is_file(place):
        stop(f"{place}: names no file; write ./parity.py:Parity")
    path, name = place.rsplit(".py", 1)
    try:
        full = plugins.from_file(f"./{Path(path).name}.py{name}", Path(path).parent.absolute())
        registry = _registry(plugins.load(full))
        contracts[TRAINABLES.kind] = lambda _: of_functions(full)
        return registry.kind, registry[full], contracts.get(registry.kind, lambda _: iter(()))
    except plugins.PluginError as error:
        stop(f"{place}: {error}")


def _registry(thing: Any) -> Registry[Any]:
    """The kind of thing that it looks like: a searcher or a task, a training function, a probe or a figure."""
    import inspect

    from grokstudy.analysis.figures import FIGURES
    from grokstudy.orchestrator.search import SEARCHERS
    from grokstudy.orchestrator.search.base import Searcher
    from grokstudy.trainables.functions import TRAINABLES
    from grokstudy.trainables.measurements import PROBES
    from grokstudy.trainables.tasks import TASKS

    if isinstance(thing, type) and issubclass(thing, Searcher):
        return SEARCHERS
    if not inspect.isroutine(thing):
        return TASKS
    if hasattr(thing, "declared"):
        return TRAINABLES
    return PROBES if hasattr(thing, "measured") else FIGURES


def _tried(contract: Contract, thing: Any) -> Iterator[tuple[str, str | None]]:
    """The promises, until one cannot be tried because the code fails, or gives what nobody can use."""
    from grokstudy.trainables.plugins import told

    try:
        yield from contract(thing)
    except Exception as error:
        yield "it runs", told(error)
