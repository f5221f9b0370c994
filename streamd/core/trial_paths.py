"""Checks whether a folder can be made or a file can be opened for writing, without making anything.

The kernel checks the access (`faccessat(2)` with the effective user), so capabilities, read-only mounts and
immutable folders are respected. Each function raises the `OSError` that the real call would raise.
"""

import ctypes
import errno
import os
import stat
from pathlib import Path

_AT_FDCWD = -100
_AT_EACCESS = 0x200
_MADE_BEFORE = ("STATE_DIRECTORY", "RUNTIME_DIRECTORY")
"""Variables with the folders, separated by colons, that systemd makes before it starts the daemon."""

_libc = ctypes.CDLL(None, use_errno=True)


def try_access(path: Path, mode: int) -> None:
    """Raises `OSError` if this process lacks a right in `mode` (`os.R_OK | os.W_OK`)."""
    if _libc.faccessat(_AT_FDCWD, os.fsencode(path), mode, _AT_EACCESS):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))


def try_folder(folder: Path) -> None:
    """Raises `OSError` if `folder.mkdir(parents=True, exist_ok=True)` would."""
    longest = 0
    for place in (folder, *folder.parents):
        try:
            is_folder = stat.S_ISDIR(place.stat().st_mode)
        except FileNotFoundError:
            if is_made_before(place):
                return
            if place.is_symlink():  # a dangling link
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
    """Raises `OSError` if the folder does not exist or no file can be made in it."""
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
    """The status of the file at `path`; None if it does not exist but can be made with its folders.

    Raises `OSError` if the folders cannot be made or the file cannot be opened for reading and writing.
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
        try_entry(Path(os.path.realpath(path)).parent)  # the file is made at the target of the link
        return None
    if stat.S_ISDIR(status.st_mode):
        raise _error(errno.EISDIR, path)
    try_access(path, os.R_OK | os.W_OK)
    return status


def is_made_before(folder: Path) -> bool:
    """Whether systemd makes the folder, for this user, before it starts the daemon."""
    named = ":".join(os.environ.get(name, "") for name in _MADE_BEFORE).split(":")
    return str(folder) in named


def _try_length(name_bytes: int, folder: Path) -> None:
    """Raises `OSError` if a name is too long for the file system of `folder`, which need not exist yet."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if name_bytes > os.pathconf(there, "PC_NAME_MAX"):
        raise _error(errno.ENAMETOOLONG, folder)


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))
