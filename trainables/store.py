"""Files under a root that is a local folder or any pyarrow URI (s3://, gs://). Every write is all or nothing.

Local: temporary name in the same folder, fsync, then an atomic rename. Object stores: one PUT.
"""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path, PurePosixPath
from typing import Any

from pyarrow import fs


class Store:
    """The files of one root. Paths are relative, with `/`; one that leaves the root raises ValueError."""

    def __init__(self, root: str | Path) -> None:
        """Open a root; nothing is created until the first write."""
        self.uri = str(root)
        if "://" in self.uri:
            self.fs, self.base = fs.FileSystem.from_uri(self.uri)
        else:
            self.uri = str(Path(root).expanduser().resolve())
            self.fs, self.base = fs.LocalFileSystem(), self.uri
        self.local = isinstance(self.fs, fs.LocalFileSystem)

    def path(self, relative: str) -> str:
        """Full path inside the file system."""
        parts = PurePosixPath(relative)
        if parts.is_absolute() or ".." in parts.parts:
            raise ValueError(f"{relative!r} leaves the root {self.uri}")
        return f"{self.base}/{relative}" if relative else self.base

    def write(self, relative: str, data: bytes) -> None:
        """Write a whole file, visible only once complete."""
        full = self.path(relative)
        if self.local:
            _write_local(Path(full), data)
        else:
            with self.fs.open_output_stream(full) as out:
                out.write(data)

    def read(self, relative: str) -> bytes:
        """Read a whole file. Raises FileNotFoundError."""
        with self.fs.open_input_stream(self.path(relative)) as stream:
            content: bytes = stream.read()
        return content

    def write_json(self, relative: str, value: Any) -> None:
        """Write a value as indented JSON."""
        self.write(relative, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())

    def read_json(self, relative: str) -> Any | None:
        """Read JSON; None when the file is not there. Raises ValueError naming a file that is torn."""
        try:
            text = self.read(relative)
        except FileNotFoundError:
            return None
        try:
            return json.loads(text)
        except ValueError as error:
            raise ValueError(f"{self.path(relative)}: not valid JSON ({error}); delete it or restore it") from None

    def list(self, relative: str, *, recursive: bool = False) -> list[str]:
        """Files and folders below a folder, as sorted relative paths; empty when it does not exist."""
        selector = fs.FileSelector(self.path(relative), recursive=recursive, allow_not_found=True)
        names = [info.path for info in self.fs.get_file_info(selector) if not _temporary(info.path)]
        return sorted(str(PurePosixPath(name).relative_to(self.base)) for name in names)

    def exists(self, relative: str) -> bool:
        """Whether a file or folder is there."""
        return bool(self.fs.get_file_info(self.path(relative)).type != fs.FileType.NotFound)

    def delete(self, relative: str) -> None:
        """Remove a file; nothing happens when it is not there."""
        if self.exists(relative):
            self.fs.delete_file(self.path(relative))


def _temporary(path: str) -> bool:
    return PurePosixPath(path).name.startswith(".tmp-")


def _write_local(path: Path, data: bytes) -> None:
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
