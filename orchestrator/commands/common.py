"""What the commands share: options, exit codes, reading a study, saying what is wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from grokstudy.orchestrator.commands.complete import studies, study_files
from grokstudy.trainables.messages import first_line, printable

if TYPE_CHECKING:
    from grokstudy.orchestrator.study.study import Study
    from grokstudy.trainables.storage.store import Store
    from grokstudy.trainables.storage.study_dir import StudyDir

DONE, SOME_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 3
"""Exit codes."""

Root = Annotated[str, typer.Option("--root", envvar="GROKSTUDY_ROOT", help="Folder or URI (s3://...) of all results.")]
StudyFile = Annotated[
    Path,
    typer.Argument(
        help="Study file, or the name of one in studies/ or of a shipped one.",
        show_default=False,
        autocompletion=study_files,
    ),
]
StudyName = Annotated[
    str, typer.Argument(help="Name of a study in the root, or its file.", show_default=False, autocompletion=studies)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Training length instead of the study's.")]
First = Annotated[int | None, typer.Option("--first", min=1, help="Only the first so many trials.")]
Cpu = Annotated[float | None, typer.Option("--cpu", min=0.0, help="CPU cores of a worker instead of the study's.")]
Gpu = Annotated[float | None, typer.Option("--gpu", min=0.0, help="GPUs of a worker instead of the study's.")]
Local = Annotated[
    bool | None,
    typer.Option(
        "--local/--ray",
        help="Train on this machine without Ray, or with Ray Tune; by itself, without for what takes about a minute.",
        show_default=False,
    ),
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Workers at a time instead of the study's.")]


CodeAsBefore = Annotated[
    bool,
    typer.Option(
        "--code-as-before",
        help="Code from outside as the study's last run had it, kept in the root, whatever its files hold now.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="OPTION=VALUE",
        help="Replace an option of base, e.g. train.batch=512; may be given several times.",
        show_default=False,
    ),
]


def say(text: str, err: bool = False) -> None:
    """Print text for people: what a label or a marker of a stranger holds does not steer the terminal."""
    typer.echo(printable(text), err=err)


def emit(text: str, newline: bool = True) -> None:
    """Print what a program reads, or a file, as it is."""
    typer.echo(text, nl=newline)


def stop(message: str) -> NoReturn:
    """Say what is wrong on standard error and exit as bad input."""
    plain = os.environ.get("NO_COLOR") or not sys.stderr.isatty()
    typer.secho(printable(message), err=True, fg=None if plain else typer.colors.RED)
    raise typer.Exit(BAD_INPUT)


def study_file(study: Path) -> Path:
    """The file that is meant: the path itself, else studies/NAME.yaml here, else the shipped study of this name."""
    from grokstudy.orchestrator.shipped import near, shipped_studies

    shipped, local = shipped_studies(), Path("studies", f"{study}.yaml")
    for path in (study, local, shipped.get(str(study))):
        if path is not None and path.exists() and not path.is_dir():
            return path
    if study.exists():
        return study  # a folder: reading it says so
    if study_name(str(study)) == str(study):
        known = [*shipped, *(path.stem for path in Path("studies").glob("*.yaml"))]
        remedy = near(str(study), sorted(set(known)))
        stop(f"{study}: is neither a file, nor one of studies/ here ({local}), nor a shipped study; {remedy}")
    if study.stem in shipped:
        stop(f"{study}: there is no such file; the shipped study of this name is read by its name alone: {study.stem}")
    return study


def study_name(study: str) -> str:
    """The name of a study that was given by its name or by its file."""
    named = study.endswith((".yaml", ".yml")) or "/" in study
    return study.rpartition("/")[2].removesuffix(".yaml").removesuffix(".yml") if named else study


def read_study(
    path: Path,
    cpu: float | None = None,
    gpu: float | None = None,
    workers: int | None = None,
    settings: Sequence[str] | None = None,
    code_of_root: str | None = None,
) -> Study:
    """Read a study, as `study_file` finds it, or stop with its mistakes.

    The numbers replace its resources, `settings` (`train.batch=512`) its options. With `code_of_root`, code from
    outside is what this root keeps of the study's last run.
    """
    from grokstudy.orchestrator.study.errors import StudyError
    from grokstudy.orchestrator.study.load import load_study

    path = study_file(path)
    try:
        before = None if code_of_root is None else kept_code(code_of_root, path.stem)
        study = load_study(path, settings or (), before)
    except StudyError as error:
        stop(str(error))
    except OSError as error:
        stop(f"{path}: {error.strerror or error}")
    given = {"cpu": cpu, "gpu": gpu, "workers": workers}
    changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(study, resources=dataclasses.replace(study.resources, **changed))


def kept_code(root: str, study: str) -> dict[str, str]:
    """Make the code of a study's last run known, as the root keeps it; its full names by word."""
    from grokstudy.trainables.storage.study_dir import StudyDir

    folder = StudyDir(existing(root), study)
    names = folder.code_names()
    if not names:
        stop(f"{folder.store.uri}: keeps no code of a study {study!r}; leave out --code-as-before")
    folder.load_code(names.values())
    return names


