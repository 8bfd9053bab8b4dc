"""From the command to the prompt: forty short runs, by us and by what a person would write for them, in one call.

    python -m benchmarks.startup [ROUNDS]

Each way is a process of its own, from its start to its end, that trains the same forty runs of 50 steps (width 16, the
default task) and keeps the loss of every step and the accuracy of each split before and after:

- `loop`: one run after the other, the good module of `anchors`, a CSV file a run;
- `joblib`: the same function, by `Parallel` over the cores;
- `optuna`: the same, as an objective over a grid of seeds;
- `tune`: the same, as a trainable of `Tuner`, a core each;
- `local`, `ray`: `grokstudy run`, with and without `--local`, with report and MLflow; `_untold`: `--no-report`.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

RUNS, STEPS, WIDTH = 40, 50, 16
STUDY = f"""\
base:
  model: {{width: {WIDTH}}}
  train: {{steps: {STEPS}}}
  eval: {{every: {STEPS}, probes: []}}
seeds: {RUNS}
"""
OURS = {"local": ["--local"], "local_untold": ["--local", "--no-report"], "ray": [], "ray_untold": ["--no-report"]}
AT_MOST = {"local": 1.3, "local_untold": 1.3}
"""Of the loop's time."""
RAY_SLACK_S = 10.0
"""And Ray's start, over the loop."""


def train(seed: int, folder: str = ".") -> dict[str, float]:
    """One run, as a person would write it; gives the last accuracies."""
    import torch
    import torch.nn.functional as F

    from benchmarks.anchors import GoodDecoder
    from grokstudy.trainables.config import RunConfig
    from grokstudy.trainables.tasks import TASKS

    config = RunConfig.from_dict({"seed": seed, "model": {"width": WIDTH}, "train": {"steps": STEPS}})
    data = TASKS[config.task].build(config.data, seed, config.eval.max_examples)
    splits = {
        name: [torch.from_numpy(column) for column in (split.tokens, split.answer_at, split.answer)]
        for name, split in {"train": data.train, **data.splits}.items()
    }
    tokens, at, answer = splits.pop("train")
    torch.manual_seed(seed)
    model = GoodDecoder(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.optim.lr, weight_decay=config.optim.weight_decay)

    @torch.no_grad()
    def accuracies() -> dict[str, float]:
        return {
            name: (model(tokens, at).argmax(-1) == answer).float().mean().item()
            for name, (tokens, at, answer) in splits.items()
        }

    rows: list[dict[str, float]] = [{"step": 0, **accuracies()}]
    for step in range(1, STEPS + 1):
        word = torch.randint(len(answer), (config.train.batch,))
        loss = F.cross_entropy(model(tokens[word], at[word]), answer[word])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        rows.append({"step": step, "loss": loss.item()})
    last = accuracies()
    rows[-1].update(last)
    with Path(folder, f"{seed}.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["step", "loss", *last])
        table.writeheader()
        table.writerows(rows)
    return last


def loop() -> None:
    """One after the other."""
    for seed in range(RUNS):
        train(seed)


def by_joblib() -> None:
    """By joblib over the cores."""
    from joblib import Parallel, delayed

    Parallel(n_jobs=-1)(delayed(train)(seed) for seed in range(RUNS))


def by_optuna() -> None:
    """As Optuna's documentation writes a grid."""
    import optuna

    study = optuna.create_study(sampler=optuna.samplers.GridSampler({"seed": range(RUNS)}))
    study.optimize(lambda trial: train(trial.suggest_int("seed", 0, RUNS - 1))["test_oo"], n_trials=RUNS)


def by_tune() -> None:
    """As Ray Tune's documentation writes a grid."""
    from ray import tune

    folder = str(Path.cwd())

    def objective(config: dict[str, int]) -> None:
        tune.report(train(config["seed"], folder))

    tune.Tuner(
        objective,
        param_space={"seed": tune.grid_search(list(range(RUNS)))},
        run_config=tune.RunConfig(storage_path=folder),
    ).fit()


THEIRS: dict[str, Callable[[], None]] = {"loop": loop, "joblib": by_joblib, "optuna": by_optuna, "tune": by_tune}


def seconds(name: str, folder: Path) -> float:
    """Of one way, in an empty folder, from the start of its process to its end."""
    folder.mkdir()
    (folder / "forty.yaml").write_text(STUDY)
    python = [sys.executable, "-m"]
    words = ["grokstudy", "run", "forty.yaml", *OURS[name]] if name in OURS else ["benchmarks.startup", name]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.getenv("PYTHONPATH", "")])}
    begun = time.perf_counter()
    with Path(folder, "output").open("w") as output:
        subprocess.run([*python, *words], cwd=folder, env=here, check=True, stdout=output, stderr=subprocess.STDOUT)
    return time.perf_counter() - begun


def main(rounds: int) -> None:
    """All ways in turn, a few rounds, after two that warm what a machine keeps of files that are read."""
    from benchmarks.scratch import scratch
    from grokstudy.trainables.bench.measure import figure

    folder = scratch()
    for name in ("local", "ray"):
        seconds(name, folder / f"{name}-first")
    took: dict[str, list[float]] = {name: [] for name in (*THEIRS, *OURS)}
    for number in range(rounds):
        for name, walls in took.items():
            walls.append(seconds(name, folder / f"{name}-{number}"))
    about = {"runs": RUNS, "steps": STEPS}
    for name, walls in took.items():
        figure(name, walls, "seconds from start to end", **about)
    for name in OURS:
        ratios = [ours / theirs for ours, theirs in zip(took[name], took["loop"], strict=True)]
        figure(f"{name}_over_loop", ratios, "times", at_most=AT_MOST.get(name), **about)
    for name in ("ray", "ray_untold"):
        over = [ours - theirs for ours, theirs in zip(took[name], took["loop"], strict=True)]
        figure(f"{name}_beyond_loop", over, "seconds", at_most=RAY_SLACK_S, **about)


if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) > 1 else "3"
    THEIRS[name]() if name in THEIRS else main(int(name))
