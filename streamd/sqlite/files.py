"""A database's files on a disk: creating, checking, and setting aside a corrupt one.

Existing files are opened only by SQLite. POSIX locks belong to the process and the file, so closing any
descriptor of a file drops all locks of this process on it. Without its locks SQLite could not keep another
program, which closes the database, from deleting the write-ahead log in use.
"""

import errno
import os
import sqlite3
import stat
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from streamd.core.errors import EnvironmentFault
from streamd.core.trial_paths import try_access, try_entry, try_file
from streamd.sqlite.faults import primary_code

COMPANIONS = ("-wal", "-shm", "-journal")
"""Suffixes of the files that SQLite makes beside a database."""
NO_FILE = (0, 0)
"""The identity of a missing file."""
_OLDEST_SQLITE = (3, 37, 0)
"""The first version with STRICT tables."""
_LEAST_FREE_BYTES = 128 * 1024
"""Room for the first pages of a database and its log, and for the log's index (32 KiB)."""
_CHECK_S = 0.25
_CHECK_MOST_BYTES = 256 * 2**20
"""Larger files are not checked. In SQLite 3.40 a step of the check reads whole trees and cannot be
interrupted; it reads about 1 GB/s from the cache."""


def refuse_unusable(path: Path) -> None:
    """Raise `EnvironmentFault` if the database or its log could not be written.

    Makes and opens no file, because the same process may have it open in SQLite.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise EnvironmentFault(
            f"this Python has SQLite {sqlite3.sqlite_version}; STRICT tables need 3.37:"
            " install a newer libsqlite3 or Python"
        )
    try:
        status = try_file(path)
        if status is not None and not stat.S_ISREG(status.st_mode):
            raise _not_regular(path)
        if path.parent.exists():
            try_entry(path.resolve().parent)  # for the log
            _refuse_full(path, has_file=status is not None and status.st_size > 0)
        for companion in (Path(f"{path}{suffix}") for suffix in COMPANIONS):
            if companion.exists():
                try_access(companion, os.R_OK | os.W_OK)
    except OSError as error:
        raise _unwritable(path, error) from error


def _refuse_full(path: Path, *, has_file: bool) -> None:
    """Raise `OSError` if the disk has no room for the log of a database that is not open."""
    if has_file and Path(f"{path}-shm").exists():
        return
    found = os.statvfs(path.parent)
    if found.f_blocks and found.f_bavail * found.f_frsize < _LEAST_FREE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def prepare(path: Path) -> None:
    """Make the folder and the file (0640) if they are missing. Raises `EnvironmentFault`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Only a new file may be opened and closed here, because SQLite cannot have it open yet.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
        except FileExistsError:
            _refuse_unwritable(path)
    except OSError as error:
        raise _unwritable(path, error) from error


def _not_regular(path: Path) -> EnvironmentFault:
    return EnvironmentFault(f"{path} is not a regular file: name another path for the database")


def _unwritable(path: Path, error: OSError) -> EnvironmentFault:
    advice = (
        "free some space there"
        if error.errno in (errno.ENOSPC, errno.EDQUOT)
        else "make its folder writable for this user or name another path"
    )
    return EnvironmentFault(f"cannot write the database {path}: {error.strerror}; {advice}")


def _refuse_unwritable(path: Path) -> None:
    """Raise `OSError` if the file cannot be written, `EnvironmentFault` if it is no regular file."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise _not_regular(path)
    try_access(path, os.R_OK | os.W_OK)


def identity(path: Path) -> tuple[int, int]:
    """Device and inode of the file; `NO_FILE` if it is missing. 1 µs."""
    try:
        found = path.stat()
    except OSError:
        return NO_FILE
    return found.st_dev, found.st_ino


def free_bytes(folder: Path) -> int:
    """Free space for this user on the folder's file system. Raises `OSError`."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def foreign(path: Path) -> str | None:
    """Why the file at the path is no database; None if it may be one or cannot be read.

    Checks the first bytes only. An empty file counts as no database, though SQLite would accept it.
    """
    if path.is_symlink() and not path.exists():
        return "it is a link that leads nowhere"
    try:
        if not path.is_file():
            return "it is no regular file" if path.exists() else None
        if path.stat().st_size == 0:
            return "it is empty"
    except OSError:
        return None
    try:
        # `immutable` takes no locks and makes no companion files.
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.Error as error:
        return "it does not begin like a database" if primary_code(error) == sqlite3.SQLITE_NOTADB else None
    return None


def fault_of(path: Path, uri: str | None = None) -> str | None:
    """Why the database is damaged; None if no damage was found. `uri`: how to open it instead of read-only.

    Only reads, so the write-ahead log of a damaged database stays unchanged. Takes at most about a quarter
    of a second: a check that has found no damage by then has passed. Of files over 256 MiB only the schema
    is read.
    """
    try:
        size_bytes = path.stat().st_size if path.exists() else 0
    except OSError:  # `prepare` raises the error
        return None
    if size_bytes == 0:  # SQLite would delete a log beside an empty file
        log = Path(f"{path}-wal")
        return "it is missing or empty beside its log" if log.exists() and log.stat().st_size else None
    deadline_s = time.monotonic() + _CHECK_S
    connection = None
    try:
        plain = f"file:{quote(str(path))}?mode=ro"
        connection = sqlite3.connect(uri or plain, uri=True, timeout=1.0)
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if size_bytes > _CHECK_MOST_BYTES:
            return None
        connection.set_progress_handler(lambda: time.monotonic() > deadline_s, 1000)
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return str(error) if primary_code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB} else None
    finally:
        if connection is not None:
            connection.close()
    return None if verdict == "ok" else str(verdict)


def name_for(path: Path, why: str, suffix: str = "") -> Path:
    """An unused path beside `path`, with the reason and the present time in its name."""
    stem = f"{path}.{why}-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    target, attempt = Path(f"{stem}{suffix}"), 1
    while target.exists():
        attempt += 1
        target = Path(f"{stem}.{attempt}{suffix}")
    return target


def set_aside(path: Path) -> Path:
    """Rename a corrupt database and its companion files. Nothing is deleted or overwritten.

    Returns the new path. Raises `EnvironmentFault`.
    """
    stem = f"{path}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    target, attempt = Path(stem), 1
    while any(Path(f"{target}{suffix}").exists() for suffix in ("", *COMPANIONS)):
        attempt += 1
        target = Path(f"{stem}.{attempt}")
    try:
        for suffix in (*COMPANIONS, ""):  # the database last, so that after a crash it is found corrupt again
            old = Path(f"{path}{suffix}")
            if old.exists():
                old.rename(f"{target}{suffix}")
    except OSError as error:
        raise EnvironmentFault(
            f"{path} is corrupt and cannot be renamed: {error.strerror}; move it and {path}-wal away by hand"
        ) from error
    return target
