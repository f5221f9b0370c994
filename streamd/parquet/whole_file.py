"""Writes files that appear whole, and removes those that a dead process left half written. Blocks."""

import contextlib
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from streamd.parquet.places import unfinished_name


def write_whole(path: Path, data: memoryview) -> None:
    """Write a file under a temporary name, and give it its name once it is on the disk.

    Makes missing folders. Raises `OSError`; the name is then free or has an earlier whole file, and another
    attempt with the same path replaces it.
    """
    made = _make_folder(path.parent)
    half_made = unfinished_name(path)
    fd = os.open(half_made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # shows other processes that this one lives
        left = data
        while left:
            left = left[os.write(fd, left) :]
        os.fsync(fd)
        half_made.rename(path)
    except OSError:
        with contextlib.suppress(OSError):  # the next start removes it
            half_made.unlink()
        raise
    finally:
        os.close(fd)
    for folder in (path.parent, *made):
        _sync(folder)


def remove_unfinished(files: Iterable[Path]) -> list[Path]:
    """Remove half-written files that no living process writes, and return them. Raises `OSError`."""
    removed = []
    for path in files:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:  # another process has finished or removed it
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            continue
        finally:
            os.close(fd)
        removed.append(path)
    return removed


def _make_folder(folder: Path) -> list[Path]:
    """Make the folder. Returns the folders that have a new entry because of it."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return [place.parent for place in missing]


def _sync(folder: Path) -> None:
    """Make the names in the folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
