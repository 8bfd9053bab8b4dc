"""Registry of probes. A probe is one file and one line here; contract tests run over every entry.

`MEASURED` says what each measures, so that validation and the JSON Schema need no torch. A test holds that each probe
measures exactly what its line says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from grokstudy.trainables.registry import Registry

if TYPE_CHECKING:
    from grokstudy.trainables.probes.base import Probe


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

PROBES: Registry[Probe] = Registry(
    "probe",
    {
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
NO_SHARES = (
    *("lens_bridge_rank", "lens_answer_rank", "lens_r2_rank", "consistency_phi", *_COSINES, *_CHOICES),
    *("site_depth", "capacity_depth", "mediation_depth"),
    *("causal_strength_ld", "patch_effect_ld", "restoration_ld", "restore_ld"),
)
"""Measurements that may lie outside 0 to 1; all others are shares, probabilities or mean reciprocal ranks."""
_SHARE_WORDS = ("accuracy", "share", "rate", "hit", "hit_any", "prob", "mrr")
"""How the name of a share ends that no probe of ours measures."""


def measured_by(metric: str, sited: bool) -> set[str]:
    """The probes that measure this, at sites or as a summary."""
    return {name for name, probe in MEASURED.items() if metric in (probe.sites if sited else probe.summaries)}


def is_share(metric: str) -> bool:
    """Whether a metric lies between 0 and 1: `accuracy`, what probes measure but NO_SHARES, and what is called so."""
    known = metric in measurements() and metric not in NO_SHARES
    return known or metric.endswith(tuple(f"_{word}" for word in _SHARE_WORDS)) or metric in _SHARE_WORDS


def measurements() -> list[str]:
    """Everything that a probe measures."""
    return sorted({name for probe in MEASURED.values() for name in (*probe.summaries, *probe.sites)})
