"""Registry of probes. A probe is one file and one line here; contract tests run over every entry.

`MEASURED` says what each measures, so that validation and the JSON Schema need no torch. A test holds that each probe
measures exactly what its line says. A probe from outside says so itself, by the decorator `measures`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from grokstudy.trainables.registry import Registry
from grokstudy.trainables.schema import METRICS

if TYPE_CHECKING:
    from grokstudy.trainables.probes.base import Probe


Made = TypeVar("Made", bound=Callable[..., Any])
_MEASUREMENT = re.compile(r"[a-z][a-z0-9_]*")


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
"""What each probe measures."""
NO_SHARES = (
    *("lens_bridge_rank", "lens_answer_rank", "lens_r2_rank", "consistency_phi", *_COSINES, *_CHOICES),
    *("site_depth", "capacity_depth", "mediation_depth"),
    *("causal_strength_ld", "patch_effect_ld", "restoration_ld", "restore_ld"),
)
"""Measurements that may lie outside 0 to 1; all others are shares, probabilities or mean reciprocal ranks."""
_SHARE_WORDS = ("accuracy", "share", "rate", "hit", "hit_any", "prob", "mrr")
"""How the name of a share ends that no probe of ours measures."""


def measures(*summaries: str, sites: tuple[str, ...] = ()) -> Callable[[Made], Made]:
    """Say what a probe from outside measures: once per split, and at each depth and position."""

    def declared(probe: Made) -> Made:
        probe.measured = Measured(summaries, sites)  # type: ignore[attr-defined]
        return probe

    return declared


def measured(probe: str) -> Measured:
    """What a probe measures."""
    found: Measured = MEASURED[probe] if probe in MEASURED else PROBES[probe].measured  # type: ignore[attr-defined]
    return found


def fault(probe: Any) -> str | None:
    """What keeps something from outside from being a probe; None where it is one."""
    declared = getattr(probe, "measured", None)
    if not callable(probe):
        return f"it is {type(probe).__name__}, and should be a function of a Scene"
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


def measured_by(metric: str, sited: bool, also: Iterable[str] = ()) -> set[str]:
    """The probes that measure this, at sites or as a summary: of ours, and of those named."""
    known = {name: measured(name) for name in {*MEASURED, *also} if name in PROBES}
    return {name for name, probe in known.items() if metric in (probe.sites if sited else probe.summaries)}


def is_share(metric: str) -> bool:
    """Whether a metric lies between 0 and 1: `accuracy`, what probes measure but NO_SHARES, and what is called so."""
    known = metric in measurements() and metric not in NO_SHARES
    return known or metric.endswith(tuple(f"_{word}" for word in _SHARE_WORDS)) or metric in _SHARE_WORDS


def measurements(also: Iterable[str] = ()) -> list[str]:
    """Everything that a probe of ours measures, or one of those named."""
    return sorted({name for probe in {*MEASURED, *also} for names in measured(probe) for name in names})
