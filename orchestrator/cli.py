"""The command line `grokstudy`: the commands of the registry, put together."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Annotated

import typer

from grokstudy.orchestrator.commands import COMMANDS, EXAMPLES, GROUPS
from grokstudy.orchestrator.commands.common import BAD_INPUT, INTERRUPTED, say
from grokstudy.orchestrator.commands.ends import close_streams, leave, open_streams
from grokstudy.trainables.messages import first_line, warn_in_words

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Studies of how transformers learn to reason: a study file in, trained runs and an answer out.",
    epilog="Exit codes: 0 done, 1 some runs failed, 2 bad input, 3 interrupted and resumable.",
)

for group, names in GROUPS.items():
    for name in names:
        app.command(name, epilog=f"Example: {EXAMPLES[name]}", rich_help_panel=group)(COMMANDS[name])


def _say_version(flag: bool) -> None:
    if flag:
        from importlib.metadata import version

        say(f"grokstudy {version('grokstudy')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Say the version and exit.", callback=_say_version, is_eager=True)
]


@app.callback()
def _options(version: Version = False) -> None:
    """Options of the command line itself."""


REMEDIES = {
    FileNotFoundError: "is the name right, and is the folder there?",
    PermissionError: "may this account write there?",
    NotADirectoryError: "there is a file where a folder is needed; is --root right?",
}
OUTPUTS = ("<stdout>", "<stderr>")


def _message(error: ValueError | OSError) -> str:
    """What went wrong in one line, with what to do about it."""
    if not isinstance(error, OSError) or type(error).__module__ != "builtins":
        return str(error)
    named = f"{error.filename}: {error.strerror}"
    text = named if error.filename else re.sub(r"^\[Errno \d+\] ", "", first_line(error, 1000))
    remedy = REMEDIES.get(type(error), "is --root right, and does its storage answer?")
    if error.filename in OUTPUTS:
        remedy = "free space where the output goes, or send it elsewhere"
    return f"{text}; {remedy} (GROKSTUDY_TRACEBACK=1 shows where)"


CLICK_INTERRUPTED = 130
"""How typer ends on Ctrl-C, without a word."""


def main() -> None:
    """Entry point of the `grokstudy` command."""
    open_streams()
    warn_in_words()
    try:
        _command()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except SystemExit as ended:
        with contextlib.suppress(OSError):
            close_streams()
        leave(ended.code if isinstance(ended.code, int) else INTERRUPTED)
        raise


def _command() -> None:
    """Run the command, and say in a line what ended it."""
    try:
        try:
            app()
        finally:
            close_streams()
    except SystemExit as ended:
        if ended.code != CLICK_INTERRUPTED:
            raise
        say("interrupted", err=True)
        raise SystemExit(INTERRUPTED) from None
    except KeyboardInterrupt:
        say("interrupted", err=True)
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        from grokstudy.trainables.plugins import at_fault, told
        from grokstudy.trainables.storage.store import DamagedError, RefusedError, StorageError

        if os.environ.get("GROKSTUDY_TRACEBACK"):
            raise
        if at_fault(error):
            say(told(error), err=True)
            raise SystemExit(BAD_INPUT) from None
        if not isinstance(error, DamagedError | OSError):
            raise
        say(_message(error), err=True)
        passing = isinstance(error, StorageError) and not isinstance(error, RefusedError)
        raise SystemExit(INTERRUPTED if passing else BAD_INPUT) from None
