"""How a command ends from outside: Ctrl-C, a signal, a terminal that goes away, streams that nobody reads."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from typing import TextIO

LOST = (errno.EPIPE, errno.EIO)
"""What writing to a pipe without a reader says, and to a terminal that is gone."""


class Outlet(io.TextIOWrapper):
    """A standard stream that is silent once nobody can read it: what is being trained or written goes on."""

    def write(self, text: str, /) -> int:
        """Write, or be silent from now on."""
        try:
            return super().write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        """Pass on what was written, or be silent from now on."""
        try:
            super().flush()
        except OSError as error:
            self._lose(error)
            super().flush()

    def _lose(self, error: OSError) -> None:
        if error.errno not in LOST:
            raise OSError(error.errno, error.strerror, self.name) from None
        _lead_nowhere(self.fileno())


def open_streams() -> None:
    """Have all three standard streams: one that is closed leads nowhere, so that no file takes its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            _open_nowhere(number)
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        elif number and type(stream) is io.TextIOWrapper:
            encoding, errors, by_line = stream.encoding, stream.errors, stream.line_buffering
            outlet = Outlet(stream.detach(), encoding, errors, line_buffering=by_line)
            setattr(sys, name, outlet)
            setattr(sys, f"__{name}__", outlet)  # whose file number tells the width of the terminal


def _open_nowhere(number: int) -> None:
    """Give a closed file number to a file without content."""
    try:
        os.fstat(number)
    except OSError:
        _lead_nowhere(number)


def _lead_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)


def close_streams() -> None:
    """Pass on what is left now, where an error can still be told in a line, not at the interpreter's end.

    Raises the first error; what could not be passed on is lost then, and not tried again.
    """
    errors = []
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            _lead_nowhere(stream.fileno())
            errors.append(OSError(error.errno, error.strerror, stream.name))
    if errors:
        raise errors[0]


_at_once: list[str] = []


def leave_at_once(why: str) -> None:
    """Have this process end without what its libraries do at the end, as one of them would wait for ever."""
    _at_once.append(why)


def leave(code: int) -> None:
    """End now, if that was asked for."""
    if _at_once:
        os._exit(code)


def heed_signals() -> None:
    """SIGTERM and SIGHUP are a Ctrl-C. Under nohup, which has SIGHUP ignored, it stays so."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ray starts a job with SIGINT blocked,
    signal.signal(signal.SIGINT, signal.default_int_handler)  # and a shell script one in the background ignoring it
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)


def _interrupt(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGINT)
