"""Reads options and blocks of options out of a study file's data, reporting each mistake at its own place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from grokstudy.orchestrator.search.space import Setting
from grokstudy.orchestrator.study.errors import BROKEN, Findings, Steps, shown
from grokstudy.orchestrator.study.expressions import Expression, ExpressionError
from grokstudy.orchestrator.study.fields import FieldError, OptionField, fields_of
from grokstudy.orchestrator.study.resolve import check_names
from grokstudy.trainables.options import did_you_mean

Block = TypeVar("Block")
Check = Callable[[Findings, Steps, Any], None]
"""Reports what is wrong with a value of the right type; the last of the steps is its key."""


def read_mapping(findings: Findings, steps: Steps, raw: Any, content: str) -> dict[str, Any]:
    """Return a mapping as it is; report anything else and go on as if it were empty."""
    if isinstance(raw, dict):
        return raw
    if raw is not BROKEN:
        found = "is empty" if raw is None else f"is {shown(raw)}"
        findings.at_value(steps, f"{found}, and should be a mapping of {content}")
    return {}


def read_setting(
    findings: Findings, steps: Steps, field: OptionField, raw: Any, fields: Mapping[str, OptionField]
) -> Setting:
    """Check one option of a run, which may be an expression where a number is due. BROKEN when reported."""
    if raw is BROKEN:
        return BROKEN
    try:
        if field.is_number and isinstance(raw, str):
            return _expression(raw, fields)
        return field.check(raw)
    except (FieldError, ExpressionError) as error:
        findings.at_value(_item_at_fault(steps, field, raw), str(error))
        return BROKEN


def _expression(text: str, fields: Mapping[str, OptionField]) -> Expression:
    expression = Expression.parse(text)
    if expression.is_constant:
        raise ExpressionError(f"{text!r} is text; write {text.strip()} without quotes")
    check_names(expression, fields)
    return expression


def _item_at_fault(steps: Steps, field: OptionField, raw: Any) -> Steps:
    items = raw if isinstance(raw, list) and field.is_list else []
    wrong = [index for index, item in enumerate(items) if not isinstance(item, str)]
    return (*steps, wrong[0]) if wrong else steps


def read_block(
    findings: Findings, steps: Steps, raw: Any, options: type[Block], also: Check, skip: str = ""
) -> Block | None:
    """Build an options dataclass; `also` looks at values beyond their type. None if anything was reported."""
    fields = fields_of(options)
    content = ", ".join(fields) or "nothing"
    mistakes_before = len(findings.mistakes)
    given = {key: value for key, value in read_mapping(findings, steps, raw, content).items() if key != skip}
    values = {
        key: _known_value(findings, (*steps, key), fields[key], value, also)
        for key, value in given.items()
        if _is_known(findings, (*steps, key), list(fields))
    }
    if not isinstance(raw, dict) or BROKEN in values.values() or len(findings.mistakes) > mistakes_before:
        return None
    missing = [field for key, field in fields.items() if field.required and key not in values]
    for field in missing:
        findings.at_key(steps, f"{field.key} is missing: {field.doc}")
    return None if missing else options(**{fields[key].attribute: value for key, value in values.items()})


def _is_known(findings: Findings, steps: Steps, known: list[str]) -> bool:
    if steps[-1] not in known:
        findings.at_key(steps, f"is unknown; {did_you_mean(str(steps[-1]), known)}" if known else "is unknown")
    return steps[-1] in known


def _known_value(findings: Findings, steps: Steps, field: OptionField, raw: Any, also: Check) -> Any:
    if raw is BROKEN or (isinstance(raw, list) and BROKEN in raw):
        return BROKEN
    if field.block is not None:
        return read_block(findings, steps, raw, field.block, also) or BROKEN
    try:
        value = field.check((raw,) if field.is_list and isinstance(raw, str) else raw)
        also(findings, steps, raw)
        return value
    except FieldError as error:
        findings.at_value(_item_at_fault(steps, field, raw), str(error))
        return BROKEN
