"""Registry of probes. A probe is one file and one line here; contract tests run over every entry.

`MEASURED` says what each measures, so that validation and the JSON Schema need no torch. A test holds that each probe
measures exactly what its line says. A probe from outside says so itself, by the decorator `measures`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar

from grokstudy.trainables import plugins
from grokstudy.trainables.registry import Registry
from grokstudy.trainables.schema import METRICS

if TYPE_CHECKING:
    from grokstudy.trainables.probes.base import Measurement


Made = TypeVar("Made", bound=Callable[..., Any])
_MEASUREMENT = re.compile(r"[a-z][a-z0-9_]*")


class Measured(NamedTuple):
    """The names of what a probe measures."""

    summaries: tuple[str, ...]
    """Measured once per split."""
    sites: tuple[str, ...] = ()
    """Measured at each depth and position."""
    of_graph: bool = False
    """Of a probe from outside: it is a function of a Scene, which tasks over a graph have."""


_LENS = tuple(f"lens_{token}_{kind}" for token in ("bridge", "answer", "r2") for kind in ("hit", "mrr", "rank", "prob"))
_BRIDGE = ("bridge_hit", "bridge_hit_any", "bridge_mrr", "bridge_hit_permuted", "bridge_hit_any_permuted", "r2_mrr")
_STRENGTH = ("causal_strength", "causal_strength_ld", "causal_strength_all")
_RESTORED = ("restoration", "restoration_ld")
_COSINES = ("cohesion", "cohesion_margin", "alignment", "alignment_margin", "separation")
_HALVES = ("hop1_writer", "hop2_reader")
_CAPACITY = ("writer", "reader", "capacity", "capacity_mean")
_CHANCES = ("writer_chance", "reader_chance", "capacity_chance")
_TABLE = ("answer_with_capacity", "answer_without_capacity", "capacity_without_answer")
_CHOICES = ("writing_choices", "reading_choices")
_MEDIATION = ("iia", "necessity", "iia_chance", "donor_right", "answer_chance", "mediation_depth")
_SHARES = ("consistency_hit_given_correct", "consistency_correct_given_hit", "consistency_phi")

PROBES: Registry[Callable[[Any], Iterable[Measurement]]] = Registry(
    "probe",
    {
        "attention_mass": "trainables.probes.attention:attention_mass",
        "head_ablation": "trainables.probes.attention:head_ablation",
        "lens": "trainables.probes.lens:lens",
        "value_lens": "trainables.probes.lens:value_lens",
        "swap": "trainables.probes.swap:swap",
        "logit_lens": "trainables.probes.logit_lens:logit_lens",
        "patching": "trainables.probes.patching:patching",
        "restoration": "trainables.probes.restoration:restoration",
        "cqsp": "trainables.probes.cqsp:cqsp",
        "cosine": "trainables.probes.cosine:cosine",
        "capacity": "trainables.probes.capacity:capacity",
        "mediation": "trainables.probes.mediation:mediation",
        "circuit": "trainables.probes.circuit:circuit",
        "consistency": "trainables.probes.consistency:consistency",
    },
    group="grokstudy.probes",
    fault="trainables.measurements:fault",
)

MEASURED = {
    "logit_lens": Measured(_BRIDGE, _LENS),
    "patching": Measured(_STRENGTH, ("patch_effect", "patch_effect_ld")),
    "restoration": Measured(_RESTORED, ("restore", "restore_ld")),
    "cqsp": Measured(("cqsp", "site_depth"), ("cqsp",)),
    "cosine": Measured(_COSINES, _COSINES),
    "capacity": Measured((*_CAPACITY, *_CHANCES, *_TABLE, *_CHOICES, "capacity_depth"), _CAPACITY),
    "mediation": Measured(_MEDIATION, ("iia", "necessity")),
    "circuit": Measured((*_HALVES, "circuit_strength"), _HALVES),
    "consistency": Measured(_SHARES),
}
"""What each probe measures, but those that measure what a task declares."""
NEEDS = dict.fromkeys(MEASURED, "a graph of facts and chains")
"""What a probe cannot do without, in words: it looks into models of tasks that have it alone (`Task.probes`)."""
MEASURED["head_ablation"] = Measured((), ("ablated_loss", "ablated_accuracy"))
DECLARED = {"attention_mass": ("looks", "mass_"), "lens": ("latents", "lens_"), "value_lens": ("truths", "follows_"),
            "swap": ("swaps", "swap_")}  # fmt: skip
"""Probes that measure what a task declares: the attribute where it does, and how the measurements' names begin."""


