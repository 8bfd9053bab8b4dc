"""Options of a study that the command line sets: `--set train.batch=512` is what base.train.batch says from then on.

The study's text is changed with it, since that text is what is kept with the results and what travels to a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from grokstudy.orchestrator.study.errors import Findings
from grokstudy.orchestrator.study.fields import FieldError, checked, config_fields
from grokstudy.trainables.functions import TRAINABLES
from grokstudy.trainables.options import did_you_mean
from grokstudy.trainables.tasks import DEFAULT, TASKS


def with_settings(
    text: str, data: dict[str, Any], named: Mapping[str, Any], findings: Findings, settings: Sequence[str]
) -> tuple[str, Any]:
    """Text and data with these settings (`option=value`, a value as YAML has it); mistakes go into the findings.

    `named` is the base with full names: it decides which options there are.
    """
    base = data.get("base") or {}
    swept = {option for option in data.get("space") or {} if "." in option}
    changed = {name: dict(part) if isinstance(part, dict) else part for name, part in base.items()}
    for setting in settings:
        option, _, written = setting.partition("=")
        message = _mistake(named, option.strip(), written, swept)
        if message:
            findings.add(0, 0, f"--set {setting}", message)
            continue
        section, _, key = option.strip().partition(".")
        changed[section] = {**(changed.get(section) or {}), key: yaml.safe_load(written)}
    new = {**data, "base": changed}
    heading = f"# with {' '.join(f'--set {setting}' for setting in settings)}\n"
    return heading + yaml.safe_dump(new, sort_keys=False, allow_unicode=True, width=120), new


def _mistake(base: Mapping[str, Any], option: str, written: str, swept: set[str]) -> str | None:
    """What is wrong with one setting, with what to do about it."""
    task, function = base.get("task", DEFAULT), base.get("trainable")
    fields = config_fields(task if task in TASKS else DEFAULT, function if function in TRAINABLES else None)
    if not option or not written:
        return "write an option with its section and a value: --set train.batch=512"
    if option not in fields:
        return f"{option} is unknown; {did_you_mean(option, list(fields))}"
    if option in swept:
        return f"{option} is an axis of the study: change it under space in the file"
    try:
        checked(fields[option], yaml.safe_load(written))
    except (FieldError, yaml.YAMLError) as error:
        return str(error)
    return None
