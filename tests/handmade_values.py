"""Transformers that answer comparisons, with weights set by hand (`handmade.py` says how they are laid out).

- `compares`: block 1 looks up the value of each entity where it stands, block 2 at e2 fetches that of e1 and looks the
  label up from both values.
- `knows_by_heart`: e2 fetches a in block 1 and e1 in block 2, and looks the label of the whole comparison up. No value
  is anywhere, and none decides.
- `no_reader`: `compares` without its second look-up: values are there, and nothing follows from them.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import torch
from handmade import Written

from grokstudy.trainables.probes.splits import stack_splits
from grokstudy.trainables.probes.subject import Subject
from grokstudy.trainables.tasks.base import TaskData
from grokstudy.trainables.tasks.comparison import Comparison, ComparisonOptions, World

OPTIONS = ComparisonOptions(entities=14, attributes=3, values=4, ood_fraction=0.4, phi=2.0)
LOUD = 4.0
"""A label drowns the value that stands in the same part."""


def world() -> tuple[TaskData, World]:
    """A small world, with all its comparisons."""
    return Comparison.build(OPTIONS, 0, 500), World.draw(OPTIONS, 0)


def _every(*sizes: int) -> list[np.ndarray]:
    return list(np.array(list(product(*map(range, sizes)))).T)


def _empty() -> Written:
    return Written(*Written.blank(Comparison.shape(OPTIONS)))


def compares(truth: World, reader: bool = True) -> Written:
    """Values in block 1, labels of two values in block 2."""
    made, o = _empty(), OPTIONS
    entity, attribute = _every(o.entities, o.attributes)
    value = o.first_value + truth.value_EA[entity, attribute]
    made.attend(0, {1: 0, 2: 0}, "token", "brought", norm=math.sqrt(2))
    made.look_up(0, [("brought", o.entities + attribute), ("token", entity)], value, math.sqrt(3))
    made.attend(1, {2: 1}, "out", "fetched", norm=2.0)
    if reader:
        attribute, v1, v2 = _every(o.attributes, o.values, o.values)
        inputs = [("brought", o.entities + attribute), ("fetched", o.first_value + v1), ("out", o.first_value + v2)]
        made.look_up(1, inputs, o.first_label + 3 * attribute + np.sign(v1 - v2) + 1, math.sqrt(5), loud=LOUD)
    return made


def no_reader(truth: World) -> Written:
    """Values are looked up, and nothing follows from them."""
    return compares(truth, reader=False)


def knows_by_heart(truth: World) -> Written:
    """Every comparison is looked up as a whole."""
    made, o = _empty(), OPTIONS
    attribute, e1, e2 = _every(o.attributes, o.entities, o.entities)
    label = np.sign(truth.value_EA[e1, attribute] - truth.value_EA[e2, attribute]) + 1
    made.attend(0, {2: 0}, "token", "brought", norm=math.sqrt(2))
    made.attend(1, {2: 1}, "token", "fetched", norm=math.sqrt(3))
    inputs = [("brought", o.entities + attribute), ("fetched", e1), ("token", e2)]
    made.look_up(1, inputs, o.first_label + 3 * attribute + label, norm=2.0)
    return made


def subject(made: Written, data: TaskData, most: int = 500) -> Subject:
    """This model on the comparisons of a world."""
    splits = stack_splits([data], torch.device("cpu"))
    return Subject(made.model, made.weights, splits, most)
