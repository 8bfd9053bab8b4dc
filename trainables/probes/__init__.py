"""Registry of probes. A probe is one file and one line here; contract tests run over every entry.

A line names `module:function` and what it measures, so that this list can be read (by validation, by the JSON Schema)
without torch. A test holds that each probe measures exactly what its line says.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from grokstudy.trainables.probes.base import Probe


class Registered(NamedTuple):
    """Where a probe is, and the names of its measurements."""

    place: str
    """module:function."""
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
_SHARES = ("consistency_hit_given_correct", "consistency_correct_given_hit", "consistency_phi")

PROBES = {
    "logit_lens": Registered("logit_lens:logit_lens", _BRIDGE, _LENS),
    "patching": Registered(
        "grokstudy.trainables.probes.patching:patching", _STRENGTH, ("patch_effect", "patch_effect_ld")
    ),
    "restoration": Registered(
        "grokstudy.trainables.probes.restoration:restoration", _RESTORED, ("restore", "restore_ld")
    ),
    "cqsp": Registered("cqsp:cqsp", ("cqsp", "site_depth"), ("cqsp",)),
    "cosine": Registered("cosine:cosine", _COSINES, _COSINES),
    "circuit": Registered("circuit:circuit", (*_HALVES, "circuit_strength"), _HALVES),
    "consistency": Registered("consistency:consistency", _SHARES),
}


def load(name: str) -> Probe:
    """Import the probe of this name. Raises KeyError for a name that is not registered."""
    module, function = PROBES[name].place.split(":")
    probe: Probe = getattr(importlib.import_module(f"{__name__}.{module}"), function)
    return probe


def measured_by(metric: str, sited: bool) -> set[str]:
    """The probes that measure this, at sites or as a summary."""
    return {name for name, probe in PROBES.items() if metric in (probe.sites if sited else probe.summaries)}


def measurements() -> list[str]:
    """Everything that a probe measures."""
    return sorted({name for probe in PROBES.values() for name in (*probe.summaries, *probe.sites)})
