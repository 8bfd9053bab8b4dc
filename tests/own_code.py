"""Code from outside that tests name in studies: a task, a probe with a helper, a searcher and a figure."""

from __future__ import annotations

from pathlib import Path

TASK = """\
import dataclasses
from dataclasses import dataclass

import numpy as np

from grokstudy.trainables.options import option
from grokstudy.trainables.randomness import Stream
from grokstudy.trainables.tasks.two_hop import TwoHop, TwoHopOptions


@dataclass(frozen=True, kw_only=True)
class Options(TwoHopOptions):
    noise: float = option(0.0, "share of the trained chains whose answer is drawn at random", ge=0, lt=1)


class Parity(TwoHop):
    Options = Options

    @classmethod
    def build(cls, options, seed, max_examples):
        data = TwoHop.build(options, seed, max_examples)
        chains = np.flatnonzero(data.train.bridge >= 0)
        order = Stream(seed, "noise").permutation(len(chains))
        wrong = chains[order[: round(options.noise * len(chains))]]
        answer = data.train.answer.copy()
        answer[wrong] = Stream(seed, "noise/answer").integers(data.entities, len(wrong))
        return dataclasses.replace(data, train=dataclasses.replace(data.train, answer=answer))
"""
HELPERS = """\
def doubled(value):
    return 2 * value
"""
PROBE = """\
from helpers import doubled

from grokstudy.trainables.measurements import measures


@measures("logit_norm", of_graph=True)
def probe(scene):
    norm_MS = doubled(scene.clean_logits_MSV.norm(dim=-1))
    yield from scene.rows("logit_norm", None, norm_MS, scene.queries.real_MS)
"""
SEARCHER = '''\
from dataclasses import dataclass

from grokstudy.orchestrator.search.base import AllAtOnce, corners
from grokstudy.trainables.options import option


@dataclass(frozen=True, kw_only=True)
class CornersOptions:
    """Options of the corners."""

    most: int = option(2, "most points", ge=1)


class Corners(AllAtOnce):
    """The first corners of the space."""

    Options = CornersOptions

    @classmethod
    def count(cls, axes, options):
        return min(options.most, len(corners(axes)))

    def preview(self):
        return corners(self.axes)[: self.options.most]
'''
FIGURE = """\
import altair as alt
import polars as pl

from grokstudy.analysis.figures.theme import Figure


def figure(tables):
    rows = tables.probes.filter(pl.col("probe") == "logit_norm").select("step", "value", "trial_id").collect()
    chart = alt.Chart(rows).mark_line().encode(x="step:Q", y="value:Q", color="trial_id:N")
    return [Figure("logit_norm", chart, rows, "How large the logits are.")]
"""
FILES = {"parity.py": TASK, "helpers.py": HELPERS, "my_probe.py": PROBE, "mine.py": SEARCHER, "fig.py": FIGURE}
STUDY = """\
hypothesis: it is measured with code of one's own
base:
  task: ./parity.py:Parity
  data: {entities: 20, relations: 8, out_degree: 5, ood_fraction: 0.2, phi: 2.0, noise: 0.1}
  model: {layers: 1, width: 16, heads: 2}
  train: {steps: 20, batch: 32, checkpoint_every: 10}
  eval: {every: 10, probes: ["./my_probe.py:probe"]}
space:
  data.exposure: [natural, both_hops]
search: {kind: "./mine.py:Corners", most: 2}
figures: ["./fig.py:figure"]
events:
  large: {metric: logit_norm, split: train_ii, at_least: 3}
"""


def put(folder: Path, study: str = STUDY, **files: str) -> Path:
    """Write a study and its code into a folder; returns the study file. `files` replace those of the same stem."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {**FILES, **{f"{stem}.py": text for stem, text in files.items()}}.items():
        (folder / name).write_text(text)
    path = folder / "own.yaml"
    path.write_text(study)
    return path
