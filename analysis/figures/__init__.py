"""Registry of figures. A figure is one file and one line here; contract tests run over every entry.

Names map to `module:function`, so that this list can be read without altair. A figure is a function of the
tables of a study that returns charts with the data they show, or None when it does not apply.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from grokstudy.trainables import plugins
from grokstudy.trainables.registry import Registry

if TYPE_CHECKING:
    from grokstudy.analysis.figures.theme import Figure
    from grokstudy.analysis.tables.study import StudyTables

FIGURES: Registry[Callable[[StudyTables], list[Figure] | None]] = Registry(
    "figure",
    {
        "decoupling_plane": "analysis.figures.decoupling_plane:decoupling_plane",
        "curves": "analysis.figures.curves:curves",
        "lead": "analysis.figures.lead:lead",
        "lead_curve": "analysis.figures.lead_curve:lead_curve",
        "survival": "analysis.figures.survival:survival",
        "phase_diagram": "analysis.figures.phase_diagram:phase_diagram",
        "branches": "analysis.figures.branches:branches",
        "boundary": "analysis.figures.boundary:boundary",
        "importance": "analysis.figures.importance:importance",
        "parallel_coordinates": "analysis.figures.parallel_coordinates:parallel_coordinates",
        "layer_position": "analysis.figures.layer_position:layer_position",
        "sites_over_training": "analysis.figures.sites_over_training:sites_over_training",
        "paths": "analysis.figures.paths:paths",
    },
    group="grokstudy.figures",
    fault="analysis.figures:fault",
)


_FILE = re.compile(r"[a-z][a-z0-9_]*")
"""What the files of a figure can be called."""


def fault(figure: Any) -> str | None:
    """What keeps something from outside from being a figure; None where it is one."""
    kind = "a class" if isinstance(figure, type) else f"{type(figure).__name__}"
    is_one = callable(figure) and not isinstance(figure, type)
    return None if is_one else f"it is {kind}, and should be a function of StudyTables"


def draw(tables: StudyTables) -> list[Figure]:
    """Every figure of ours that applies to a study, in the order of the registry."""
    return [figure for name in FIGURES for figure in FIGURES[name](tables) or ()]


def with_own(
    tables: StudyTables, figures: list[Figure], names: Sequence[str] | None = None
) -> tuple[list[Figure], list[str]]:
    """These figures and those from outside, by default what study.json names, and a line for each that is missing.

    One that fails, or whose code is not here, is left out.
    """
    missing: list[str] = []
    for name in (tables.spec.get("figures") or ()) if names is None else names:
        try:
            figures = [*figures, *_drawn(name, tables, {figure.name for figure in figures})]
        except plugins.PluginError as error:
            missing.append(f"figure {plugins.word_of(name)} is not drawn: {error}")
    return figures, missing


def _drawn(name: str, tables: StudyTables, taken: set[str]) -> list[Figure]:
    """What a figure from outside draws. Raises PluginError with what is wrong with it."""
    from grokstudy.analysis.figures.theme import Figure

    if name not in FIGURES:
        raise plugins.PluginError("its code is not here; name the study by its file, or add --code-as-before")
    try:
        drawn = FIGURES[name](tables) or []
        for figure in drawn:
            if not isinstance(figure, Figure):
                raise plugins.PluginError(f"it gives {type(figure).__name__}, and should give a list of Figure")
            if not _FILE.fullmatch(figure.name):
                raise plugins.PluginError(f"{figure.name!r} is no name for its files; use a-z, 0-9 and _")
            if figure.name in taken:
                raise plugins.PluginError(f"there is a figure {figure.name!r} already; give it another name")
            taken.add(figure.name)
            figure.spec  # noqa: B018 - altair finds a wrong chart when it is spelled
    except plugins.PluginError:
        raise
    except Exception as error:
        raise plugins.PluginError(f"it failed:\n{plugins.told(error)}") from error
    return list(drawn)
