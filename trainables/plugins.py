"""Code from outside: a file beside a study, or a module of an installed package, named together with its content.

A full name is `./parity.py:Parity@<digest>` or `package.module:Parity@<digest>`. The digest (sha256, 16 hex digits) is
over the file and everything that it imports from the same folder, or package, so that a name says what code is meant:
in a run's configuration it keeps curves of edited code apart, and two studies with files of one name do not meet.

What is imported is the text that was read when the name was given, in this process and in every worker: a file that is
edited meanwhile changes nothing that runs. `Code` brings its text along when it is pickled. Imports among the files
are turned into imports of that text; everything else is imported as always.

A file of data that an option names (`options.DataFile`) is treated alike: `./facts.json@<digest>`, with what the option
reads of it in place of the text.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from grokstudy.trainables.options import DataFile

ROOT = "grokstudy_code"
"""The package under which the text is imported, by digest."""
NAME = re.compile(
    r"(?P<place>\./(?:[A-Za-z_]\w*/)*[A-Za-z_]\w*\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)"
    r":(?P<thing>[A-Za-z_]\w*)@(?P<digest>[0-9a-f]{16})"
)
DATA_PATH = r"(?:[A-Za-z0-9_][A-Za-z0-9_-]*/)*[A-Za-z0-9_][A-Za-z0-9_-]*\.(?:json|jsonl|csv|tsv|txt)"
"""Paths of files of data, from the study's folder."""
DATA = re.compile(rf"(?P<place>\./{DATA_PATH})@(?P<digest>[0-9a-f]{{16}})")
"""A full name of a file of data."""
MOST_BYTES, MOST_DATA = 1_000_000, 2_000_000
"""Of one plug-in's files (more is a library, to be installed), and of what is read of a file of data."""
OURS = "grokstudy"


class PluginError(ValueError):
    """Code from outside that cannot be used, and why; the message may have several lines."""


@dataclass(frozen=True)
class Code:
    """The text of a plug-in's files by their path below `home`."""

    files: Mapping[str, str]
    home: str
    """Where they were read; only messages and debuggers look there."""

    @cached_property
    def digest(self) -> str:
        """16 hex digits of sha256 over paths and texts."""
        return hashlib.sha256(json.dumps(sorted(self.files.items())).encode()).hexdigest()[:16]

    def is_of(self, name: str) -> bool:
        """Whether it is the code of a full name."""
        return name.rpartition("@")[2] == self.digest

    @property
    def package(self) -> str:
        """The package that the files are imported as."""
        return f"{ROOT}.c{self.digest}"

    def file_of(self, module: Sequence[str]) -> str | None:
        """The file of a module; None where there is none, as for a folder without __init__.py."""
        stem = "/".join(module)
        return next((path for path in (f"{stem}.py", f"{stem}/__init__.py") if path in self.files), None)

    def has_folder(self, module: Sequence[str]) -> bool:
        """Whether there are files in a folder of this name."""
        return not module or any(path.startswith("/".join(module) + "/") for path in self.files)

    def place(self, path: str) -> str:
        """The file as tracebacks name it."""
        return f"{self.home}/{path}"

    def __reduce__(self) -> tuple[Any, ...]:
        return known, (dict(self.files), self.home)


_CODES: dict[str, Code] = {}


def known(files: Mapping[str, str], home: str) -> Code:
    """Make code importable in this process, under its digest; what was known before stays as it is."""
    code = Code(files, home)
    return _CODES.setdefault(code.digest, code)


def code_of(name: str) -> Code:
    """The code of a full name. Raises PluginError when this process does not have it."""
    match = NAME.fullmatch(name) or DATA.fullmatch(name)
    if match is None or match["digest"] not in _CODES:
        what = "content" if is_data(name) else "code"
        raise PluginError(f"{word_of(name)}: its {what} ({name.rpartition('@')[2]}) is not here")
    return _CODES[match["digest"]]


def is_known(name: object) -> bool:
    """Whether this process has the code of a full name."""
    match = NAME.fullmatch(name) if isinstance(name, str) else None
    return match is not None and match["digest"] in _CODES


def is_full(name: object) -> bool:
    """Whether a name says which code is meant, known or not."""
    return isinstance(name, str) and NAME.fullmatch(name) is not None


def is_data(name: object) -> bool:
    """Whether a name says which content of a file of data is meant, known or not."""
    return isinstance(name, str) and DATA.fullmatch(name) is not None


def is_here(name: str) -> bool:
    """Whether this process has the content of a file of data, by its full name."""
    match = DATA.fullmatch(name)
    return match is not None and match["digest"] in _CODES


def word_of(name: str) -> str:
    """A name without its digest, as a person wrote it."""
    return name.rpartition("@")[0] if is_full(name) or is_data(name) else name


def text_of(name: str) -> str:
    """What was read of a file of data, by its full name. Raises PluginError when this process does not have it."""
    (text,) = code_of(name).files.values()
    return text


