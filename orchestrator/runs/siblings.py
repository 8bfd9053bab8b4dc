"""Runs of a root that have done the training of a run that is missing, and how much of it that saves.

Read only, and only when something is missing: run.json of each run of the root once, then checkpoints and state of
those that match. What they have is taken over by the worker (`trainables/training/adoption.py`).
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from grokstudy.orchestrator.runs.state import RunState, read_states
from grokstudy.orchestrator.runs.trials import Run
from grokstudy.trainables.config import NUMERICS, RunConfig, eval_steps
from grokstudy.trainables.storage.run_dir import CHECKPOINT, IMPORTED, RunDir, run_ids
from grokstudy.trainables.storage.siblings import Siblings
from grokstudy.trainables.storage.store import DamagedError, Store
from grokstudy.trainables.versions import installed

READERS = 8
"""Threads that read run.json from an object store."""
Training = tuple[str, bool, str | None]
"""What must be equal for steps to be the same to the bit: training_id, whether they are compiled, version of torch."""


@dataclass(frozen=True)
class Share:
    """The steps that a run lacks, by where they come from. Together with others in a pack, a run may jump less."""

    trained: int = 0
    replayed: int = 0
    """Trained before by a sibling, and carried out again for the states in between."""
    jumped: int = 0
    """Passed over from one checkpoint of a sibling to the next."""

    @property
    def measured(self) -> bool:
        """Whether the training is there already to its end."""
        return not self.trained

    def __add__(self, other: Share) -> Share:
        return Share(self.trained + other.trained, self.replayed + other.replayed, self.jumped + other.jumped)


class Trainings:
    """The trainings of a root. Each run is read when it is first seen, how far it is whenever it could serve."""

    def __init__(self, store: Store, engine: str) -> None:
        """Nothing is read before something is missing. `engine` is that of the study."""
        self.store = store
        self._how = engine == "compile", installed("torch").get("torch")
        self._seen: set[str] = set()
        self._by_training: dict[Training, list[str]] = {}
        self._states: dict[str, RunState] = {}

    def joined(self, runs: list[Run]) -> list[Run]:
        """The same runs, each with its siblings, those that have come furthest first."""
        if runs:
            self._read_new()
        groups = {run.run_id: self._siblings_of(run) for run in runs}
        steps = dict.fromkeys((i for siblings in groups.values() for i in siblings), 0)
        self._states = read_states(self.store, steps, scheduler_stops=True)
        in_order = {run_id: sorted(ids, key=lambda i: -self._states[i].step) for run_id, ids in groups.items()}
        return [dataclasses.replace(run, siblings=Siblings(tuple(in_order[run.run_id]))) for run in runs]

    def shares(self, runs: Iterable[Run], states: Mapping[str, RunState]) -> dict[str, Share]:
        """What each of these runs lacks, by run_id, after `joined`; `states` say how far they are by themselves."""
        return {run.run_id: self._share(run, states[run.run_id].step) for run in runs}

    def _siblings_of(self, run: Run) -> list[str]:
        if run.config.trainable is not None:
            return []  # only the built-in loop can measure anew what was trained
        known = self._by_training.get((run.config.training_id, *self._how), [])
        return [run_id for run_id in known if run_id != run.run_id]

    def _read_new(self) -> None:
        new = [i for i in run_ids(self.store) if i not in self._seen and not i.startswith(IMPORTED)]
        self._seen |= {*new}
        with ThreadPoolExecutor(READERS) as pool:  # a local file is read sooner than a thread is asked
            trainings = map(self._training_of, new) if self.store.local else pool.map(self._training_of, new)
            for run_id, training in zip(new, trainings, strict=True):
                if training is not None:
                    self._by_training.setdefault(training, []).append(run_id)

    def _training_of(self, run_id: str) -> Training | None:
        """A run.json that is damaged, or of other numbers, tells of no training that could be taken over."""
        try:
            about = RunDir(self.store, run_id).read("run.json") or {}
            config = RunConfig.from_dict({"numerics": about.get("numerics", NUMERICS), **about["config"]})
            return config.training_id, about.get("engine") == "compile", about["versions"]["torch"]
        except (DamagedError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def _share(self, run: Run, start: int) -> Share:
        states = [self._states[run_id] for run_id in run.siblings.run_ids]
        end = min([run.config.train.steps, *(state.step for state in states if state.state == "diverged")])
        reached = max([start, *(min(state.step, end) for state in states)])
        names = [name for i in run.siblings.run_ids for name in self.store.list(RunDir(self.store, i).checkpoints)]
        saved = sorted({int(match["step"]) for name in names if (match := CHECKPOINT.search(name))})
        jumped, step = 0, start
        for stop in eval_steps(run.config.eval, end) if saved else ():
            if stop > step:
                nearest = bisect.bisect_right(saved, stop) - 1
                jumped += max(0, saved[nearest] - step) if nearest >= 0 else 0
                step = stop
        return Share(max(0, end - reached), reached - start - jumped, jumped)
