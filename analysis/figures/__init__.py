"""Registry of figures. A figure is one file and one line here; contract tests run over every entry.

Names map to `module:function`, so that this list can be read without altair. A figure is a function of the
tables of a study that returns charts with the data they show, or None when it does not apply.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

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
        "layer_position": "analysis.figures.layer_position:layer_position",
        "sites_over_training": "analysis.figures.sites_over_training:sites_over_training",
        "paths": "analysis.figures.paths:paths",
    },
)


def draw(tables: StudyTables) -> list[Figure]:
    """Every figure that applies to a study, in the order of the registry."""
    return [figure for name in FIGURES for figure in FIGURES[name](tables) or ()]
