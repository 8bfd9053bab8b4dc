"""JSON Schema of a study file, for completion and checking while a person types. Owns docs/study.schema.json.

Read off the same declarations as the validator, which checks more: cross-field limits, expressions, data per
seed. `grokstudy schema` prints it; with a study, it knows the code from outside that the study names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from grokstudy.orchestrator.schedulers import SCHEDULERS
from grokstudy.orchestrator.search import SEARCHERS
from grokstudy.orchestrator.search.space import START_FROM
from grokstudy.orchestrator.study.fields import config_fields
from grokstudy.orchestrator.study.load import SECTIONS
from grokstudy.orchestrator.study.read_space import MAX_POINTS
from grokstudy.orchestrator.study.sections import CROSSED, CrossedSeeds, Resources, StartFrom
from grokstudy.orchestrator.study.study import Study
from grokstudy.trainables.config import sections_of
from grokstudy.trainables.events import Event
from grokstudy.trainables.measurements import PROBES, measurements
from grokstudy.trainables.options import OptionField, fields_of
from grokstudy.trainables.schema import METRICS
from grokstudy.trainables.tasks import DEFAULT, TASKS, known_splits

Schema = dict[str, Any]

_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", type(None): "null"}
_EXPRESSION = {
    "type": "string",
    "pattern": r"[a-z]\.[a-z]",
    "description": "an expression, as in 0.9 * data.out_degree",
}


def study_schema(study: Study | None = None) -> Schema:
    """The schema of a study file (draft 2020-12), with what a study names from outside."""
    schema = _study_schema([*TASKS]) if study is None else _study_schema([study.task], study.function)
    return schema if study is None else _with_own(schema, study)


def _with_own(schema: Schema, study: Study) -> Schema:
    """The words of a study wherever those of ours are listed."""
    places = {
        "task": [study.task], "probes": study.probes, "measuring": [*study.probes, study.function],
        "search": [study.search_kind], "figures": study.figures,
    }  # fmt: skip
    own = {place: [word for word, name in study.code.items() if name in names] for place, names in places.items()}
    metrics = measurements([*TASKS.values(), TASKS[study.task]], [study.code[word] for word in own["measuring"]])
    longer = {tuple(PROBES): [*PROBES, *own["probes"]], _metrics(): [*METRICS, *metrics]}
    parts = schema["properties"]
    parts["base"]["properties"]["task"]["enum"] += own["task"]
    parts["search"]["oneOf"] += [_kind(word, type(study.search)) for word in own["search"]]
    if own["figures"]:
        parts["figures"]["items"] = {"enum": own["figures"]}
    extended: Schema = _replaced(schema, longer)
    return extended


def _replaced(part: Any, longer: Mapping[tuple[str, ...], list[str]]) -> Any:
    """A schema whose lists of words are replaced by longer ones."""
    if isinstance(part, dict):
        enum = part.get("enum")
        known = longer.get(tuple(enum)) if isinstance(enum, list) and all(isinstance(w, str) for w in enum) else None
        return {key: _replaced(value, longer) for key, value in part.items()} | ({"enum": known} if known else {})
    return [_replaced(value, longer) for value in part] if isinstance(part, list) else part


def _metrics() -> tuple[str, ...]:
    return (*METRICS, *measurements(TASKS.values()))


def _study_schema(tasks: list[str], function: str | None = None) -> Schema:
    options = _fields(tasks, function)
    parts = {
        "hypothesis": {"type": "string", "minLength": 1},
        "base": _base(options, function),
        "space": _space(options),
        "seeds": {
            "anyOf": [*_seeds(), _object({name: {"anyOf": _seeds(CROSSED - 1)} for name in fields_of(CrossedSeeds)})],
            "default": [0],
        },
        "search": _kinds({name: searcher.Options for name, searcher in SEARCHERS.items()}),
        "scheduler": _kinds({name: scheduler.Options for name, scheduler in SCHEDULERS.items()}),
        "events": {
            "type": "object",
            "additionalProperties": _block(Event),
            "default": {name: event.to_json() for name, event in TASKS[DEFAULT].events.items()},
        },
        "figures": _list({"type": "string", "minLength": 1}),
        "resources": {"anyOf": [{"const": "auto"}, _block(Resources)]},
    }
    start = {"description": _summary(StartFrom), "anyOf": [{"type": "null"}, _block(StartFrom)]}
    defined = {name: _either([_option(field, expressions=True) for field in kinds]) for name, kinds in options.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "grokstudy study",
        **_object({name: {"description": SECTIONS[name], **schema} for name, schema in parts.items()}),
        "$defs": {"expression": _EXPRESSION, START_FROM: start, **defined},
    }


Fields = Mapping[str, list[OptionField]]
"""Options by their dotted names. Tasks may have different ones of a name, and the schema does not look at the task."""


def _fields(tasks: list[str], function: str | None) -> Fields:
    """The options of every task."""
    fields: dict[str, list[OptionField]] = {}
    for task in tasks:
        for key, field in config_fields(task, function).items():
            fields.setdefault(key, []).append(field)
    return fields


def _either(schemas: list[Schema]) -> Schema:
    """What any of these allows; of those that allow the same, the first."""
    different = list(
        {json.dumps({**schema, "description": 0, "default": 0}): schema for schema in schemas[::-1]}.values()
    )
    different = different[::-1]
    return different[0] if len(different) == 1 else {"anyOf": different}


def _base(fields: Fields, function: str | None) -> Schema:
    kinds = sections_of(DEFAULT, function)
    sections = {name: _section(name, options, fields) for name, options in kinds.items()}
    trainable = {"type": "string", "description": "a training function of your own, as in ./train.py:train"}
    task = {"enum": list(TASKS), "default": DEFAULT, "description": "what is learnt"}
    numerics = {"type": "integer", "minimum": 1, "description": "take the runs of an older version of the numbers"}
    about = {"task": task, "trainable": trainable, "numerics": numerics}
    properties = {**about, **sections, START_FROM: {"$ref": f"#/$defs/{START_FROM}"}}
    return _object(properties)


def _section(name: str, options: type[Any], fields: Fields) -> Schema:
    keys = [key.removeprefix(f"{name}.") for key in fields if key.startswith(f"{name}.")]
    properties = {key: {"$ref": f"#/$defs/{name}.{key}"} for key in keys}
    return {"description": _summary(options), **_object(properties)}


def _space(fields: Fields) -> Schema:
    settings = {name: {"$ref": f"#/$defs/{name}"} for name in (*fields, START_FROM)}
    starts = {"description": "named starts", "type": "object", "minProperties": 1,
              "additionalProperties": settings[START_FROM]}  # fmt: skip
    arms = _object(settings)
    return {
        "type": "object",
        "properties": {
            **{name: _either([*map(_axis, kinds)]) for name, kinds in fields.items() if not kinds[0].is_list},
            START_FROM: starts,
        },
        "patternProperties": {
            f"^(?!{START_FROM}$)[a-z][a-z0-9_]*$": {"type": "object", "minProperties": 1, "additionalProperties": arms}
        },
        "additionalProperties": False,
    }


def _axis(field: OptionField) -> Schema:
    value = _type(field)
    forms: list[Schema] = [{**_list(value), "minItems": 1}]
    if field.is_number:
        ends = {**_list(value), "minItems": 2, "maxItems": 2}
        forms += [
            _range("log", ends),
            _range("int" if field.is_integer else "uniform", ends),
            {"$ref": "#/$defs/expression"},
        ]
    return {"description": field.doc, "anyOf": forms}


def _range(scale: str, ends: Schema) -> Schema:
    points = {
        "type": "integer",
        "minimum": 2,
        "maximum": MAX_POINTS,
        "description": "values of a grid, both ends included",
    }
    step = {"type": "number", "exclusiveMinimum": 0, "description": "distance of the values from each other"}
    properties = {scale: ends, "points": points, **({} if scale == "log" else {"step": step})}
    return _object(properties, required=[scale])


def _kinds(kinds: Mapping[str, type[Any]]) -> Schema:
    return {"oneOf": [_kind(name, options) for name, options in kinds.items()]}


def _kind(name: str, options: type[Any]) -> Schema:
    block = _block(options)
    kind = {"const": name, "description": _summary(options)}
    return {**block, "required": ["kind"], "properties": {"kind": kind, **block["properties"]}}


def _block(options: type[Any]) -> Schema:
    fields = fields_of(options)
    properties = {key: _option(field, expressions=False) for key, field in fields.items()}
    required = [key for key, field in fields.items() if field.required]
    return {**_object(properties), "required": required} if required else _object(properties)


def _option(field: OptionField, *, expressions: bool) -> Schema:
    if field.block is not None:
        return {"description": field.doc, **_block(field.block), "default": asdict(field.default)}
    described: Schema = {"description": field.doc}
    if not field.required:
        described["default"] = list(field.default) if field.is_list else field.default
    if expressions and field.is_number:
        return {**described, "anyOf": [_type(field), {"$ref": "#/$defs/expression"}]}
    return {**described, **_type(field)}


def _type(field: OptionField) -> Schema:
    if field.key == "split":
        return {"anyOf": [{"enum": list(known_splits())}, _list({"enum": list(known_splits())})]}
    if field.key == "metric":
        return {"enum": list(_metrics())}
    if field.is_list:
        return _list({"enum": list(PROBES)} if field.key == "probes" else {"type": "string"})
    bounds = {_BOUNDS[name]: bound for name, bound in field.bounds.items()}
    words = [{"enum": field.choices}] if field.choices else []
    plain = [{"type": _TYPES[hint]} for hint in field.members if hint in _TYPES]
    forms = [*({**schema, **bounds} if schema["type"] in ("integer", "number") else schema for schema in plain), *words]
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _object(properties: Schema, **more: Any) -> Schema:
    """A mapping that has these keys and no others."""
    return {"type": "object", "additionalProperties": False, **more, "properties": properties}


def _seeds(last: int | None = None) -> list[Schema]:
    """How many, or a list."""
    top = {} if last is None else {"maximum": last}
    return [{"type": "integer", "minimum": 1}, _list({"type": "integer", "minimum": 0, **top})]


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items, "uniqueItems": True}


def _summary(options: type[Any]) -> str:
    return (options.__doc__ or "").splitlines()[0]
