"""Registry of figures. A figure is one file and one line here; contract tests run over every entry.

Names map to `module:function`, so that this list can be read without altair. A figure is a function of the
tables of a study that returns charts with the data they show, or None when it does not apply.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grokstudy.analysis.figures.theme import Figure
    from grokstudy.analysis.tables.study import StudyTables

FIGURES = {
    "decoupling_plane": "grokstudy.analysis.figures.decoupling_plane:decoupling_plane",
    "curves": "grokstudy.analysis.figures.curves:curves",
    "lead": "grokstudy.analysis.figures.lead:lead",
    "survival": "grokstudy.analysis.figures.survival:survival",
    "phase_diagram": "grokstudy.analysis.figures.phase_diagram:phase_diagram",
    "layer_position": "grokstudy.analysis.figures.layer_position:layer_position",
    "sites_over_training": "grokstudy.analysis.figures.sites_over_training:sites_over_training",
}


def load(name: str) -> Callable[[StudyTables], list[Figure] | None]:
    """Import the figure of this name. Raises KeyError for a name that is not registered."""
    module, function = FIGURES[name].split(":")
    figure: Callable[[StudyTables], list[Figure] | None] = getattr(importlib.import_module(module), function)
    return figure


def draw(tables: StudyTables) -> list[Figure]:
    """Every figure that applies to a study, in the order of the registry."""
    return [figure for name in FIGURES for figure in load(name)(tables) or ()]
