"""What the file system would say of making a folder or opening a file for writing. Nothing is made.

The kernel is asked (`faccessat(2)` with the effective user), so capabilities, read-only mounts and immutable
folders are in the answer. Each function raises the `OSError` of the call it stands for.
"""

import ctypes
import errno
import os
import stat
from pathlib import Path

_AT_FDCWD = -100
_AT_EACCESS = 0x200
_MADE_BEFORE = ("STATE_DIRECTORY", "RUNTIME_DIRECTORY")
"""Folders that the service manager makes before it starts the daemon, colons between them."""

_libc = ctypes.CDLL(None, use_errno=True)


def try_access(path: Path, mode: int) -> None:
    """Raises `OSError` where this process has not all the rights of `mode` (`os.R_OK | os.W_OK`)."""
    if _libc.faccessat(_AT_FDCWD, os.fsencode(path), mode, _AT_EACCESS):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))


def try_folder(folder: Path) -> None:
    """Raises `OSError` where `folder.mkdir(parents=True, exist_ok=True)` would."""
    longest = 0
    for place in (folder, *folder.parents):
        try:
            is_folder = stat.S_ISDIR(place.stat().st_mode)
        except FileNotFoundError:
            if is_made_before(place):
                return
            if place.is_symlink():  # it leads nowhere
                raise _error(errno.EEXIST if place == folder else errno.ENOENT, place) from None
            longest = max(longest, len(os.fsencode(place.name)))
            continue
        except OSError as error:
            if error.errno == errno.ELOOP and place == folder and place.is_symlink():
                raise _error(errno.EEXIST, place) from None
            raise
        if not is_folder:
            raise _error(errno.EEXIST if place == folder else errno.ENOTDIR, place)
        if place != folder:
            try_access(place, os.W_OK | os.X_OK)
            _try_length(longest, place)
        return


def try_entry(folder: Path) -> None:
    """Raises `OSError` where no new name can be made in a folder that has to be there."""
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except FileNotFoundError:
        if is_made_before(folder):
            return
        raise
    if not is_folder:
        raise _error(errno.ENOTDIR, folder)
    try_access(folder, os.W_OK | os.X_OK)


def try_file(path: Path) -> os.stat_result | None:
    """The status of what is at `path`, None where the file and its folders can be made.

    Raises `OSError` where making the folders and opening it for reading and writing would.
    """
    try_folder(path.parent)
    try:
        status = path.stat()
    except FileNotFoundError:
        if not path.is_symlink():
            if path.parent.exists():
                try_entry(path.parent)
            _try_length(len(os.fsencode(path.name)), path.parent)
            return None
        try_entry(Path(os.path.realpath(path)).parent)  # the file is made where the link leads
        return None
    if stat.S_ISDIR(status.st_mode):
        raise _error(errno.EISDIR, path)
    try_access(path, os.R_OK | os.W_OK)
    return status


def is_made_before(folder: Path) -> bool:
    """Whether the service manager makes the folder, for this user, before it starts the daemon."""
    named = ":".join(os.environ.get(name, "") for name in _MADE_BEFORE).split(":")
    return str(folder) in named


def _try_length(name_bytes: int, folder: Path) -> None:
    """A name in a folder that is not there yet is as long as the file system above it allows."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if name_bytes > os.pathconf(there, "PC_NAME_MAX"):
        raise _error(errno.ENAMETOOLONG, folder)


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))
