"""Registry of probes. A probe is one file and one line here; contract tests run over every entry.

Names map to `module:function`, so that this list can be read (by validation, by the JSON Schema) without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainables.probes.base import Probe

PROBES = {
    "logit_lens": "trainables.probes.logit_lens:logit_lens",
    "patching": "trainables.probes.patching:patching",
    "restoration": "trainables.probes.restoration:restoration",
    "cqsp": "trainables.probes.cqsp:cqsp",
    "cosine": "trainables.probes.cosine:cosine",
    "circuit": "trainables.probes.circuit:circuit",
    "consistency": "trainables.probes.consistency:consistency",
}


def load(name: str) -> Probe:
    """Import the probe of this name. Raises KeyError for a name that is not registered."""
    module, function = PROBES[name].split(":")
    probe: Probe = getattr(importlib.import_module(module), function)
    return probe
