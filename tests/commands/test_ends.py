"""How commands end from outside: interrupted at any moment, without a terminal, without streams."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from injury import until
from synthetic import build_tracked, run_id

from grokstudy.orchestrator import cli
from grokstudy.orchestrator.commands import run as run_command
from grokstudy.orchestrator.commands.report import Drawn
from grokstudy.orchestrator.tracking import follow
from grokstudy.trainables.storage.store import Store

STUDY = """\
hypothesis: it ends well
base:
  data: {entities: 20, relations: 8, out_degree: 5, ood_fraction: 0.2, phi: 2.0}
  model: {layers: 1, width: 16, heads: 2}
  train: {steps: 20, batch: 32, checkpoint_every: 10}
  eval: {every: 10, probes: []}
space:
  data.exposure: [natural]
"""
BINARY = Path(sys.executable).parent / "grokstudy"


@pytest.fixture(autouse=True)
def handlers() -> Any:
    """The signals are the tests' own again afterwards."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(STUDY)
    return path


def ended(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    """The exit code of a command in this process."""
    monkeypatch.setattr(sys, "argv", ["grokstudy", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def interrupting(*numbers: signal.Signals) -> Callable[..., None]:
    """Something that is interrupted as soon as it is called."""

    def stop(*_: object, **__: object) -> None:
        for number in numbers:
            signal.raise_signal(number)

    return stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("phase", "told", "again"),
    [
        ("read_study", "nothing was trained yet", "grokstudy run "),
        ("draw_report", "the runs are settled, the answer was not drawn", "grokstudy run "),
        ("syncing_beside", "the answer is drawn, MLflow was not", "grokstudy mlflow sync tiny --root "),
    ],
)
def test_every_phase_of_a_run_is_interrupted_with_a_word(
    study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    phase: str,
    told: str,
    again: str,
) -> None:
    if phase == "syncing_beside":
        monkeypatch.setattr(run_command, phase, lambda *_: contextlib.nullcontext(interrupting(number)))
        monkeypatch.setattr(run_command, "draw_report", lambda *_, **__: Drawn("", [], []))
    else:
        monkeypatch.setattr(run_command, phase, interrupting(number))
    assert ended(monkeypatch, "run", study, "--local", "--root", tmp_path / "root") == 3
    said = capsys.readouterr().err
    assert f"interrupted ({told}" in said
    assert f"Nothing is lost; resume with:\n  {again}" in said
    assert not (tmp_path / "root" / "driver.json").exists()


@pytest.mark.parametrize("followed", [[], ["a process"]])
def test_runs_that_were_shown_as_running_are_not_left_so(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, followed: list[str]
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(follow, "followed", lambda *_, **__: contextlib.nullcontext(followed))
    monkeypatch.setattr(run_command, "try_to_sync", lambda _, name: synced.append(name))
    words: list[str | Path] = ["run", study, "--local", "--max-hours", "0", "--root", tmp_path / "root"]
    assert ended(monkeypatch, *words) == 3
    assert synced == ["tiny" for _ in followed]


def test_an_interrupted_answer_is_drawn_by_the_same_command(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "root/studies/tiny/report/index.html"
    monkeypatch.setattr(run_command, "syncing_beside", lambda *_: contextlib.nullcontext(lambda: None))
    words: list[str | Path] = ["run", study, "--local", "--root", tmp_path / "root"]
    assert ended(monkeypatch, *words, "--steps", "10") == 0
    with monkeypatch.context() as interrupted:
        interrupted.setattr(run_command, "draw_report", interrupting(signal.SIGINT))
        assert ended(monkeypatch, *words) == 3
    assert not page.exists(), "an answer to the shorter runs does not pass for this one"
    assert ended(monkeypatch, *words) == 0
    assert page.exists()
    assert "nothing to do" not in capsys.readouterr().out


def test_a_second_interrupt_ends_at_once(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_command, "_train", interrupting(signal.SIGINT))
    monkeypatch.setattr("grokstudy.orchestrator.execution.driver.Driver.state", Twice())
    assert ended(monkeypatch, "run", study, "--local", "--root", tmp_path / "root") == 3
    assert "stopping\ninterrupted (at once" in capsys.readouterr().err
    assert not (tmp_path / "root" / "driver.json").exists()


class Twice:
    """A state that can be asked for once; the second time it is interrupted."""

    def __init__(self) -> None:
        from grokstudy.orchestrator.execution.driver import Driver

        self._state, self._asked = Driver.state, 0

    def __get__(self, driver: Any, _: object) -> Callable[[], Any]:
        def state() -> Any:
            self._asked += 1
            if self._asked == 2:
                signal.raise_signal(signal.SIGINT)
            return self._state(driver)

        return state


def test_an_interrupt_while_workers_are_starting_is_no_traceback(study: Path, tmp_path: Path) -> None:
    """A terminal's Ctrl-C reaches every process of it, also those that are still importing."""
    words = [str(BINARY), "run", str(study), "--local", "--workers", "2", "--root", str(tmp_path / "root")]
    study.write_text(STUDY.replace("[natural]", "[natural, both_hops]").replace("steps: 20", "steps: 20000"))
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(words, **streams, start_new_session=True) as command:
        until(lambda: any("spawn_main" in words for words in of_session(command.pid)), "a worker process")
        os.killpg(command.pid, signal.SIGINT)
        said = command.communicate(timeout=120)[0]
    assert command.returncode == 3, said
    assert "Traceback" not in said
    assert "Nothing is lost; resume with:" in said


def of_session(leader: int) -> list[str]:
    """The command lines of a session's processes."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(entry.name)) == leader:
                found.append((entry / "cmdline").read_text())
    return found


def test_other_commands_say_a_word_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr("grokstudy.orchestrator.root.verify.verify", interrupting(signal.SIGINT))
    assert ended(monkeypatch, "verify", "--root", tmp_path) == 3
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("command", ["verify", "gc"])
def test_a_file_that_goes_meanwhile_is_told_as_somebody_else_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    root = build_tracked(tmp_path / "root", seeds=1)
    (root / f"runs/{run_id(0)}/checkpoints").mkdir()
    going = root / f"runs/{run_id(0)}/checkpoints/step-000000100-{0:016x}.pt"
    going.write_bytes(b"")
    read = Store.read

    def read_late(store: Store, path: str) -> bytes:
        if path.endswith(".pt"):
            going.unlink()
        return read(store, path)

    monkeypatch.setattr(Store, "read", read_late)
    assert ended(monkeypatch, command, "--root", root) == 2
    said = capsys.readouterr().err
    assert "a file went while it was looked at" in said
    assert f"another command is at work on this root; {command} again after it" in said


def test_faults_beside_a_driver_are_told_as_perhaps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = build_tracked(tmp_path / "root", seeds=1)
    (root / "stray.txt").write_text("")
    driver = {"study": "s", "host": socket.gethostname(), "pid": os.getppid(), "token": "x", "beat": 3}
    Store(root).write_json("driver.json", driver)
    assert ended(monkeypatch, "verify", "--root", root) == 1
    said = capsys.readouterr().err
    assert f"note: study 's' is being driven by process {os.getppid()}" in said
    assert "verify again when it is done" in said


def shell(line: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """A line of bash, in which "$@" is the command."""
    command = ["bash", "-c", line, "bash", str(BINARY), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-", "| head -1; exit ${PIPESTATUS[0]}"])
def test_closed_streams_are_no_error(tmp_path: Path, closed: str) -> None:
    root = build_tracked(tmp_path / "root", seeds=1)
    done = shell(f'"$@" {closed}', "query", "SELECT * FROM evals", "--csv", "--root", root)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_the_output_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    root = build_tracked(tmp_path / "root", seeds=1)
    done = shell('"$@" > /dev/full', "query", "SELECT count(*) FROM evals", "--root", root)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "<stdout>: No space left on device; free space where the output goes, or send it elsewhere" in done.stderr
    assert "--root" not in done.stderr


def test_a_question_that_nobody_can_answer_is_told(study: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert shell('"$@"', "run", study, "--local", "--no-report", "--root", root).returncode == 0
    study.write_text(STUDY.replace("phi: 2.0", "phi: 1.5"))
    done = shell('"$@" <&-', "run", study, "--local", "--no-report", "--root", root)
    assert done.returncode == 2
    assert "To go on with what was changed, add --yes" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_name_too_long_is_told_at_once(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROKSTUDY_PATIENCE_S", "50")
    for command in ("run", "status"):
        done = shell('"$@"', command, study, "--root", tmp_path / ("x" * 300))
        assert done.returncode == 2
        assert "the name is too long" in done.stderr
    assert not list(Store(tmp_path).list("runs"))
