r"""Standard input, output and error of a command. A fault of a stream never ends in a traceback.

- A character that the encoding of the terminal or the locale does not have is written as `\u6570`, and some
  signs as ASCII: `...` for the dots of a text that was cut.
- Rows and documents for programs are UTF-8 in every locale, except on a terminal.
- A closed or full output raises `EnvironmentFault`. An output whose reader has closed it raises
  `BrokenPipeError`.
"""

import codecs
import io
import os
import select
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import BinaryIO, TextIO

from streamd.charts.screen import SIGNS
from streamd.cli import _locale
from streamd.core.errors import EnvironmentFault, StreamdError

_ASCII_SIGNS = "streamd.ascii_signs"
"""The name of the way in which characters are written that an encoding does not have."""


def _in_ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(
        SIGNS.get(character) or character.encode("ascii", "backslashreplace").decode() for character in text
    ), error.end


codecs.register_error(_ASCII_SIGNS, _in_ascii)


class _Output(io.FileIO):
    """Standard output. If it is non-blocking and full, a write waits."""

    def write(self, data: bytes, /) -> int:  # type: ignore[override]  # bytes-like, as the base class has it
        try:
            while (written := super().write(data)) is None:
                select.select([], [self], [])
        except BrokenPipeError:
            raise
        except OSError as error:
            raise EnvironmentFault(f"cannot write to standard output: {error.strerror}") from None
        return written


class _Errors(io.FileIO):
    """Standard error. Text that cannot be written is lost, because there is no other place to report it."""

    def write(self, data: bytes, /) -> int:  # type: ignore[override]  # the same
        with suppress(OSError):
            super().write(data)
        return len(data)


def take(*, daemon: bool) -> None:
    """Guard the streams of this process. Streams that a test has replaced are not changed.

    The descriptor of a closed stream would be reused by the next opened file, such as a database, so it is
    opened on `/dev/null`. Writing to a closed standard output fails, except in a `daemon`, which needs none.
    """
    _occupy(0, os.O_WRONLY)  # write-only, so that reading a closed input is an error, not an empty input
    _occupy(1, os.O_RDONLY)
    _occupy(2, os.O_WRONLY)
    if isinstance(sys.stdin, io.TextIOWrapper) and sys.stdin is sys.__stdin__:
        sys.stdin.reconfigure(errors="backslashreplace")  # an answer may contain any bytes
    if sys.stdout is sys.__stdout__ and not (daemon and sys.stdout is None):
        sys.stdout = _text(_Output(1, "wb", closefd=False), sys.stdout, daemon=daemon)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(_Errors(2, "wb", closefd=False), sys.stderr, daemon=daemon, line_buffering=True)


def settle() -> None:
    """Flush standard output. Raises `EnvironmentFault` or `BrokenPipeError`. The rest is then discarded."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except (OSError, StreamdError):
        drop()
        raise


def drop() -> None:
    """Discard the buffer of standard output. Python would try to write it again at exit, and fail."""
    if isinstance(getattr(getattr(sys.stdout, "buffer", None), "raw", None), _Output):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        with suppress(OSError, StreamdError):
            sys.stdout.flush()


def drop_if_stuck() -> None:
    """Flush standard output, or discard its buffer. A fault is ignored in favour of the command's error."""
    with suppress(OSError, StreamdError):
        settle()


def for_programs(out: TextIO | None = None) -> TextIO:
    """`out` (default: standard output), set to UTF-8 unless it is a terminal. For output read by programs."""
    out = out or sys.stdout
    if isinstance(out, io.TextIOWrapper) and not out.isatty():
        out.reconfigure(encoding="utf-8", errors="backslashreplace")
    return out


def read_text() -> str:
    """The whole text of standard input, decoded as UTF-8. Raises `EnvironmentFault`."""
    try:
        if isinstance(sys.stdin, io.StringIO):
            return sys.stdin.read()
        with input_bytes() as file:
            return file.read().decode()
    except UnicodeDecodeError as error:
        raise EnvironmentFault(f"standard input is not UTF-8: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise EnvironmentFault(f"cannot read standard input: {error.strerror}") from None


def input_bytes() -> AbstractContextManager[BinaryIO]:
    """Standard input as a binary file. If it is closed, every read fails."""
    return open(0, "rb", closefd=False) if sys.stdin is None else nullcontext(sys.stdin.buffer)


def argument(text: str) -> str:
    """An argument that is text and no path, decoded as UTF-8 if possible, else in the locale's encoding."""
    try:
        return os.fsencode(text).decode()
    except UnicodeError:
        return text


def _occupy(fd: int, flags: int) -> None:
    try:
        os.fstat(fd)
    except OSError:
        opened = os.open(os.devnull, flags)
        if opened != fd:
            os.dup2(opened, fd)
            os.close(opened)
        os.set_inheritable(fd, True)


def _text(raw: io.FileIO, before: TextIO | None, *, daemon: bool, line_buffering: bool = False) -> TextIO:
    """The stream in the encoding of the locale; that of a daemon, whose readers are programs, in Python's."""
    pythons = before.encoding if before is not None else "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=pythons if daemon else _locale.encoding(pythons),
        errors=_ASCII_SIGNS,
        line_buffering=line_buffering or raw.isatty(),
        write_through=bool(getattr(before, "write_through", False)),
    )