def load(name: str) -> Any:
    """What a full name leads to. Raises PluginError, with the traceback of the user's frames."""
    code, (place, thing) = code_of(name), word_of(name).rsplit(":", 1)
    module = _dotted(place)
    try:
        loaded = importlib.import_module(f"{code.package}.{module}")
    except (Exception, SystemExit) as error:
        raise PluginError(f"{word_of(name)} cannot be imported:\n{told(error)}") from error
    if not hasattr(loaded, thing):
        own = [key for key, value in vars(loaded).items() if getattr(value, "__module__", "") == loaded.__name__]
        near = difflib.get_close_matches(thing, own, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"it defines {', '.join(own) or 'nothing'}"
        raise PluginError(f"{place} has no {thing!r}; {remedy}")
    return getattr(loaded, thing)


def from_file(word: str, folder: Path) -> str:
    """The full name of `./file.py:Thing` below a folder; its code is known afterwards. Raises PluginError."""
    path, colon, thing = word.partition(".py:")
    path = f"{path}.py" if colon else word
    if not thing.isidentifier():
        raise PluginError(f"names a file and nothing in it; write {path}:Name")
    parts = _inside(path, folder, f":{thing}")
    relative = "/".join(parts)
    if not all(part.removesuffix(".py").isidentifier() for part in parts):
        raise PluginError(f"{relative} is no name that Python can import; use letters, digits and _")
    code = known(*_read(folder, _dotted(f"./{relative}").split("."), None))
    return f"./{relative}:{thing}@{code.digest}"


def from_data(word: str, folder: Path, file: DataFile) -> str:
    """The full name of a file of data below a folder; what is read of it is known afterwards. Raises PluginError."""
    relative = "/".join(_inside(word, folder, ""))
    path = folder / relative
    if not is_data(f"./{relative}@{'0' * 16}"):
        raise PluginError(f"{relative} is no name for a file of data; use letters, digits, _ and -, as in facts.json")
    try:
        text = file.read(path.read_bytes())
    except FileNotFoundError:
        raise PluginError(f"there is no file {path}; {file.absent}") from None
    except OSError as error:
        raise PluginError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise PluginError(f"{path} {error}") from error
    if len(text.encode()) > MOST_DATA:
        size = f"{len(text.encode()):,} bytes of what is needed, and at most {MOST_DATA:,} travel with the work"
        raise PluginError(f"{path} holds {size}; make a smaller file of a part of it")
    return f"./{relative}@{known({relative: text}, str(folder)).digest}"


def _inside(path: str, folder: Path, behind: str) -> list[str]:
    """The parts of a path from a folder that stays in it. Raises PluginError."""
    if path.startswith(("/", "~")):
        raise PluginError(f"must be a path from the study's folder {folder}, as in ./{Path(path).name}{behind}")
    parts = [part for part in path.split("/") if part != "."]
    if ".." in parts:
        raise PluginError(f"lies outside the study's folder {folder}; copy the file there, so that it can travel")
    return parts


def from_module(place: str) -> str:
    """The full name of `package.module:Thing` of an installed package, likewise. Raises PluginError."""
    module, _, thing = place.partition(":")
    parts = module.split(".")
    try:
        spec = importlib.util.find_spec(parts[0])
    except (ImportError, ValueError):
        spec = None
    if spec is None or not thing.isidentifier():
        raise PluginError(f"leads to {place!r}, and there is no module {parts[0]!r} here; install its package anew")
    origin = Path(next(iter(spec.submodule_search_locations or ()), spec.origin or ""))
    code = known(*_read(origin.parent, parts, parts[0]))
    return f"{place}@{code.digest}"


def _dotted(place: str) -> str:
    return place.removeprefix("./").removesuffix(".py").replace("/", ".") if place.startswith("./") else place


def _read(home: Path, main: list[str], top: str | None) -> tuple[dict[str, str], str]:
    """The files that a module needs, of those below `home`; with `top`, only of the package of this name."""
    files: dict[str, str] = {}
    first = _found(home, main)
    if first is None:
        shown = "/".join(main) + ".py"
        names = sorted(path.name for path in (home / shown).parent.glob("*.py"))
        near = difflib.get_close_matches(Path(shown).name, names, n=1)
        raise PluginError(f"there is no file {home / shown}" + (f"; did you mean {near[0]}?" if near else ""))
    left = [first, *_packages(home, main)]
    while left:
        path = left.pop()
        if path in files:
            continue
        files[path] = _text(home, path)
        if sum(map(len, files.values())) > MOST_BYTES:
            raise PluginError(f"{home / path} and what it imports are more than {MOST_BYTES:,} bytes; install them")
        for module in _imported(_parsed(files[path], f"{home}/{path}"), tuple(path.split("/")[:-1])):
            if module[0] != OURS and top in (None, module[0]):
                left += [*_packages(home, module), *filter(None, [_found(home, module)])]
    return files, str(home)


def _found(home: Path, module: Sequence[str]) -> str | None:
    stem = "/".join(module)
    return next((path for path in (f"{stem}.py", f"{stem}/__init__.py") if (home / path).is_file()), None)


def _packages(home: Path, module: Sequence[str]) -> list[str]:
    """The __init__.py of the packages around a module."""
    folders = ("/".join(module[:depth]) for depth in range(1, len(module)))
    return [f"{folder}/__init__.py" for folder in folders if (home / folder / "__init__.py").is_file()]


def _text(home: Path, path: str) -> str:
    if not (home / path).resolve().is_relative_to(home.resolve()):
        raise PluginError(f"{home / path} is a link to {(home / path).resolve()}, outside {home}; copy the file there")
    try:
        return (home / path).read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise PluginError(f"{home / path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise PluginError(f"{home / path} cannot be read: {error.strerror or error}") from None


def _parsed(text: str, filename: str) -> ast.Module:
    try:
        return ast.parse(text, filename)
    except (SyntaxError, ValueError) as error:
        raise PluginError(f"is not valid Python:\n{_last(error)}") from None


def _imported(tree: ast.Module, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every module that a file may import, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = (*above, *(node.module.split(".") if node.module else ()))
            if base:
                yield base
            yield from ((*base, alias.name) for alias in node.names if alias.name != "*")


class _Finder(importlib.abc.MetaPathFinder):
    """Finds `grokstudy_code.c<digest>.<module>` in what this process knows."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        root, *rest = fullname.split(".")
        if root != ROOT:
            return None
        if not rest:
            return importlib.machinery.ModuleSpec(fullname, _Loader(None, None), is_package=True)
        code, module = _CODES.get(rest[0].removeprefix("c")), rest[1:]
        file = None if code is None else code.file_of(module)
        if code is None or (file is None and not code.has_folder(module)):
            return None
        is_package = file is None or file.endswith("__init__.py")
        origin = None if file is None else code.place(file)
        spec = importlib.machinery.ModuleSpec(fullname, _Loader(code, file), origin=origin, is_package=is_package)
        spec.has_location = file is not None
        return spec


class _Loader(importlib.abc.InspectLoader):
    """Runs the text of one file; a folder is an empty module."""

    def __init__(self, code: Code | None, file: str | None) -> None:
        self._code, self._file = code, file

    def get_source(self, fullname: str) -> str:
        """The text, for tracebacks where the file is gone."""
        return "" if self._code is None or self._file is None else self._code.files[self._file]

    def get_code(self, fullname: str) -> CodeType | None:
        """The text, compiled, its imports of other files of the code turned to their text."""
        if self._code is None or self._file is None:
            return compile("", "<folder>", "exec")
        place = self._code.place(self._file)
        tree = _Inward(self._code).visit(_parsed(self.get_source(fullname), place))
        compiled: CodeType = compile(ast.fix_missing_locations(tree), place, "exec", dont_inherit=True)
        return compiled


class _Inward(ast.NodeTransformer):
    """Turns `import helpers` into an import of the text that was read of helpers.py."""

    def __init__(self, code: Code) -> None:
        self._package = code.package
        self._tops = {path.split("/")[0].removesuffix(".py") for path in code.files}

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        imports = [name for alias in node.names for name in self._turned(alias)]
        return [ast.copy_location(ast.Import([alias]), node) for alias in imports]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:
        if not node.level and node.module and node.module.split(".")[0] in self._tops:
            node.module = f"{self._package}.{node.module}"
        return node

    def _turned(self, alias: ast.alias) -> list[ast.alias]:
        top, _, below = alias.name.partition(".")
        if top not in self._tops:
            return [alias]
        whole = ast.alias(f"{self._package}.{alias.name}", alias.asname or top)
        return [whole] if alias.asname or not below else [whole, ast.alias(f"{self._package}.{top}", top)]


if not any(type(finder).__name__ == "_Finder" and type(finder).__module__ == __name__ for finder in sys.meta_path):
    sys.meta_path.insert(0, _Finder())


def at_fault(error: BaseException) -> bool:
    """Whether an error went through code from outside."""
    return bool(_own_frames(error))


def told(error: BaseException) -> str:
    """An error of code from outside, as Python tells it, but for the frames that are not the user's."""
    head = ["Traceback (most recent call last), without frames of others:\n"] if _own_frames(error) else []
    return "".join([*head, *traceback.format_list(_own_frames(error))]) + _last(error)


def _last(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).rstrip()


def _own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    own = {code.place(path) for code in _CODES.values() for path in code.files}
    return [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in own]


def culprit(error: BaseException, names: Iterable[str]) -> str | None:
    """Which of these full names an error came from: the one of its last frame in code from outside."""
    frames = _own_frames(error)
    for name in names if frames else ():
        code = code_of(name)
        if any(frames[-1].filename == code.place(path) for path in code.files):
            return name
    return None
