"""An audit: a sample of a study's runs, trained again elsewhere. The one writer of `studies/<name>/audit.json`.

The root does not say in which pack and on how many threads a run was trained, so each is trained again in two ways of
which one at least is another: alone on one thread, and in a pack of two on two threads; by the engine that trained it,
unless another is asked for, since each rounds in its own way. All of it happens in a process of its own and in roots
that are thrown away; what is recorded is only read. Verdicts: `orchestrator/runs/repetition.py`.
"""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from grokstudy.analysis.tables.study import NO_START, RESULT_STATES, StudyTables, load
from grokstudy.orchestrator.execution.bundle import HEARTBEAT_S, Bundle
from grokstudy.orchestrator.runs.repetition import beyond_seeds, verdict
from grokstudy.trainables.config import NUMERICS, RunConfig
from grokstudy.trainables.plugins import code_of
from grokstudy.trainables.storage.retention import KEEP
from grokstudy.trainables.storage.run_dir import OURS, RunDir
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import AUDIT_LABELS, StudyDir
from grokstudy.trainables.training.stepper import Mode, engine_again
from grokstudy.trainables.versions import git_commit, installed

Json = dict[str, Any]


@dataclass(frozen=True)
class Condition:
    """How a run is trained again."""

    members: int
    """Runs in the pack, itself included."""
    threads: int
    """That torch may use."""

    def __str__(self) -> str:
        how = "alone" if self.members == 1 else f"in a pack of {self.members}"
        return f"{how} on {self.threads} thread{'s' if self.threads > 1 else ''}"


CONDITIONS = (Condition(1, 1), Condition(2, 2))
WAITING = "OMP_WAIT_POLICY"
"""Read by a process when it loads torch."""


@dataclass(frozen=True)
class Sampled:
    """A run that is trained again."""

    trial_id: str
    run: RunDir
    config: RunConfig
    """With the length to which it is trained again."""
    engine: Mode
    """How its steps were carried out."""
    partner: RunConfig
    """What is beside it in a pack: a run of the study that has its shape, else itself with the next seed."""


@dataclass(frozen=True)
class Sample:
    """The runs of a study that are trained again."""

    tables: StudyTables
    runs: tuple[Sampled, ...]
    of: int
    """Runs of the study that ended with a result."""

    @property
    def steps(self) -> int:
        """Steps of the sample's runs together, in one condition and without partners."""
        return sum(sampled.config.train.steps for sampled in self.runs)


def draw(store: Store, study: str, fraction: float, steps: int | None = None) -> Sample:
    """Draw a share of the runs, at least one: the same at every draw, since it follows from the study's name.

    With `steps`, they are trained no further than that. Raises FileNotFoundError where there is no such study,
    ValueError where it has not ended or cannot be trained again, and DamagedError.
    """
    tables = load(store.uri, study)
    if tables.spec.get("spec_hash") == "":
        raise ValueError(f"{study}: holds curves from elsewhere, and nothing here can train them again")
    states = tables.trials.collect()["state"]
    open_ = states.filter(~states.is_in([*RESULT_STATES, NO_START, "failed"]))
    if len(open_):
        counts = ", ".join(f"{state} {count}" for state, count in open_.value_counts().sort("state").iter_rows())
        told = f"{len(open_)} of {len(states)} trials have not ended ({counts})"
        raise ValueError(f"{study}: {told}; grokstudy run {study} ends them, audit it then")
    folder = StudyDir(store, study)
    folder.load_code(folder.code_names().values())
    results = tables.results.select("trial_id", "run_id", "horizon").collect()
    longest = {run_id: (trial_id, horizon) for trial_id, run_id, horizon in results.sort("horizon").iter_rows()}
    if not longest:
        raise ValueError(f"{study}: no trial ended with a result, so there is nothing to train again")
    configs = {run_id: _config(RunDir(store, run_id)) for run_id in sorted(longest)}
    drawn = sorted(longest, key=lambda run_id: hashlib.sha256(f"{study}/{run_id}".encode()).digest())
    runs = []
    for run_id in drawn[: max(1, math.ceil(fraction * len(drawn) - 1e-9))]:
        trial_id, horizon = longest[run_id]
        config = _shortened(configs[run_id], _length(RunDir(store, run_id), horizon, steps))
        alike = [other for key, other in configs.items() if key != run_id and other.shape() == config.shape()]
        partner = next(iter(alike), RunConfig.from_dict({**config.to_dict(), "seed": config.seed + 1}))
        run = RunDir(store, run_id)
        engine = engine_again(run.read("run.json") or {})
        runs.append(Sampled(trial_id, run, config, engine, partner.with_steps(config.train.steps)))
    return Sample(tables if steps is None else tables.until(steps), tuple(runs), len(longest))


def _config(run: RunDir) -> RunConfig:
    config = run.config()
    if config is None:
        raise ValueError(f"{run.store.uri}: run {run.run_id} has no run.json; grokstudy verify says what else is wrong")
    if config.numerics != NUMERICS:
        told = f"was trained by numerics {config.numerics}, these are {NUMERICS}"
        raise ValueError(f"{run.store.uri}: run {run.run_id} {told}, so it cannot be trained again; train it anew")
    return config


