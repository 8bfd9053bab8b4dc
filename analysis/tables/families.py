"""The ten families of studies in common words: the component, the behaviour in distribution, and out of distribution.

Studies of different tasks measure different things. What they have in common are three events, known by their names:
`circuit` is the component, `generalised_ii` the behaviour in distribution, `generalised` that out of distribution. With
`circuit_ii` a study looks for the component on in-distribution examples apart (docs/science.md#families).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from grokstudy.analysis.labels import FOREMOST, Pair
from grokstudy.analysis.tables.study import StudyTables

IN_DISTRIBUTION = Pair("generalised_ii", "circuit_ii", "mediated_ii")
"""The events that are about in-distribution examples; those of `FOREMOST` are about others where both are there."""
COMMON = (*IN_DISTRIBUTION, *FOREMOST)
"""Names of the events that studies of all families may have in common."""


@dataclass(frozen=True)
class Family:
    """One of the related systems, and where it is from."""

    number: str
    title: str
    paper: str
    """arXiv number."""


FAMILIES = {
    "decoupling": Family("S1", "two-hop composition, four exposures", "2601.09049"),
    "comparison": Family("S2", "comparison", "2405.15071"),
    "complex_reasoning": Family("S2", "complex reasoning", "2405.15071"),
    "k_hop": Family("S3", "more hops, fact classes", "2505.23653"),
    "synthetic_facts": Family("S4", "real and synthetic facts", "2504.20752"),
    "tree_path": Family("S5", "paths in trees", "2508.08222"),
    "in_context": Family("S6", "in-context regression", "2507.20443"),
    "length_generalisation": Family("S7", "retrieval at longer contexts", "2505.21785"),
    "affine_icl": Family("S8", "affine recurrences in context", "2410.17438"),
    "cot_icl": Family("S9", "chain of thought in context", "2410.02167"),
    "graph_navigation": Family("S10", "navigation of graphs", "2402.07757"),
    "motif_chains": Family("S10", "chains of motifs", "2402.07757"),
}
"""The study of each family, in the order of the gallery."""


@dataclass(frozen=True)
class Roles:
    """Which events of a study are what; None for what it does not ask."""

    component: str | None
    """The component: on in-distribution examples, where that is asked apart."""
    behaviour: str | None
    """The behaviour in distribution."""
    ood: str | None
    """The behaviour out of distribution."""
    component_ood: str | None
    """The component as the study's verdict has it, to be set beside `ood`."""

    @property
    def pair(self) -> Pair | None:
        """The component and the behaviour in distribution."""
        if self.behaviour is None or self.component is None:
            return None
        return Pair(self.behaviour, self.component, IN_DISTRIBUTION.mediated)

    @property
    def pair_ood(self) -> Pair | None:
        """The component and the behaviour out of distribution."""
        return FOREMOST if self.ood and self.component_ood else None


def roles_of(tables: StudyTables) -> Roles:
    """Which of a study's events are what, by their names."""
    known = [name if name in tables.declared else None for name in (*IN_DISTRIBUTION[:2], *FOREMOST[:2])]
    behaviour, circuit_ii, ood, circuit = known
    component = circuit_ii if behaviour and circuit_ii else circuit
    return Roles(component=component, behaviour=behaviour, ood=ood, component_ood=circuit)


def task_of(tables: StudyTables) -> str | None:
    """The task that a study trains; null where its runs were not trained by us."""
    return (tables.spec.get("base") or {}).get("task")


def in_common_words(tables: StudyTables) -> StudyTables:
    """The study with its common events alone."""
    return replace(tables, declared={name: tables.declared[name] for name in COMMON if name in tables.declared})
