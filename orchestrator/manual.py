"""The manual of the commands, made from their help: `python -m grokstudy.orchestrator.manual > docs/commands.md`."""

from __future__ import annotations

from typing import Any

import typer

from grokstudy.orchestrator.cli import app

HEAD = """\
# Commands

Made from the help texts by `python -m grokstudy.orchestrator.manual > docs/commands.md`; a test compares.

Results go to standard output, errors with their remedy to standard error. Exit codes: 0 done, 1 some runs failed or
a check found faults, 2 bad input, 3 interrupted and resumable. `NO_COLOR` turns colours off; output that does not go
to a terminal is not cut to its width. `grokstudy --install-completion` teaches the shell to complete commands.
"""


def manual() -> str:
    """The whole manual as Markdown."""
    group: Any = typer.main.get_command(app)
    return "\n".join([HEAD, *(_section(name, command) for name, command in group.commands.items())])


def _section(name: str, command: Any) -> str:
    about = " ".join((command.help or "").split())
    parameters = [parameter for parameter in command.params if parameter.name != "help"]
    arguments = [parameter for parameter in parameters if parameter.param_type_name == "argument"]
    usage = " ".join([f"grokstudy {name}", *(_placeholder(argument) for argument in arguments), "[OPTIONS]"])
    rows = [f"| {_name(parameter)} | {_about(parameter)} |" for parameter in parameters]
    table = ["| | |", "|---|---|", *rows, ""] if rows else []
    return "\n".join([f"## {name}", "", about, "", f"`{usage}`", "", *table, f"{command.epilog}", ""])


def _placeholder(argument: Any) -> str:
    if argument.metavar:
        return str(argument.metavar)
    word = str(argument.name).upper()
    shown = f"{word}..." if argument.nargs == -1 else word
    return shown if argument.required else f"[{shown}]"


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_placeholder(parameter)}`"
    return ", ".join(f"`{word}`" for word in [*parameter.opts, *parameter.secondary_opts])


def _about(parameter: Any) -> str:
    """Help, default and environment variable in one cell."""
    default = parameter.default
    default_text = "" if default in (None, False, "") or parameter.required else f" Default: `{default}`."
    if default is True:
        default_text = " On by default."
    variable = f" Also by `{parameter.envvar}`." if parameter.envvar else ""
    return f"{parameter.help or ''}{default_text}{variable}".replace("|", "\\|")


if __name__ == "__main__":
    print(manual(), end="")