def _length(run: RunDir, horizon: int, steps: int | None) -> int:
    """How far a run is trained again: as far as the study asked for, or to where a scheduler stopped it."""
    done = run.read("DONE.json") or {}
    end = min(horizon, done["step"]) if done.get("reason") == "stopped" else horizon
    return end if steps is None else min(end, steps)


def _shortened(config: RunConfig, steps: int) -> RunConfig:
    if steps != config.train.steps and not config.prefix_stable:
        told = (
            f"cannot be trained again to step {steps:,} alone: a shorter training of it is no beginning of a longer one"
        )
        raise ValueError(f"run {config.run_id} {told}; leave out --steps")
    return config.with_steps(steps)


def audit(store: Store, sample: Sample, gpu: bool, engine: Mode | None = None) -> Json:
    """Train the sample again, by this engine where one is given, compare, and write down what came of it.

    Returns that.
    """
    if engine is not None:
        sample = replace(sample, runs=tuple(replace(sampled, engine=engine) for sampled in sample.runs))
    engines = sorted({sampled.engine for sampled in sample.runs})
    name = sample.tables.name
    with tempfile.TemporaryDirectory(prefix="grokstudy-audit-") as aside:
        roots = {condition: Store(f"{aside}/{condition.members}") for condition in CONDITIONS}
        bundles = [
            _bundle(name, [sampled for sampled in sample.runs if sampled.engine == of], condition, root, gpu)
            for condition, root in roots.items()
            for of in engines
        ]
        code = _in_a_process(bundles)
        rows = [_row(sample, one, condition, roots[condition], code) for one in sample.runs for condition in roots]
    known = [row["verdict"] for row in rows if row["verdict"] is not None]
    result = {
        "study": name,
        "label": max(known, key=AUDIT_LABELS.index, default=None),
        "runs": rows,
        "sampled": len(sample.runs),
        "of": sample.of,
        "versions": installed("torch", "numpy"),
        "commit": git_commit(),
    }
    store.write_json(StudyDir(store, name).audit, result)
    return result


def _bundle(study: str, runs: Sequence[Sampled], condition: Condition, root: Store, gpu: bool) -> Bundle:
    """What the process is given of the runs of one engine, with the runs that others start from."""
    packs = []
    for sampled in runs:
        _put_sources(sampled.run.store, root, sampled.config)
        in_pack = condition.members > 1 and sampled.config.trainable is None  # a training function trains one alone
        if in_pack:
            _put_sources(sampled.run.store, root, sampled.partner)
        packs.append([sampled.config, sampled.partner] if in_pack else [sampled.config])
    folder = StudyDir(runs[0].run.store, study)
    code = {name: code_of(name) for name in folder.code_names().values()}
    return Bundle(
        code=tuple(code.values()), root=root.uri, packs=packs, sizes=[{}] * len(packs), cpu=float(condition.threads),
        gpu=float(gpu), max_failures=0, keep=KEEP, engine=runs[0].engine,
    )  # fmt: skip


def _put_sources(store: Store, root: Store, config: RunConfig) -> None:
    """Copy the run that this one starts from, and the one that that one does."""
    start = config.start
    while start is not None:
        source = RunDir(store, start.run_id)
        for path in filter(OURS.fullmatch, store.list(source.folder, recursive=True)):
            root.write(path, store.read(path))
        described = source.config()
        start = None if described is None else described.start


def _in_a_process(bundles: list[Bundle]) -> int | None:
    """Train them in a process that is not this one; returns its exit code.

    Its threads sleep while they wait for each other: where other work takes a core, spinning makes steps 10 times as
    long.
    """
    process = multiprocessing.get_context("spawn").Process(target=_train, args=(bundles,), name="grokstudy-audit")
    before = os.environ.get(WAITING)
    os.environ[WAITING] = before or "passive"
    try:
        process.start()
    finally:
        os.environ.pop(WAITING)
        os.environ |= {WAITING: before} if before is not None else {}
    try:
        process.join()
    finally:
        process.terminate()  # on Ctrl-C: what it writes is thrown away
        process.join()
    return process.exitcode


def _train(bundles: list[Bundle]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's reaches it, too: whoever started it ends it
    for bundle in bundles:
        queue = bundle.open()
        while not queue.finished:
            queue.advance(HEARTBEAT_S)
        if queue.halt is not None:
            raise OSError(queue.halt)


def _row(sample: Sample, sampled: Sampled, condition: Condition, root: Store, code: int | None) -> Json:
    """What came of one run in one condition; without a verdict where it could not be trained to its end."""
    run, config = RunDir(root, sampled.run.run_id), sampled.config
    about = (sampled.run.read("run.json") or {}).get("versions") or {}
    how = Condition(1, condition.threads) if config.trainable is not None else condition
    row = {"run_id": run.run_id, "trial_id": sampled.trial_id, "condition": str(how), **asdict(how)}
    row |= {"engine": sampled.engine, "steps": config.train.steps, "recorded_torch": about.get("torch")}
    unknown: Json = {"verdict": None, "first": None, "beyond": []}
    if not run.has("DONE.json"):
        failed = run.read("FAILED.json")
        why = f"the process ended with exit code {code}" if failed is None else failed["error"]
        return {**row, **unknown, "error": why}
    beyond = beyond_seeds(sample.tables, sample.tables.repeated(root), sampled.trial_id)
    found = verdict(sampled.run, run, config, config.train.steps, beyond)
    return {**row, "verdict": found.label, "first": found.first, "beyond": list(found.beyond), "error": None}
