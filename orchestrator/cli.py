"""The command line `grokstudy`: the commands of the registry, put together."""

from __future__ import annotations

import typer

from orchestrator.commands import COMMANDS, EXAMPLES
from orchestrator.commands.common import BAD_INPUT, INTERRUPTED

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Studies of how transformers learn to reason: a study file in, trained runs and an answer out.",
    epilog="Exit codes: 0 done, 1 some runs failed, 2 bad input, 3 interrupted and resumable.",
)

for name, function in COMMANDS.items():
    app.command(name, epilog=f"Example: {EXAMPLES[name]}")(function)


def main() -> None:
    """Entry point of the `grokstudy` command."""
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except (ValueError, OSError) as error:
        from trainables.store import DamagedError, StorageError

        if not isinstance(error, DamagedError | StorageError):
            raise
        typer.echo(str(error), err=True)
        raise SystemExit(INTERRUPTED if isinstance(error, StorageError) else BAD_INPUT) from None