def study_of(
    study: Path, store: Store, settings: Sequence[str] | None = None, code_of_root: str | None = None
) -> Study:
    """The study of a file; of a name that no file has, as the root keeps it from when it was run last."""
    from grokstudy.orchestrator.shipped import shipped_studies
    from grokstudy.trainables.storage.study_dir import NAME, StudyDir

    name = str(study)
    is_file = study.exists() or Path("studies", f"{name}.yaml").exists() or name in shipped_studies()
    text = "" if is_file or not NAME.fullmatch(name) else StudyDir(store, name).read_text()
    if not text:
        return read_study(study, settings=settings, code_of_root=code_of_root)
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, f"{name}.yaml")
        kept.write_text(text, encoding="utf-8")
        return read_study(kept, settings=settings, code_of_root=code_of_root)


def warn_of(warnings: Iterable[str]) -> None:
    """Name on standard error what was left out of an answer, and end as partly failed if there is any."""
    lines = list(dict.fromkeys(warnings))
    for line in lines:
        say(f"warning: {line}", err=True)
    if lines:
        raise typer.Exit(SOME_FAILED)


def existing(root: str) -> Store:
    """Open a root that must be there."""
    from grokstudy.trainables.storage.store import Store

    store = Store(root)
    if not store.exists(""):
        stop(f"{store.uri}: there is no such root; name it with --root or GROKSTUDY_ROOT")
    return store


def existing_study(root: str, study: str) -> StudyDir:
    """The folder of a study that must be there, given by its name or its file. Costs no import of torch."""
    from grokstudy.trainables.storage.study_dir import StudyDir

    folder = StudyDir(existing(root), study_name(study))
    try:
        folder.read_spec()
    except (ValueError, FileNotFoundError) as error:
        stop(str(error))
    return folder


@contextlib.contextmanager
def driving(store: Store, what: str, freeing: bool = False) -> Iterator[None]:
    """Keep drivers away from a root meanwhile, or stop if there is one at work. See `driver_lock` for `freeing`."""
    from grokstudy.orchestrator.execution.lock import RootBusyError, driver_lock

    try:
        with driver_lock(store, what, freeing):
            yield
    except RootBusyError as error:
        stop(str(error))


@contextlib.contextmanager
def beside_a_writer(store: Store, command: str) -> Iterator[None]:
    """Where a file vanishes between its listing and its reading, say that somebody else is at work on this root."""
    try:
        yield
    except FileNotFoundError as error:
        writer = writer_of(store) or "another command is at work on this root"
        stop(
            f"{store.uri}: a file went while it was looked at ({first_line(error)}): {writer}; {command} again after it"
        )


def writer_of(store: Store) -> str | None:
    """Who drives this root now, in words; None when nobody does, or when it is this process."""
    from grokstudy.orchestrator.execution.lock import driver_of

    holder = driver_of(store)
    if holder is None or holder["pid"] == os.getpid():
        return None
    return f"study {holder['study']!r} is being driven by process {holder['pid']} on {holder['host']}"
