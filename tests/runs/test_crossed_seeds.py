"""Seeds of graph, initialisation and order apart: what each of them decides, and where their spread is told."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
import torch
from typer.testing import CliRunner

from grokstudy.analysis.compare.compare import settings
from grokstudy.analysis.compare.select import side
from grokstudy.analysis.contrasts import findings
from grokstudy.analysis.tables.study import load
from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.runs.status import run_records
from grokstudy.orchestrator.runs.trials import all_trials
from grokstudy.orchestrator.study.errors import StudyError
from grokstudy.orchestrator.study.load import load_study
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.models import build
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.tasks import TASKS
from grokstudy.trainables.training.batches import TrainingSet

CROSSED = """\
hypothesis: which of them decides?
base:
  data: {entities: 20, relations: 4, out_degree: 4, phi: 2.0}
  model: {layers: 1, loops: 1, width: 16, heads: 2}
  optim: {lr: 0.02, warmup: 1}
  train: {steps: 24, batch: 16, checkpoint_every: 24}
  eval: {every: 2, probes: [], max_examples: 50}
seeds: {graph: 2, init: [0, 2]}
events:
  falls: {metric: loss, split: train_ii, at_most: 2.9}
  never: {metric: loss, split: train_ii, at_most: 0.001}
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file: Path = tmp_path_factory.mktemp("crossed") / "crossed.yaml"
    file.write_text(CROSSED)
    return file


def configs(path: Path, seeds: str) -> list[RunConfig]:
    path.write_text(CROSSED.replace("{graph: 2, init: [0, 2]}", seeds))
    return [trial.config for trial in all_trials(load_study(path))]


def test_each_seed_decides_its_own_part_and_no_other(tmp_path: Path) -> None:
    """Data, first weights and words of the batches, of every combination of two seeds each."""
    file = tmp_path / "apart.yaml"
    found = []
    for config in configs(file, "{graph: 2, init: 2, order: 2}"):
        data = TASKS[config.task].build(config.data, config.seed, 50)
        weights = build(config.model, config.example).initial(config.starting_seed)
        words = TrainingSet.of([config], [data], torch.device("cpu")).words(0, 3, 16)
        found.append((data.hash, weights, words))
    first = found[0]
    for number, (data_hash, weights, words) in enumerate(found):
        graph, init, order = number // 4, number // 2 % 2, number % 2
        assert (data_hash == first[0]) == (graph == 0)
        assert torch.equal(weights, first[1]) == (init == 0)
        assert torch.equal(words, first[2]) == (order == 0)


def test_equal_seeds_are_the_run_of_that_one_seed(tmp_path: Path) -> None:
    """So that crossing an old study trains its own runs only where they are others."""
    file = tmp_path / "same.yaml"
    plain = [config.run_id for config in configs(file, "[0, 1, 2]")]
    crossed = configs(file, "{graph: 3, init: 3, order: 3}")
    assert [crossed[13 * seed].run_id for seed in range(3)] == plain
    assert len({config.run_id for config in crossed}) == 27
    for config in crossed:
        assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert crossed[13].to_dict()["seed"] == 1
    assert {"init_seed", "order_seed"}.isdisjoint(crossed[13].to_dict())


@pytest.mark.parametrize(
    ("seeds", "key", "message"),
    [
        ("{graph: 2, weights: 3}", "seeds.weights", "is unknown"),
        ("{graph: 0}", "seeds.graph", "must be a list such as [0, 1, 2], or how many (1 to 1,000), not 0"),
        ("{init: [1, 1]}", "seeds.init[1]", "1 is already in the list"),
        ("{order: [1000]}", "seeds.order[0]", "use whole numbers from 0 to 999"),
        ("{graph: 100, init: 100, order: 2}", "seeds", "come to 20,000 combinations; at most 10,000"),
        ("few", "seeds", "or {graph: 2, init: 3, order: 2} to cross them"),
    ],
)
def test_wrong_ones_are_told_at_their_place(tmp_path: Path, seeds: str, key: str, message: str) -> None:
    with pytest.raises(StudyError) as refused:
        configs(tmp_path / "wrong.yaml", seeds)
    (mistake,) = refused.value.mistakes
    assert (mistake.key, mistake.line) == (key, 8)
    assert message in mistake.message


def test_the_spread_is_told_and_runs_have_their_seeds_in_their_names(path: Path, tmp_path: Path) -> None:
    words = ["run", str(path), "--root", str(tmp_path), "--local", "--workers", "1", "--quiet", "--no-report"]
    assert CliRunner().invoke(app, words).exit_code == 0
    tables = load(str(tmp_path), "crossed")
    trials = tables.trials.select("seed", "^seed\\..*$").collect().rows()
    assert trials == [(0, 0, 0, 0), (2000, 0, 2, 0), (1_000_000, 1, 0, 0), (1_002_000, 1, 2, 0)]
    names = [record.name for record in run_records(Store(tmp_path), "crossed")]
    assert names == [f"graph {graph}, init {init}, order 0" for graph in (0, 1) for init in (0, 2)]
    (spread,) = [finding.rows for finding in findings(tables) if finding.title.startswith("Spread")]
    told = spread.filter(pl.col("event") == "falls")
    assert told["part"].to_list() == ["graph", "init", "together"]
    assert told["n"].to_list() == [4, 4, 4]
    times = tables.events.filter(pl.col("event") == "falls").sort("seed").collect()["time"].log10().to_numpy()
    both = times.reshape(2, 2).mean(axis=1)
    graph, _, together = told["spread"].to_list()
    assert together > 0
    assert graph**2 == pytest.approx(max(0.0, both.var(ddof=1) - together**2 / 2))
    assert told["share"].sum() == pytest.approx(1.0)
    sides = [side(str(tmp_path), f"crossed:seed={seed}") for seed in (0, 1_002_000)]
    assert settings(sides).is_empty(), "seeds are no settings"
    (unseen,) = spread.filter(pl.col("event") == "never").to_dicts()
    assert (unseen["came"], unseen["n"], unseen["spread"]) == (0, 4, None)
