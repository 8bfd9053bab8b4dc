"""The command line where it is used: in a terminal, in a pipe, in a script, and when the shell completes a word."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from synthetic import build_tracked, run_id
from typer.testing import CliRunner

from grokstudy.orchestrator.cli import app
from grokstudy.orchestrator.commands import COMMANDS

BINARY = Path(sys.executable).parent / "grokstudy"
COLOUR = re.compile(r"\x1b\[[\d;]*(3[0-7]|4[0-7]|9[0-7])(;\d+)*m")
SEQUENCE = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = build_tracked(tmp_path_factory.mktemp("terminal"), seeds=1)
    CliRunner().invoke(app, ["report", "regimes", "--root", str(root)])
    return root


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "GROKSTUDY_ROOT")}
    return {**kept, "TERM": "xterm-256color", **more}


def in_terminal(*words: str, columns: int = 80, **more: str) -> str:
    """What a terminal of this width is sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    known = environment(**more)
    process = subprocess.Popen([str(BINARY), *words], stdin=theirs, stdout=theirs, stderr=theirs, env=known)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how the end of a terminal is told
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    process.wait(timeout=60)
    return shown.decode().replace("\r\n", "\n")


def completed(root: Path, *words: str) -> list[str]:
    """What bash offers for the last word."""
    line = {"COMP_WORDS": " ".join(["grokstudy", *words]), "COMP_CWORD": str(len(words))}
    asked = environment(_GROKSTUDY_COMPLETE="complete_bash", GROKSTUDY_ROOT=str(root), **line)
    done = subprocess.run([str(BINARY)], capture_output=True, text=True, env=asked, check=False, cwd=root)
    assert done.stderr == ""
    return done.stdout.split()


def test_the_shell_completes_commands_options_studies_and_runs(root: Path) -> None:
    (root / "studies" / "mine.yaml").write_text("")
    assert completed(root, "mlf") == ["mlflow"]
    assert {"--root", "--rebuild", "--json"} <= set(completed(root, "mlflow", "--"))
    for command in ("report", "watch", "mlflow", "export", "compare"):
        assert completed(root, command, "reg") == ["regimes"], command
    assert completed(root, "query", "--study", "r") == ["regimes"]
    assert completed(root, "run", "studies/m") == completed(root, "plan", "studies/") == ["studies/mine.yaml"]
    assert completed(root, "logs", run_id(3)) == [run_id(3)]
    assert len(completed(root, "logs", "00")) == 4
    assert completed(root, "logs", "--root", str(root / "absent"), "00") == []
    (root / "studies" / "mine.yaml").unlink()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_the_shell_can_be_shown(shell: str) -> None:
    shown = subprocess.run(
        [str(BINARY), "--show-completion", shell], capture_output=True, text=True, env=environment(), check=True
    )
    assert "_GROKSTUDY_COMPLETE" in shown.stdout


def test_colours_go_to_terminals_only_and_only_if_they_are_wanted(root: Path) -> None:
    for words in (["--help"], ["run", "--nosuch"]):
        assert COLOUR.search(in_terminal(*words))
        assert not COLOUR.search(in_terminal(*words, NO_COLOR="1"))
    for words in (["--help"], ["compare", "regimes", "--root", str(root)], ["run", "--nosuch"]):
        done = subprocess.run([str(BINARY), *words], capture_output=True, text=True, env=environment(), check=False)
        assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "words",
    [("watch", "regimes", "--once"), ("compare", "regimes", run_id(1)), ("query", "SELECT * FROM trials")],
)
def test_text_fits_a_narrow_terminal_and_is_whole_in_a_pipe(root: Path, words: tuple[str, ...]) -> None:
    shown = SEQUENCE.sub("", in_terminal(*words, columns=60, GROKSTUDY_ROOT=str(root)))
    tables = [line for line in shown.splitlines() if str(root) not in line]  # a path is never cut
    assert max(map(len, tables), default=0) <= 60
    piped = subprocess.run(
        [str(BINARY), *words], capture_output=True, text=True, env=environment(GROKSTUDY_ROOT=str(root)), check=False
    )
    assert "…" not in piped.stdout
    assert piped.returncode in (0, 1)


