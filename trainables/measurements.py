"""Registry of probes. A probe is one file and one line here; contract tests run over every entry.

`MEASURED` says what each measures, so that validation and the JSON Schema need no torch. A test holds that each probe
measures exactly what its line says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from grokstudy.trainables.registry import Registry

if TYPE_CHECKING:
    from grokstudy.trainables.probes.base import Measurement


class Measured(NamedTuple):
    """The names of what a probe measures."""

    summaries: tuple[str, ...]
    """Measured once per split."""
    sites: tuple[str, ...] = ()
    """Measured at each depth and position."""


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
"""What each probe measures."""
NEEDS = dict.fromkeys(MEASURED, "a graph of facts and chains")
"""What a probe cannot do without, in words: it looks into models of tasks that have it alone (`Task.probes`)."""
DECLARED = {"attention_mass": ("looks", "mass_"), "lens": ("latents", "lens_"), "value_lens": ("truths", "follows_"),
            "swap": ("swaps", "swap_")}  # fmt: skip
"""Probes that measure what a task declares: the attribute where it does, and how the measurements' names begin."""
ABLATION = Measured((), ("ablated_loss", "ablated_accuracy"))


class Declaring(Protocol):
    """What a task declares for probes to measure, by name (`tasks/base.py`)."""

    metrics: ClassVar[Mapping[str, str]]
    looks: ClassVar[Mapping[str, str]]
    latents: ClassVar[Mapping[str, str]]
    truths: ClassVar[Mapping[str, str]]
    swaps: ClassVar[Mapping[str, str]]


def measured(task: type[Declaring]) -> dict[str, Measured]:
    """What each probe measures of a model of this task."""
    of_task = dict(MEASURED)
    of_task["head_ablation"] = ABLATION
    for probe, (attribute, prefix) in DECLARED.items():
        names = tuple(f"{prefix}{name}" for name in getattr(task, attribute))
        of_task[probe] = Measured(names, names)
    return of_task


NO_SHARES = (
    *("lens_bridge_rank", "lens_answer_rank", "lens_r2_rank", "consistency_phi", *_COSINES, *_CHOICES),
    *("site_depth", "capacity_depth", "mediation_depth"),
    *("causal_strength_ld", "patch_effect_ld", "restoration_ld", "restore_ld"),
)
"""Measurements that may lie outside 0 to 1; all others are shares, probabilities or mean reciprocal ranks."""
_SHARE_WORDS = ("accuracy", "exact", "share", "rate", "hit", "hit_any", "prob", "mrr")
"""How the name of a share ends that no probe of ours measures."""


def measured_by(metric: str, sited: bool, task: type[Declaring]) -> set[str]:
    """The probes that measure this of a model of this task, at sites or as a summary."""
    return {name for name, probe in measured(task).items() if metric in (probe.sites if sited else probe.summaries)}


def is_share(metric: str) -> bool:
    """Whether a metric lies between 0 and 1: `accuracy`, what probes measure but NO_SHARES, and what is called so."""
    known = metric in measurements() and metric not in NO_SHARES
    declared = metric not in measurements() and metric.startswith(("mass_", "lens_", "swap_"))
    return known or declared or metric.endswith(tuple(f"_{word}" for word in _SHARE_WORDS)) or metric in _SHARE_WORDS


def measurements(*tasks: type[Declaring]) -> list[str]:
    """Everything that a probe measures of a graph, or of a model of these tasks, and their own metrics."""
    probes = [probe for task in tasks for probe in measured(task).values()] or list(MEASURED.values())
    own = {name for task in tasks for name in task.metrics}
    return sorted({name for probe in probes for name in (*probe.summaries, *probe.sites)} | own)