class Declaring(Protocol):
    """What a task declares for probes to measure, by name (`tasks/base.py`)."""

    metrics: ClassVar[Mapping[str, str]]
    looks: ClassVar[Mapping[str, str]]
    latents: ClassVar[Mapping[str, str]]
    truths: ClassVar[Mapping[str, str]]
    swaps: ClassVar[Mapping[str, str]]


NO_SHARES = (
    *("lens_bridge_rank", "lens_answer_rank", "lens_r2_rank", "consistency_phi", *_COSINES, *_CHOICES),
    *("site_depth", "capacity_depth", "mediation_depth"),
    *("causal_strength_ld", "patch_effect_ld", "restoration_ld", "restore_ld"),
)
"""Measurements that may lie outside 0 to 1; all others are shares, probabilities or mean reciprocal ranks."""
_SHARE_WORDS = ("accuracy", "exact", "share", "rate", "hit", "hit_any", "prob", "mrr")
"""How the name of a share ends that no probe of ours measures."""


def measures(*summaries: str, sites: tuple[str, ...] = (), of_graph: bool = False) -> Callable[[Made], Made]:
    """Say what a probe from outside measures: once per split, and at each depth and position.

    It is a function of a `Subject` (`probes/subject.py`); with `of_graph` of a `Scene` (`probes/base.py`), with
    queries over the graph of facts.
    """

    def declared(probe: Made) -> Made:
        probe.measured = Measured(summaries, sites, of_graph)  # type: ignore[attr-defined]
        return probe

    return declared


def measured(probe: str, task: type[Declaring] | None = None) -> Measured:
    """What a probe measures of a model of this task; without a task, what it measures of every one.

    A training function from outside counts as a probe of its own models here.
    """
    if probe in DECLARED:
        attribute, prefix = DECLARED[probe]
        names = tuple(f"{prefix}{name}" for name in getattr(task, attribute, ()))
        return Measured(names, names)
    declaration: Measured = MEASURED[probe] if probe in MEASURED else plugins.load(probe).measured
    return declaration


def fault(probe: Any) -> str | None:
    """What keeps something from outside from being a probe; None where it is one."""
    declared = getattr(probe, "measured", None)
    if not callable(probe):
        return f"it is {type(probe).__name__}, and should be a function"
    if not isinstance(declared, Measured):
        return 'it does not say what it measures; write @measures("name") above it (grokstudy.trainables.measurements)'
    names = [*declared.summaries, *declared.sites]
    if not names:
        return "it measures nothing; name at least one measurement in @measures(...)"
    for name in names:
        if not isinstance(name, str) or not _MEASUREMENT.fullmatch(name):
            return f"{name!r} is no name for a measurement; use lower-case letters, digits and _"
        if name in METRICS or name in measurements():
            owners = " or ".join(sorted(measured_by(name, True) | measured_by(name, False))) or "every evaluation"
            return f"{name} is measured by {owners} already; give yours another name"
    return None


def needs(probe: str) -> str | None:
    """What a probe cannot do without, in words; None for one that serves every task."""
    if probe in NEEDS:
        return NEEDS[probe]
    return "a graph of facts and chains" if probe not in MEASURED and measured(probe).of_graph else None


def measured_by(metric: str, sited: bool, task: type[Declaring] | None = None, also: Iterable[str] = ()) -> set[str]:
    """The probes that measure this of a model of a task, at sites or as a summary: of ours, and of those named."""
    known = {name: measured(name, task) for name in {*PROBES, *also} if name in PROBES}
    return {name for name, probe in known.items() if metric in (probe.sites if sited else probe.summaries)}


def is_share(metric: str) -> bool:
    """Whether a metric lies between 0 and 1: `accuracy`, what probes measure but NO_SHARES, and what is called so."""
    known = metric in measurements() and metric not in NO_SHARES
    declared = metric not in measurements() and metric.startswith(("mass_", "lens_", "swap_"))
    return known or declared or metric.endswith(tuple(f"_{word}" for word in _SHARE_WORDS)) or metric in _SHARE_WORDS


def measurements(tasks: Iterable[type[Declaring]] = (), also: Iterable[str] = ()) -> list[str]:
    """Everything that a probe of ours measures, or one of those named, of models of these tasks; and their metrics."""
    of = [None, *tasks]
    probes = [measured(name, task) for task in of for name in {*PROBES, *also}]
    own = {name for task in of if task is not None for name in task.metrics}
    return sorted({name for names in probes for name in (*names.summaries, *names.sites)} | own)
