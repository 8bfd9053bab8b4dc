"""Registry of searchers: who chooses the points of the space. A searcher is one file and one line here.

`SEARCHERS[kind](axes, options)` starts it. `next_points(values)` gives the next batch of (number, point), given the
objective value of every point so far (None for one that failed); an empty list says that the search is over.
A searcher keeps nothing on disk: a new driver starts it again with the same values and gets the same points.
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
        "tpe": "orchestrator.search.tpe:Tpe",
    },
    group="grokstudy.searchers",
    fault="orchestrator.search.outside:fault",
)
