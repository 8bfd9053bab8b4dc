"""A study file for people: docs/study.md, made from the declarations by `python -m grokstudy.orchestrator.study.guide`.

Its sentences are here, its tables are the options as they are declared. A test checks its YAML blocks and runs its
shell blocks.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, is_dataclass
from typing import Any

from grokstudy.orchestrator.schedulers import SCHEDULERS
from grokstudy.orchestrator.search import SEARCHERS
from grokstudy.orchestrator.study.load import SECTIONS
from grokstudy.orchestrator.study.sections import Resources, StartFrom
from grokstudy.trainables.config import sections_of
from grokstudy.trainables.events import Event
from grokstudy.trainables.measurements import PROBES
from grokstudy.trainables.options import OptionField, bounds_text, fields_of
from grokstudy.trainables.tasks import TASKS

HEAD = """\
# A study file

Made from the declarations by `make docs`; a test compares. A study is one YAML file: one question, what is varied, and
how it is measured. The name of the file is the name of the study.

```sh
grokstudy new mine --like quickstart
grokstudy plan studies/mine.yaml
grokstudy plan studies/mine.yaml --set train.steps=200 --set train.batch=64
```

`new` writes the file, with a schema beside it that editors complete and check by (its first line names it); `plan` says
what it comes to, and every mistake with its line; `--set` replaces an option of `base` for every command that takes a
study. `grokstudy run studies/mine.yaml` trains and answers.

The smallest file is a hypothesis; everything else has a default:

```yaml
hypothesis: Facts that were seen composed in both hops are composed correctly; others are not.
```
"""
EXAMPLES = {
    "base": """\
base:
  data: {phi: 6.8, holdout: 0.2}
  model: {layers: 2, loops: 2, width: 64}
  train: {steps: 3000, batch: 256}
  eval: {every: 100, probes: [logit_lens, capacity]}
""",
    "space": """\
space:
  data.exposure: [natural, both_hops]                       # a list of values
  optim.weight_decay: {log: [0.03, 1.0], points: 3}         # a range, with the values of a grid
  train.batch: {int: [64, 256], points: 2}
  depth:                                                    # named arms, which set several options together
    shared: {model.layers: 2, model.loops: 2}
    untied: {model.layers: 4, model.loops: 1}
""",
    "seeds": "seeds: [0, 1, 2, 3, 4]\n",
    "search": """\
space:
  optim.lr: {log: [0.0005, 0.01]}
  optim.weight_decay: {log: [0.03, 1.0]}
search: {kind: random, trials: 30}
""",
    "scheduler": "scheduler: {kind: asha, grace_steps: 500}\n",
    "resources": "resources: {cpu: 1, workers: 2, engine: compile}\n",
}
"""A part of a file for every section; each is checked as part of a whole one."""
AFTER = {
    "space": "Without a search, every combination is a point, and every point is run with every seed. A range without "
    "`points` is for a search that draws. An option may also be computed from others: `train.steps: 500 * data.phi`.",
    "seeds": "A seed sets data, initialisation and batch order. With six or more, intervals and tests mean something. "
    "`seeds: {graph: 2, init: 3, order: 2}` crosses the three instead, 12 runs for each point; the report says what "
    "each brings to the spread of event times (crossed seeds in [science](science.md)).",
    "events": "Times, leads and verdicts are about these. Changing one needs no training. What they may look at: "
    "accuracy, loss and margin of a split, and what the probes measure ([science](science.md)).",
}


def study_guide() -> str:
    """The whole page as Markdown."""
    parts = [HEAD]
    for name, meaning in SECTIONS.items():
        parts += [f"## {name}\n", f"{meaning[0].upper()}{meaning[1:]}.\n"]
        example = _events() if name == "events" else EXAMPLES.get(name)
        parts += [f"```yaml\n{example}```\n"] if example else []
        parts += [f"{AFTER[name]}\n"] if name in AFTER else []
        parts += _tables(name)
    return "\n".join(parts)


def _events() -> str:
    """Two of the events that a study has by default, as a file would have them."""
    known = list(next(iter(TASKS.values())).events.items())[:2]
    lines = []
    for name, event in known:
        level = f"at_least: {event.at_least:g}" if event.rising else f"at_most: {event.at_most:g}"
        lines.append(
            f"  {name}: {{metric: {event.metric}, split: [{', '.join(event.split)}], {level}, for: {event.for_}}}"
        )
    return "\n".join(["events:", *lines, ""])


def _tables(section: str) -> Iterator[str]:
    """The options of a section, block by block."""
    if section == "base":
        for task in TASKS:
            data = sections_of(task)["data"]
            yield _block(f"base.data of task {task}", data)
        for name, options in sections_of(next(iter(TASKS))).items():
            if name != "data":
                yield _block(f"base.{name}", options)
        yield _block("base.start_from", StartFrom)
        yield f"Probes: {', '.join(f'`{probe}`' for probe in PROBES)}.\n"
    kinds: Mapping[str, Mapping[str, Any]] = {
        "search": {name: searcher.Options for name, searcher in SEARCHERS.items()},
        "scheduler": SCHEDULERS,
    }
    for kind, options in kinds.get(section, {}).items():
        yield _block(f"{section}: {kind}", options)
    if section == "events":
        yield _block("an event", Event)
        for task in TASKS:
            listed = "; ".join(f"`{name}`: {event}" for name, event in TASKS[task].events.items())
            yield f"Default events of task `{task}`: {listed}.\n"
    if section == "resources":
        yield _block("resources", Resources)


def _block(title: str, options: type[Any]) -> str:
    """A heading, what the block is, and a row per option."""
    about = (inspect.getdoc(options) or "").split("\n\n")[0].replace("\n", " ")
    rows = [_row(field) for field in fields_of(options).values()] if is_dataclass(options) else []
    table = ["| option | value | default | meaning |", "|---|---|---|---|", *rows, ""] if rows else []
    return "\n".join([f"### {title}", "", about, "", *table])


def _row(field: OptionField) -> str:
    value = "a block of its own" if field.block is not None else field.expected
    limits = f", {bounds_text(field.bounds)}" if field.bounds else ""
    cells = (f"`{field.key}`", f"{value}{limits}", _default(field.default), field.doc)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(value: Any) -> str:
    """A default as the file would have it."""
    if value is MISSING:
        return "to be given"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if is_dataclass(value):
        return "see there"
    words = {True: "true", False: "false", None: "null"}
    known = words.get(value) if value is None or isinstance(value, bool) else None
    return f"`{known or (f'{value:g}' if isinstance(value, float) else value)}`"


if __name__ == "__main__":
    print(study_guide(), end="")