def asked(root: Path, *words: str) -> Any:
    return CliRunner().invoke(app, [*words, "--root", str(root)])


def test_every_command_that_prints_a_table_prints_it_as_json_too(root: Path) -> None:
    commands = {name for name in COMMANDS if "--json" in asked(root, name, "--help").stdout}
    assert commands == {
        "plan", "run", "measure", "extend", "status", "watch", "report", "compare", "query", "logs", "mlflow", "verify",
        "list", "show", "gc", "import-curves", "doctor", "simulate", "audit",
    }  # fmt: skip
    for words in (
        ("watch", "regimes", "--once"), ("report", "regimes"), ("compare", "regimes", run_id(1)),
        ("query", "SELECT seed FROM trials"), ("logs", run_id(0)), ("verify",), ("gc", "--dry-run"), ("list",),
    ):  # fmt: skip
        done = asked(root, *words, "--json")
        assert isinstance(json.loads(done.stdout), list | dict), words
        assert done.stderr == ""


def test_quiet_commands_say_nothing_but_errors(root: Path, tmp_path: Path) -> None:
    tar = str(tmp_path / "r.tar")
    for words in (
        ("report", "regimes"), ("report", "regimes", "--figure", "lead"), ("compact",), ("gc",),
        ("new", "one", "--folder", str(tmp_path)),
    ):  # fmt: skip
        here = [] if words[0] == "new" else ["--root", str(root)]
        done = CliRunner().invoke(app, [*words, *here, "--quiet"])
        assert (done.exit_code, done.output) == (0, ""), words
    damaged = asked(root, "export", "regimes", tar, "-q")  # made up, so that no run has a configuration
    assert (damaged.exit_code, damaged.stdout) == (1, "")
    assert {line.split(":")[0] for line in damaged.stderr.splitlines()} == {"warning"}
    bad = asked(root, "report", "absent", "-q")
    assert (bad.exit_code, bad.stdout) == (2, "")
    assert "studies here: regimes" in bad.stderr
    curves = tmp_path / "c.csv"
    curves.write_text("trial,step,a\nx,1,0.5\n")
    event = ("--event", "half=accuracy/test_oo>=0.5")
    imported = ("import-curves", str(curves), "--name", "c", "--mapping", "a=accuracy/test_oo", *event)
    assert asked(tmp_path / "one", *imported, "-q").output == ""
    assert asked(tmp_path / "one", "export", "c", tar, "-q").output == ""
    assert asked(tmp_path / "other", "import", tar, "-q").output == ""
    (root / "metrics/evals/foreign.txt").write_text("")
    faulty = asked(root, "verify", "-q")
    (root / "metrics/evals/foreign.txt").unlink()
    assert (faulty.exit_code, faulty.output) == (1, "")


def test_what_the_system_refuses_is_told_in_one_line_with_the_remedy(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    study = tmp_path / "s.yaml"
    study.write_text("hypothesis: one\n")
    for words, said in (
        (["export", "regimes", str(tmp_path / "no/r.tar"), "--root", str(root)], "is the folder there?"),
        (["compare", "regimes", "--html", str(tmp_path / "no/p.html"), "--root", str(root)], "is the folder there?"),
        (["plan", str(study), "--root", str(tmp_path / "file")], "is --root right?"),
        (["new", "one", "--folder", "/proc"], "is the folder there?"),
    ):
        done = subprocess.run([str(BINARY), *words], capture_output=True, text=True, env=environment(), check=False)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert said in done.stderr
    told = environment(GROKSTUDY_TRACEBACK="1")
    done = subprocess.run([str(BINARY), *words], capture_output=True, text=True, env=told, check=False)
    assert "Traceback" in done.stderr
