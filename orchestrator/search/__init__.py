"""Registry of searchers: who chooses the points of the space. A searcher is one file and one line here.

`SEARCHERS[kind](axes, options)` starts it. `next_points(scores)` gives the (number, point) pairs that can be asked for
now, given the scores of points so far (None for one that failed); an empty list says that it waits for scores, or that
the search is over (`finished`). A searcher keeps nothing on disk: a new driver starts it again with the same scores and
gets the same points, in whatever order the scores came (docs/decisions/0013).
`preview()` gives points to check before anything is trained: all of them, or the corners of where it may go.
`Options` declares what stands beside `kind` in the study file. Contract tests run over every entry.
"""

from __future__ import annotations

from grokstudy.orchestrator.search.base import Searcher
from grokstudy.trainables.registry import Registry

SEARCHERS: Registry[type[Searcher]] = Registry(
    "searcher",
    {
        "grid": "orchestrator.search.grid:Grid",
        "random": "orchestrator.search.random:Random",
        "sobol": "orchestrator.search.sobol:Sobol",
        "tpe": "orchestrator.search.optuna:Tpe",
        "gp": "orchestrator.search.optuna:Gp",
        "nsga2": "orchestrator.search.optuna:Nsga2",
        "cmaes": "orchestrator.search.optuna:Cmaes",
        "boundary": "orchestrator.search.boundary:Boundary",
    },
    group="grokstudy.searchers",
    fault="orchestrator.search.outside:fault",
)
