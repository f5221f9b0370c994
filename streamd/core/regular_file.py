"""Opens files that a user names. Pipes, devices and sockets are refused, as reading them may never end."""

import errno
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

_ALREADY_OPEN = re.compile(r"/dev/stdin|/dev/fd/\d+|/proc/(?:self|\d+)/fd/\d+", re.ASCII)
"""What a shell passes for `<(command)`: the other end of this pipe is open."""
_NULL = os.makedev(1, 3)
"""/dev/null, which is at its end at once."""


def open_regular(path: str | Path) -> BinaryIO:
    """The file, opened for reading, which never waits.

    Raises OSError, with a `strerror` that says what the path is if it is no regular file. A pipe that the
    shell has opened for this process is accepted.
    """
    is_open = _ALREADY_OPEN.fullmatch(str(path)) is not None
    _refuse(Path(path).stat(), path, is_open=is_open)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        _refuse(os.fstat(descriptor), path, is_open=is_open)  # it may have changed meanwhile
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | Path) -> bytes:
    """The content of the file. Raises OSError as `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def require_regular(path: str | Path) -> None:
    """Refuse a path before another library opens it. Raises OSError as `open_regular`."""
    _refuse(Path(path).stat(), path, is_open=False)


def _refuse(found: os.stat_result, path: str | Path, *, is_open: bool) -> None:
    mode = found.st_mode
    if stat.S_ISREG(mode) or (is_open and stat.S_ISFIFO(mode)) or found.st_rdev == _NULL:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    kind = kinds.get(stat.S_IFMT(mode), "a device")
    raise OSError(errno.EINVAL, f"it is {kind}, and no regular file", str(path))
