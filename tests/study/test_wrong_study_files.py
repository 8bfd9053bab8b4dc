"""Wrong study files: each mistake is told once, at its line and column, with a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from grokstudy.orchestrator.study.errors import Mistake, StudyError
from grokstudy.orchestrator.study.load import load_study

Expected = tuple[int, int, str, str]
"""Line, column, key, and a part of the message."""

SYNTAX: dict[str, tuple[str, list[Expected]]] = {
    "empty": ("", [(1, 1, "", "the file is empty")]),
    "only a comment": ("# later\n", [(1, 1, "", "the file is empty")]),
    "a list": ("- base\n- space\n", [(1, 1, "", "a study is a mapping")]),
    "one word": ("base\n", [(1, 1, "", "a study is a mapping")]),
    "tab": ("base:\n\tdata: {}\n", [(2, 1, "", "a tab cannot indent YAML")]),
    "open bracket": ("seeds: [0, 1\n", [(2, 1, "", "flow sequence that began in line 1")]),
    "two documents": ("seeds: 1\n---\nseeds: 2\n", [(2, 1, "", "one study per file")]),
    "unknown alias": ("seeds: *many\n", [(1, 8, "", "undefined alias 'many'")]),
    "bad escape": ('hypothesis: "\\Uffffffff"\n', [(1, 1, "", "not valid YAML")]),
    "control character": ("seeds: 1\nhypothesis: a\x00b\n", [(2, 14, "", "cannot stand in YAML")]),
    "duplicate key": (
        "seeds: 1\nbase: {}\nseeds: 2\n",
        [(3, 1, "seeds", "is given twice, in line 1 and in line 3")],
    ),
    "duplicate key deep down": (
        "base:\n  model: {layers: 1, width: 8, heads: 1, layers: 2}\n",
        [(2, 42, "base.model.layers", "is given twice, in line 2 and in line 2")],
    ),
    "python tag": (
        "seeds: !!python/object/apply:os.system [ls]\n",
        [(1, 8, "", "tag 'tag:yaml.org,2002:python/object/apply:os.system' is refused")],
    ),
    "merge key": ("base: &b {}\nspace:\n  <<: *b\n", [(3, 3, "space", "merge keys (<<) are refused")]),
    "number as key": ("base: {}\n1: 2\n", [(2, 1, "", "a key is a word, and 1 is not")]),
    "list as key": ("? [a, b]\n: 1\n", [(1, 3, "", "a key is a word, not a list")]),
    "contains itself": ("base: &b\n  model: *b\n", [(1, 7, "base.model", "contains itself")]),
    "bare no": ("base: {model: {tied: no}}\n", [(1, 22, "base.model.tied", "write false, or quote it")]),
    "bare on, capital": ("base: {model: {bias: On}}\n", [(1, 22, "base.model.bias", "read as text or as true")]),
    "bare y as key": (
        "events: {y: {metric: loss, split: test_oo, at_most: 1}}\n",
        [(1, 10, "events", "`y` is read as text or as true")],
    ),
    "leading zero": ("seeds: [007]\n", [(1, 9, "seeds[0]", "leading zero")]),
    "underscore": ("base: {train: {steps: 1_000}}\n", [(1, 23, "base.train.steps", "underscore")]),
    "base 60": ("base: {train: {steps: 1:30}}\n", [(1, 23, "base.train.steps", "base 60")]),
    "date": ("hypothesis: 2026-01-09\n", [(1, 13, "hypothesis", "is a date for some readers")]),
    "hexadecimal": ("seeds: [0x10]\n", [(1, 9, "seeds[0]", "is not decimal")]),
    "infinity": ("base: {optim: {clip: .inf}}\n", [(1, 22, "base.optim.clip", "not a finite number")]),
    "not a number": ("base: {optim: {lr: .nan}}\n", [(1, 20, "base.optim.lr", "not a finite number")]),
    "overflowing float": ("base: {optim: {lr: 1e999}}\n", [(1, 20, "base.optim.lr", "too large")]),
    "endless integer": (f"seeds: [{'9' * 40}]\n", [(1, 9, "seeds[0]", "40 digits")]),
}

BASE: dict[str, tuple[str, list[Expected]]] = {
    "unknown section": ("bases: {}\n", [(1, 1, "bases", "did you mean 'base'?")]),
    "section of base at the top": ("model: {layers: 2}\n", [(1, 1, "model", "did you mean base.model?")]),
    "option at the top": ("steps: 100\n", [(1, 1, "steps", "did you mean base.train.steps?")]),
    "seed for seeds": ("seed: 3\n", [(1, 1, "seed", "did you mean seeds?")]),
    "named in the file": ("name: mine\n", [(1, 1, "name", "a study is named by its file")]),
    "empty base": ("base:\n", [(1, 6, "base", "is empty, and should be a mapping")]),
    "base is a list": ("base: [1]\n", [(1, 7, "base", "should be a mapping")]),
    "unknown section of base": ("base: {modle: {}}\n", [(1, 8, "base.modle", "did you mean 'model'?")]),
    "option in no section": ("base: {layers: 2}\n", [(1, 8, "base.layers", "did you mean base.model.layers?")]),
    "dotted option in base": ("base: {model.layers: 2}\n", [(1, 8, "base.model.layers", "model: {layers: ...}")]),
    "seed in base": ("base: {seed: 2}\n", [(1, 8, "base.seed", "seeds: [0, 1, 2]")]),
    "unknown task": ("base: {task: twohop}\n", [(1, 14, "base.task", "did you mean 'two_hop'?")]),
    "misspelt option": (
        "base: {model: {layrs: 2}}\n",
        [(1, 16, "base.model.layrs", "did you mean base.model.layers?")],
    ),
    "option of another section": (
        "base: {model: {lr: 1e-3}}\n",
        [(1, 16, "base.model.lr", "did you mean base.optim.lr?")],
    ),
    "nothing like it": ("base: {eval: {zzz: 1}}\n", [(1, 15, "base.eval.zzz", "known in eval: grid, every")]),
    "text for a number": ("base: {model: {width: big}}\n", [(1, 23, "base.model.width", "'big' is not a number")]),
    "number in quotes": ('base: {model: {width: "64"}}\n', [(1, 23, "base.model.width", "write 64 without quotes")]),
    "true for a number": (
        "base: {model: {layers: true}}\n",
        [(1, 24, "base.model.layers", "must be a whole number, not true")],
    ),
    "float for an integer": (
        "base: {model: {layers: 3.0}}\n",
        [(1, 24, "base.model.layers", "write 3 instead of 3.0")],
    ),
    "fraction for an integer": (
        "base: {model: {layers: 2.5}}\n",
        [(1, 24, "base.model.layers", "must be a whole number, not 2.5")],
    ),
    "one for true": ("base: {model: {tied: 1}}\n", [(1, 22, "base.model.tied", "must be true or false, not 1")]),
    "misspelt word": ("base: {model: {norm: layernrom}}\n", [(1, 22, "base.model.norm", "did you mean 'layernorm'?")]),
    "null for a number": (
        "base: {model: {layers: }}\n",
        [(1, 23, "base.model.layers", "is empty; it must be a whole number")],
    ),
    "list for a number": (
        "base: {train: {batch: [64]}}\n",
        [(1, 23, "base.train.batch", "must be a whole number, not a list")],
    ),
    "out of bounds": ("base: {optim: {beta2: 1.0}}\n", [(1, 23, "base.optim.beta2", "at least 0 and less than 1")]),
    "probe unknown": (
        "base: {eval: {probes: [logitlens]}}\n",
        [(1, 23, "base.eval.probes", "did you mean 'logit_lens'?")],
    ),
    "probe twice": (
        "base: {eval: {probes: [logit_lens, logit_lens]}}\n",
        [(1, 23, "base.eval.probes", "same thing twice")],
    ),
    "probe is a number": (
        "base: {eval: {probes: [logit_lens, 3]}}\n",
        [(1, 36, "base.eval.probes[1]", "a list of words")],
    ),
    "heads do not divide": (
        "base: {model: {heads: 3}}\n",
        [(1, 23, "base.model.heads", "3 heads do not divide width 64")],
    ),
    "default against an option": (
        "base:\n  model: {width: 30}\n",
        [(2, 18, "base.model.width", "model.heads, left at its default: 4 heads do not divide width 30")],
    ),
    "a default above what an option allows": (
        "base: {data: {entities: 20, out_degree: 4}}\n",
        [(1, 41, "base.data.out_degree", "does not go with data.phi, left at its default: 8 is above its maximum")],
    ),
    "phi above the maximum": (
        "base: {data: {phi: 9}}\n",
        [(1, 20, "base.data.phi", "above its maximum for this graph")],
    ),
    "phi above what a seed has": (
        "base: {data: {phi: 8.3}}\nseeds: [0, 1]\n",
        [(1, 20, "base.data.phi", "the maximum for the graph of seed 0 (and 1 more like it)")],
    ),
    "two at once": (
        "base: {model: {layers: 0}, train: {stepz: 1}}\nseeds: []\n",
        [
            (1, 24, "base.model.layers", "must be at least 1"),
            (1, 36, "base.train.stepz", "did you mean base.train.steps?"),
            (2, 8, "seeds", "0 seeds"),
        ],
    ),
}

EXPRESSIONS: dict[str, tuple[str, list[Expected]]] = {
    "unknown name": (
        "base: {data: {phi: 0.5 * data.outdegree}}\n",
        [(1, 20, "base.data.phi", "did you mean 'data.out_degree'?")],
    ),
    "name of a word": (
        "base: {data: {phi: 2 * model.norm}}\n",
        [(1, 20, "base.data.phi", "only numbers can be computed with")],
    ),
    "call": ("base: {data: {phi: \"open('x')\"}}\n", [(1, 20, "base.data.phi", "cannot stand in an expression")]),
    "caret": ('base: {data: {phi: "data.out_degree ^ 2"}}\n', [(1, 20, "base.data.phi", "^ is not a power; write **")]),
    "no arithmetic": (
        'base: {data: {phi: "3 times two"}}\n',
        [(1, 20, "base.data.phi", "neither a number nor an expression")],
    ),
    "division by zero": (
        "base: {data: {phi: 1 / (data.out_degree - 10)}}\n",
        [(1, 20, "base.data.phi", "divides by zero")],
    ),
    "fraction for an integer": (
        "base: {model: {width: data.entities / 3}}\n",
        [(1, 23, "base.model.width", "gives 33.3333, and a whole number is needed")],
    ),
    "of a null": (
        "base: {data: {phi: 2 * optim.clip}}\n",
        [(1, 20, "base.data.phi", "optim.clip has no value to compute with")],
    ),
    "cycle": (
        "base:\n  data: {entities: 10 * data.relations, relations: data.entities / 10}\n",
        [(2, 20, "base.data.entities", "data.entities -> data.relations -> data.entities")],
    ),
    "of itself": ("base: {data: {phi: 2 * data.phi}}\n", [(1, 20, "base.data.phi", "data.phi -> data.phi")]),
    "result out of bounds": (
        "base: {data: {phi: 1 - data.out_degree}}\n",
        [(1, 20, "base.data.phi", "must be more than 0")],
    ),
    "in a list": (
        "space: {data.phi: [2, 0.5 * data.out_degree]}\n",
        [(1, 23, "space.data.phi[1]", "expressions may stand in base or an arm")],
    ),
}

SPACE: dict[str, tuple[str, list[Expected]]] = {
    "one value": ("space: {model.layers: 2}\n", [(1, 23, "space.model.layers", "list several as [2, ...]")]),
    "one word": ("space: {model.norm: layernorm}\n", [(1, 21, "space.model.norm", "list several as [layernorm, ...]")]),
    "no values": ("space: {model.layers: []}\n", [(1, 23, "space.model.layers", "has no values")]),
    "the same value twice": ("space: {optim.lr: [1, 1.0]}\n", [(1, 23, "space.optim.lr[1]", "already in the list")]),
    "items of the wrong type": (
        "space:\n  data.exposure:\n    - natural\n    - first_hops\n    - 3\n",
        [
            (4, 7, "space.data.exposure[1]", "did you mean 'first_hop'?"),
            (5, 7, "space.data.exposure[2]", "must be natural or first_hop"),
        ],
    ),
    "item out of bounds": ("space: {model.layers: [1, 0]}\n", [(1, 27, "space.model.layers[1]", "at least 1")]),
    "unknown option": (
        "space: {model.layer: [1]}\n",
        [(1, 9, "space.model.layer", "did you mean space.model.layers?")],
    ),
    "option without section": (
        "space: {weight_decay: [0, 1]}\n",
        [(1, 9, "space.weight_decay", "space.optim.weight_decay")],
    ),
    "nested like base": ("space: {model: {layers: [1, 2]}}\n", [(1, 9, "space.model", "`model.layers: [...]`")]),
    "seeds as an axis": ("space: {seed: [0, 1]}\n", [(1, 9, "space.seed", "seeds: [0, 1, 2]")]),
    "a list-valued option": ("space: {eval.probes: [[]]}\n", [(1, 9, "space.eval.probes", "vary it by named arms")]),
    "grid without points": (
        "space: {optim.lr: {log: [1e-4, 1e-2]}}\n",
        [(1, 19, "space.optim.lr", "a grid needs points")],
    ),
    "one point": (
        "space: {optim.lr: {log: [1e-4, 1e-2], points: 1}}\n",
        [(1, 47, "space.optim.lr.points", "from 2 to 10,000")],
    ),
    "step of a log range": (
        "space: {optim.lr: {log: [1e-4, 1e-2], step: 0.1}}\nsearch: {kind: random}\n",
        [(1, 45, "space.optim.lr.step", "a log range has no step")],
    ),
    "half a step of whole numbers": (
        "space: {model.layers: {int: [1, 3], step: 0.5}}\n",
        [(1, 43, "space.model.layers.step", "must be a whole number")],
    ),
    "step beyond the range": (
        "space: {optim.beta1: {uniform: [0.5, 0.9], step: 1}}\n",
        [(1, 50, "space.optim.beta1.step", "1 is more than the range")],
    ),
    "more points than numbers": (
        "space: {model.layers: {int: [1, 3], points: 9}}\n",
        [(1, 45, "space.model.layers.points", "only 3 different whole numbers")],
    ),
    "range upside down": (
        "space: {optim.lr: {log: [1, 0.1], points: 2}}\n",
        [(1, 25, "space.optim.lr.log", "the lower end comes first")],
    ),
    "log of zero": (
        "space: {optim.weight_decay: {log: [0, 1], points: 2}}\n",
        [(1, 35, "space.optim.weight_decay.log", "lower end above 0")],
    ),
    "three ends": (
        "space: {optim.lr: {log: [1, 2, 3], points: 2}}\n",
        [(1, 25, "space.optim.lr.log", "the two ends of the range")],
    ),
    "end of the wrong type": (
        "space: {optim.lr: {log: [1, x], points: 2}}\n",
        [(1, 29, "space.optim.lr.log[1]", "must be a number")],
    ),
    "misspelt scale": (
        "space: {optim.lr: {logg: [1, 2], points: 2}}\n",
        [(1, 20, "space.optim.lr.logg", "did you mean 'log'?")],
    ),
    "two scales": (
        "space: {optim.lr: {log: [1, 2], uniform: [1, 2]}}\n",
        [(1, 19, "space.optim.lr", "one of uniform, log or int")],
    ),
    "int for a float": (
        "space: {optim.lr: {int: [1, 2], points: 2}}\n",
        [(1, 25, "space.optim.lr.int", "use uniform or log")],
    ),
    "uniform for an integer": (
        "space: {model.layers: {uniform: [1, 2], points: 2}}\n",
        [(1, 33, "space.model.layers.uniform", "use int or log")],
    ),
    "range of words": ("space: {model.norm: {int: [1, 2]}}\n", [(1, 21, "space.model.norm", "list the values")]),
    "arms under an option": (
        "space: {model.layers: {a: {model.loops: 1}}}\n",
        [(1, 9, "space.model.layers", "without a dot")],
    ),
    "arms without options": (
        "space: {depth: {a: 3}}\n",
        [(1, 20, "space.depth.a", "should be a mapping of options with their section")],
    ),
    "no arms": ("space: {depth: {}}\n", [(1, 16, "space.depth", "has no arms")]),
    "arms are a list": ("space: {kinds: [1, 2]}\n", [(1, 16, "space.kinds", "should be a mapping of named arms")]),
    "unknown option in an arm": (
        "space: {depth: {a: {model.lyers: 1}}}\n",
        [(1, 21, "space.depth.a.model.lyers", "did you mean model.layers?")],
    ),
    "wrong value in an arm": (
        "space: {depth: {a: {model.layers: 1.5}}}\n",
        [(1, 35, "space.depth.a.model.layers", "whole number")],
    ),
    "a name like those of an event": (
        "space: {generalised_at: {a: {model.layers: 1}}}\n",
        [(1, 9, "space.generalised_at", "taken for a column of the event generalised")],
    ),
    "reserved name": ("space: {state: {a: {model.layers: 1}}}\n", [(1, 9, "space.state", "another column")]),
    "name in capitals": ("space: {Depth: {a: {model.layers: 1}}}\n", [(1, 9, "space.Depth", "no name for an axis")]),
    "varied twice": (
        "space:\n  model.layers: [1, 2]\n  depth: {a: {model.layers: 3}}\n",
        [(3, 3, "space.depth", "model.layers is already varied in line 2")],
    ),
    "impossible at one point": (
        "space:\n  data.phi: [4, 8, 12]\n  model.layers: [1, 2]\n",
        [(2, 20, "space.data.phi[2]", "(at data.phi=12.0, model.layers=1, and 1 more like it)")],
    ),
    "impossible at many points": (
        "space: {model.width: {int: [8, 12], points: 5}}\n",
        [(1, 22, "space.model.width", "divide width 9 (at model.width=9, and 2 more like it)")],
    ),
    "impossible in an arm": (
        "space:\n  size:\n    small: {model.width: 8, model.heads: 3}\n    large: {model.width: 32}\n",
        [(3, 42, "space.size.small.model.heads", "3 heads do not divide width 8 (at size=small)")],
    ),
    "too many trials": (
        "space:\n  optim.lr: {log: [1e-4, 1e-2], points: 400}\n  optim.eps: {log: [1e-9, 1e-6], points: 400}\n",
        [(1, 1, "space", "comes to 160,000 trials")],
    ),
    "corner of a search": (
        "space: {data.phi: {uniform: [1, 30]}}\nsearch: {kind: tpe}\n",
        [(1, 19, "space.data.phi", "30 is above its maximum")],
    ),
}

SETTINGS: dict[str, tuple[str, list[Expected]]] = {
    "seeds twice": ("seeds: [0, 1, 0]\n", [(1, 15, "seeds[2]", "0 is already in the list")]),
    "negative seed": ("seeds: [-1]\n", [(1, 9, "seeds[0]", "-1 is no seed")]),
    "true as seed": ("seeds: [true]\n", [(1, 9, "seeds[0]", "true is no seed")]),
    "no seeds": ("seeds: 0\n", [(1, 8, "seeds", "must be a list such as [0, 1, 2]")]),
    "hypothesis is a number": ("hypothesis: 3\n", [(1, 13, "hypothesis", "must be text, not 3")]),
    "unknown search": ("search: {kind: what}\n", [(1, 16, "search.kind", "known: boundary, cmaes, gp, grid")]),
    "search without kind": ("search: {trials: 3}\n", [(1, 1, "search", "kind is missing")]),
    "option of another search": (
        "search: {kind: random, batch: 3}\nspace: {model.layers: [1]}\n",
        [(1, 24, "search.batch", "is unknown; known: seed, trials")],
    ),
    "option of a grid": ("search: {kind: grid, trials: 3}\n", [(1, 22, "search.trials", "is unknown")]),
    "nothing to search": ("search: {kind: random}\n", [(1, 1, "search", "space has no axis")]),
    "unknown objective": (
        "search: {kind: tpe, objective: {metric: acuracy, split: test_o}}\n",
        [
            (1, 41, "search.objective.metric", "did you mean 'accuracy'?"),
            (1, 57, "search.objective.split", "did you mean 'test_oo'?"),
        ],
    ),
    "too many random trials": (
        "search: {kind: random, trials: 1000000}\nspace: {model.layers: [1, 2]}\n",
        [(1, 1, "search", "comes to 1,000,000 trials")],
    ),
    "grid axis of a search that is none": (
        "space: {data.phi: {uniform: [1, 3]}}\nsearch: {kind: tpe, grid: [depth]}\n",
        [(2, 28, "search.grid[0]", "depth is no axis here")],
    ),
    "boundary among words": (
        "space: {model.tied: [true, false]}\nsearch: {kind: boundary}\n",
        [(2, 1, "search", "a boundary needs an axis of numbers")],
    ),
    "boundary of an event that is none": (
        "space: {data.phi: {uniform: [1, 3]}}\nsearch: {kind: boundary, outcome: grokked}\n",
        [(2, 9, "search", "'grokked' is no event here")],
    ),
    "futility of an event that is none": (
        "scheduler: {kind: futility, events: [grokked]}\n",
        [(1, 38, "scheduler.events[0]", "'grokked' is no event here")],
    ),
    "unknown scheduler": ("scheduler: {kind: ashaa}\n", [(1, 19, "scheduler.kind", "did you mean 'asha'?")]),
    "grace longer than training": (
        "base: {train: {steps: 500}}\nscheduler: {kind: asha, grace_steps: 500}\n",
        [(2, 38, "scheduler.grace_steps", "not below the longest train.steps, 500")],
    ),
    "event without threshold": (
        "events: {a: {metric: loss, split: test_oo}}\n",
        [(1, 10, "events.a", "neither is given")],
    ),
    "event with two thresholds": (
        "events: {a: {metric: loss, split: test_oo, at_least: 1, at_most: 2}}\n",
        [(1, 10, "events.a", "both are given")],
    ),
    "event without metric": (
        "events: {a: {split: test_oo, at_least: 1}}\n",
        [(1, 10, "events.a", "metric is missing")],
    ),
    "accuracy in percent": (
        "events: {a: {metric: accuracy, split: test_oo, at_least: 95}}\n",
        [(1, 58, "events.a.at_least", "did you mean 0.95?")],
    ),
    "unknown split": (
        "events: {a: {metric: loss, split: [test_oo, test_xx], at_most: 1}}\n",
        [(1, 45, "events.a.split[1]", "did you mean 'test_")],
    ),
    "site of an output metric": (
        "events: {a: {metric: loss, split: test_oo, at_most: 1, layer: 2}}\n",
        [(1, 56, "events.a.layer", "belongs to probes")],
    ),
    "unknown position": (
        "events: {a: {metric: restore, split: test_oo, at_least: 1, layer: 2, position: r3}}\n",
        [(1, 80, "events.a.position", "known: h, r1, r2")],
    ),
    "nothing measures it": (
        "base: {eval: {probes: []}}\nevents: {a: {metric: bridge_hit, split: test_oo, at_least: 1}}\n",
        [(2, 22, "events.a.metric", "eval.probes is empty")],
    ),
    "another probe measures it": (
        "base: {eval: {probes: [cqsp, patching]}}\nevents: {a: {metric: restoration, split: test_oo, at_least: 1}}\n",
        [(2, 22, "events.a.metric", "restoration: it takes restoration, and eval.probes is cqsp, patching")],
    ),
    "measurement that there is not": (
        "events:\n a: {metric: bridge_hits, split: test_oo, at_least: 1}\n"
        " b: {metric: zzz, split: test_oo, at_least: 1}\n",
        [
            (2, 14, "events.a.metric", "did you mean 'bridge_hit'?"),
            (3, 14, "events.b.metric", "nearest: "),
        ],
    ),
    "summary of something measured at sites": (
        "events: {a: {metric: lens_bridge_hit, split: test_oo, at_least: 1}}\n",
        [(1, 22, "events.a.metric", "at sites only; give layer and position")],
    ),
    "site of a summary": (
        "events: {a: {metric: bridge_hit, split: test_oo, at_least: 1, layer: 2, position: r1}}\n",
        [(1, 22, "events.a.metric", "as a summary over sites only; leave layer and position out")],
    ),
    "half a site": (
        "events: {a: {metric: cqsp, split: test_oo, at_least: 1, layer: 2}}\n",
        [(1, 10, "events.a", "give both layer and position")],
    ),
    "objective that nothing measures": (
        "search: {kind: tpe, objective: {metric: cohesion}}\nspace: {model.layers: [1, 2]}\n",
        [(1, 41, "search.objective.metric", "it takes cosine")],
    ),
    "bad name of an event": (
        "events: {A b: {metric: loss, split: test_oo, at_most: 1}}\n",
        [(1, 10, "events.'A b'", "no name for an event")],
    ),
    "unknown resource": ("resources: {cpus: 2}\n", [(1, 13, "resources.cpus", "did you mean 'cpu'?")]),
    "workers in words": (
        "resources: {workers: many}\n",
        [(1, 22, "resources.workers", "must be a whole number or auto")],
    ),
    "one and a half GPUs": ("resources: {gpu: 1.5}\n", [(1, 18, "resources.gpu", "a share is at most 1")]),
}

TABLES = {"syntax": SYNTAX, "base": BASE, "expression": EXPRESSIONS, "space": SPACE, "settings": SETTINGS}
CASES = {f"{table}: {name}": case for table, cases in TABLES.items() for name, case in cases.items()}


@pytest.mark.parametrize("name", CASES)
def test_every_mistake_is_told_once_at_its_place(name: str, tmp_path: Path) -> None:
    text, expected = CASES[name]
    mistakes = mistakes_in(tmp_path, text)
    found = [(mistake.line, mistake.column, mistake.key) for mistake in mistakes]
    assert found == [(line, column, key) for line, column, key, _ in expected], "\n".join(map(str, mistakes))
    for mistake, (_, _, _, fragment) in zip(mistakes, expected, strict=True):
        assert fragment in mistake.message


def mistakes_in(folder: Path, text: str, name: str = "study.yaml") -> list[Mistake]:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError) as caught:
        load_study(path)
    assert [entry.name for entry in folder.iterdir()] == [name], "reading a study leaves nothing behind"
    return caught.value.mistakes


def test_the_error_spells_file_line_column_key_and_message(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("base: {model: {layers: 0}}\nseed: 1\n")
    with pytest.raises(StudyError) as caught:
        load_study(path)
    assert str(caught.value).splitlines() == [
        f"{path}:1:24: base.model.layers: 0 is not possible; it must be at least 1",
        f"{path}:2:1: seed: is unknown; did you mean seeds?",
    ]
    assert isinstance(caught.value, ValueError)


def test_an_error_of_many_mistakes_is_cut_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("seeds: [" + "x, " * 150 + "]")
    with pytest.raises(StudyError, match=r"and 50 more mistakes$") as caught:
        load_study(path)
    assert len(caught.value.mistakes) == 150


def test_a_missing_file_is_told_without_a_line(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"absent\.yaml: cannot be read: No such file"):
        load_study(tmp_path / "absent.yaml")


def test_a_name_with_capitals_or_spaces_is_refused(tmp_path: Path) -> None:
    mistakes = mistakes_in(tmp_path, "seeds: 1\n", "My Study.yaml")
    assert [(mistake.line, mistake.message[:31]) for mistake in mistakes] == [(0, "'My Study' is no name for a stu")]


def test_other_encodings_and_large_files_are_refused(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("seeds: 1\nhypothesis: naïve\n".encode("latin-1"))
    with pytest.raises(StudyError, match=r"latin\.yaml:2:15: byte 0xef is not UTF-8"):
        load_study(latin)
    large = tmp_path / "large.yaml"
    large.write_text("#" * 1_000_001)
    with pytest.raises(StudyError, match=r"has more than 1,000,000 bytes; that is no study file"):
        load_study(large)
    endless = tmp_path / "endless.yaml"
    endless.symlink_to("/dev/zero")
    with pytest.raises(StudyError, match="is no regular file"):
        load_study(endless)


def test_aliases_that_blow_up_are_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    mistakes = mistakes_in(tmp_path, "\n".join(lines))
    assert [mistake.message for mistake in mistakes if "50,000" in mistake.message] == [
        "has more than 50,000 values once its aliases are written out"
    ]


def test_deep_nesting_is_one_mistake(tmp_path: Path) -> None:
    mistakes = mistakes_in(tmp_path, "base: " + "[" * 3000 + "]" * 3000)
    assert [mistake.message for mistake in mistakes] == ["is nested too deeply"]
