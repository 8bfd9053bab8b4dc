"""Files under a root that is a local folder or any pyarrow URI (s3://, gs://). Every write is all or nothing.

Local: temporary name in the same folder, fsync, then an atomic rename. Object stores: one PUT.
Storage that fails for a while (full disk, lost connection) is tried again, ever more slowly, for GROKSTUDY_PATIENCE_S
seconds; then StorageError. What no waiting changes (a read-only file system, a name too long) is RefusedError at once.
A link below a local root that leads out of it is refused.
"""

from __future__ import annotations

import errno
import json
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pyarrow import fs

PATIENCE_S = 120.0
"""How long failing storage is tried again, unless GROKSTUDY_PATIENCE_S says otherwise."""
_LASTING = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
_REFUSALS = {
    errno.EROFS: "the file system is read-only; name another --root, or have it mounted for writing",
    errno.ENAMETOOLONG: "the name is too long for this file system; name another --root",
    errno.ELOOP: "links lead in a circle; repair them, or name another --root",
    errno.EINVAL: "this file system does not take such a name or write; name another --root",
    errno.ENXIO: "there is no such device; is --root right?",
    errno.ENODEV: "there is no such device; is --root right?",
    errno.ENOSYS: "this file system cannot do that; name another --root",
    errno.EOPNOTSUPP: "this file system cannot do that; name another --root",
}
"""Errors that no waiting changes, with what to do. All others may pass: a full disk is freed, a server comes back."""
_LASTING_TEXTS = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH")
_Result = TypeVar("_Result")


class StorageError(OSError):
    """The storage failed for longer than we wait. Nothing that was committed is lost."""


class RefusedError(StorageError):
    """The storage will never do what was asked of it, however long we wait."""


class DamagedError(ValueError):
    """A file of the root is not what was written there; the message names it and says what to do."""


