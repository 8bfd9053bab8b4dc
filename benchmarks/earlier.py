"""Steps of a two-hop run by this checkout against those by an earlier commit, in turns.

    python -m benchmarks.earlier [COMMIT]

Each side trains in a process of its own, one thread each; the commit is checked out into a folder that is removed. By
default it is the last one before the loop asked the task what an example is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.scratch import scratch
from grokstudy.trainables.bench.measure import ratio, speeds

BEFORE_TASKS = "f5341d2"
HERE = Path(__file__).resolve().parents[1]
TRAINS = """\
import json, sys, tempfile
import torch
from grokstudy.trainables.config import RunConfig
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.training.pack import Pack
torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as folder:
    engine, step = Pack([RunConfig.from_dict(json.loads(sys.argv[1]))], Store(folder), "cpu", 1).engine, 0
    for line in sys.stdin:
        engine.train(step, step + int(line))
        step += int(line)
        print(step, flush=True)
"""


class Side:
    """A process that trains on request."""

    def __init__(self, checkout: Path, config: dict[str, object]) -> None:
        """Start it with the code of a checkout."""
        command = [sys.executable, "-c", TRAINS, json.dumps(config)]
        self.process = subprocess.Popen(
            command, cwd=checkout, env={"PYTHONPATH": str(checkout)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def train(self, steps: int) -> None:
        """So many steps, waited for."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        self.process.stdout.readline()


def main() -> None:
    """Print a ratio for each width."""
    commit, folder = (sys.argv[1:] or [BEFORE_TASKS])[0], scratch() / "earlier"
    git = ["git", "-C", str(HERE), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
    try:
        for width, batch in ((32, 256), (64, 256)):
            config: dict[str, object] = {"model": {"width": width}, "train": {"batch": batch}, "eval": {"probes": []}}
            sides = {"now": Side(HERE, config), "earlier": Side(folder, config)}
            found = speeds({name: side.train for name, side in sides.items()}, seconds=1.0, rounds=25)
            ratio("engine/now_vs_earlier", found, "now", "earlier", at_least=0.98, commit=commit, width=width)
            for side in sides.values():
                side.process.kill()
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


if __name__ == "__main__":
    main()