class Store:
    """The files of one root. Paths are relative, with `/`; one that leaves the root raises ValueError."""

    def __init__(self, root: str | Path) -> None:
        """Open a root; nothing is created until the first write."""
        self.uri = str(root)
        if "://" in self.uri:
            self.fs, self.base = fs.FileSystem.from_uri(_one_put(self.uri))
        else:
            self.uri = str(Path(root).expanduser().resolve())
            self.fs, self.base = fs.LocalFileSystem(), self.uri
        self.local = isinstance(self.fs, fs.LocalFileSystem)
        self.patience_s = float(os.environ.get("GROKSTUDY_PATIENCE_S", PATIENCE_S))

    def path(self, relative: str) -> str:
        """Full path inside the file system."""
        parts = PurePosixPath(relative)
        if parts.is_absolute() or ".." in parts.parts:
            raise DamagedError(f"{relative!r} leaves the root {self.uri}")
        full = f"{self.base}/{relative}" if relative else self.base
        if self.local and self._has_link(parts.parts) and self._leaves(full):
            raise DamagedError(f"{full} is a link that leaves the root {self.uri}; remove it")
        return full

    def _has_link(self, below: tuple[str, ...]) -> bool:
        """Whether a path below the root goes through a link; the root itself was resolved when it was opened."""
        place = self.base
        for name in below:
            place = f"{place}/{name}"
            if os.path.islink(place):
                return True
        return False

    def _leaves(self, full: str) -> bool:
        return not f"{os.path.realpath(full)}/".startswith(f"{self.base.rstrip('/')}/")

    def links_out(self) -> list[str]:
        """Links below a local root that lead out of it. Nothing behind them is ever listed, read or written."""
        if not self.local:
            return []
        walked = os.walk(self.base)
        paths = [os.path.join(folder, name) for folder, folders, files in walked for name in (*folders, *files)]
        return sorted(os.path.relpath(path, self.base) for path in paths if os.path.islink(path) and self._leaves(path))

    def write(self, relative: str, data: bytes) -> None:
        """Write a whole file, visible only once complete."""
        full = self.path(relative)
        self._patiently(f"write {full}", lambda: self._put(full, data))

    def read(self, relative: str) -> bytes:
        """Read a whole file. Raises FileNotFoundError."""
        full = self.path(relative)
        return self._patiently(f"read {full}", lambda: self._get(full))

    def write_json(self, relative: str, value: Any) -> None:
        """Write a value as indented JSON."""
        self.write(relative, as_json(value))

    def read_json(self, relative: str) -> dict[str, Any] | None:
        """Read a JSON object; None when the file is not there. Raises DamagedError for one that is torn or foreign."""
        try:
            text = self.read(relative)
        except FileNotFoundError:
            return None
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DamagedError(f"{self.path(relative)}: not valid JSON ({error}); delete it or restore it") from None
        if not isinstance(value, dict):
            raise DamagedError(f"{self.path(relative)}: holds {str(value)[:40]!r}, not an object; delete or restore it")
        return value

    def list(self, relative: str, *, recursive: bool = False) -> list[str]:
        """Files and folders below a folder, as sorted relative paths; empty when it does not exist."""
        top = self.path(relative)
        if self.local:  # Arrow would follow links
            paths = self._patiently(
                f"list {top}", lambda: _walk(top) if recursive else [f"{top}/{name}" for name in _links(top)]
            )
        else:
            selector = fs.FileSelector(top, recursive=recursive, allow_not_found=True)
            paths = self._patiently(f"list {top}", lambda: [info.path for info in self.fs.get_file_info(selector)])
        skip = len(self.base.rstrip("/")) + 1
        return sorted(path[skip:] for path in paths if not _temporary(path))

    def places(self, relative: str) -> dict[str, str]:
        """The files in a folder, each with its full path inside the file system: checked once, opened by the caller."""
        if not self.local:
            return {path.rpartition("/")[2]: self.path(path) for path in self.list(relative)}
        top = self.path(relative)
        is_link = self._patiently(f"list {top}", lambda: _links(top))
        named = sorted(name for name in is_link if not _temporary(name))
        return {name: self.path(f"{relative}/{name}") if is_link[name] else f"{top}/{name}" for name in named}

    def sizes(self, relative: str) -> dict[str, int]:
        """Bytes of the files in a folder."""
        names = [self.path(name) for name in self.list(relative)]
        infos = self._patiently(f"look at {relative}", lambda: self.fs.get_file_info(names))
        return {str(PurePosixPath(info.path).relative_to(self.base)): info.size for info in infos if info.is_file}

    def exists(self, relative: str) -> bool:
        """Whether a file or folder is there."""
        full = self.path(relative)
        info = self._patiently(f"look for {full}", lambda: self.fs.get_file_info(full))
        return bool(info.type != fs.FileType.NotFound)

    def delete(self, relative: str) -> None:
        """Remove a file; nothing happens when it is not there."""
        if self.exists(relative):
            full = self.path(relative)
            self._patiently(f"remove {full}", lambda: self.fs.delete_file(full))

    def _put(self, full: str, data: bytes) -> None:
        if self.local:
            write_local(Path(full), data)
            return
        with self.fs.open_output_stream(full) as out:
            out.write(data)

    def _get(self, full: str) -> bytes:
        with self.fs.open_input_stream(full) as stream:
            content: bytes = stream.read()
        return content

    def _patiently(self, what: str, action: Callable[[], _Result]) -> _Result:
        """Do it, again and again while the storage fails in a way that may pass."""
        began, wait = time.monotonic(), 0.1
        while True:
            try:
                return action()
            except OSError as error:
                if error.errno in _REFUSALS:
                    reason = os.strerror(error.errno or 0)  # Arrow's message repeats the path
                    raise RefusedError(f"cannot {what}: {_REFUSALS[error.errno]} ({reason})") from error
                if isinstance(error, (*_LASTING, StorageError)) or any(text in str(error) for text in _LASTING_TEXTS):
                    raise
                if time.monotonic() + wait - began > self.patience_s:
                    raise StorageError(
                        f"cannot {what}: {error} (tried for {time.monotonic() - began:.0f} s). "
                        "Free space or repair the storage, then run the same command again"
                    ) from error
            time.sleep(wait)
            wait = min(2 * wait, 5.0)


def _links(top: str) -> dict[str, bool]:
    """The names in a folder of this machine, and whether each is a link."""
    try:
        with os.scandir(top) as entries:
            return {entry.name: entry.is_symlink() for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _walk(top: str) -> list[str]:
    """What is below a folder of this machine, links not followed."""

    def raised(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise error  # os.walk would leave the folder out without a word

    walked = os.walk(top, onerror=raised)
    return [f"{folder}/{name}" for folder, folders, files in walked for name in (*folders, *files)]


def _one_put(uri: str) -> str:
    """S3 writes a file by three requests, unless told that its length may be known beforehand."""
    if not uri.startswith("s3://") or "allow_delayed_open" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}allow_delayed_open=true"


def _temporary(path: str) -> bool:
    return path.rpartition("/")[2].startswith(".tmp-")


def as_json(value: Any) -> bytes:
    """The content of a JSON file of a root."""
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def write_local(path: Path, data: bytes) -> None:
    """Write a whole file of this machine, visible only once complete. Raises OSError at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".tmp-{uuid.uuid4().hex}"
    try:
        with temporary.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
