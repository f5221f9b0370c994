"""A database as files on a disk: made, looked over, and set aside where it is none any more.

No file that is there is opened except by SQLite. Locks belong to the process and the file: to close any
descriptor of a file drops all locks this process has on it, also those by which SQLite keeps the next
program that closes the database from deleting the write-ahead log that we write into.
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
from streamd.storage.faults import primary_code

COMPANIONS = ("-wal", "-shm", "-journal")
"""What SQLite adds to a database's name for the files beside it."""
NO_FILE = (0, 0)
"""The identity of a file that is not there."""
_CHECK_S = 0.25
_CHECK_MOST_BYTES = 256 * 2**20
"""One step of the check reads whole trees and cannot be interrupted in SQLite 3.40: about 1 GB/s cached."""


def prepare(path: Path) -> None:
    """Make the folder and the file (0640), or say why that cannot be. Raises `EnvironmentFault`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Only a new file, which nobody can have open yet, may be opened and closed.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
        except FileExistsError:
            _look_at(path)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write the database {path}: {error.strerror}; make its folder writable for this user"
            " or name another path"
        ) from error


def _look_at(path: Path) -> None:
    """Raise `OSError` where the file there cannot be written, `EnvironmentFault` where it is none."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise EnvironmentFault(f"{path} is not a regular file: name another path for the database")
    if not os.access(path, os.R_OK | os.W_OK):
        code = errno.EROFS if os.statvfs(path).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(code, os.strerror(code))


def identity(path: Path) -> tuple[int, int]:
    """Device and number of the file, zeros where there is none. 1 µs."""
    try:
        found = path.stat()
    except OSError:
        return NO_FILE
    return found.st_dev, found.st_ino


def free_bytes(folder: Path) -> int:
    """What the file system of the folder has left for this user."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def foreign(path: Path) -> str | None:
    """Why what is at the path cannot be a database; None where it may be one, or nobody can tell.

    Looks at the first bytes only. An empty file is none: SQLite would take it for one without tables.
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
        # `immutable`: takes no locks, and makes no files beside this one.
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.Error as error:
        return "it does not begin like a database" if primary_code(error) == sqlite3.SQLITE_NOTADB else None
    return None


def fault_of(path: Path) -> str | None:
    """Why the file is no sound database, None where nothing is wrong with it.

    Reads only, so that the write-ahead log of a damaged database stays as it was found. Takes at most
    about a quarter of a second: a check that has found nothing by then has passed, and files over
    256 MiB are only opened and their schema read.
    """
    try:
        size_bytes = path.stat().st_size if path.exists() else 0
    except OSError:  # not even looked at: `prepare` says why
        return None
    if size_bytes == 0:  # SQLite would delete a log it finds beside it
        log = Path(f"{path}-wal")
        return "its write-ahead log stands alone" if log.exists() and log.stat().st_size else None
    deadline_s = time.monotonic() + _CHECK_S
    connection = None
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=1.0)
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


def set_aside(path: Path) -> Path:
    """Rename the database and what belongs to it; returns the new path. Nothing is deleted or overwritten."""
    stem = f"{path}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    target, attempt = Path(stem), 1
    while any(Path(f"{target}{suffix}").exists() for suffix in ("", *COMPANIONS)):
        attempt += 1
        target = Path(f"{stem}.{attempt}")
    try:
        for suffix in (*COMPANIONS, ""):  # the database last: a crash between leaves it to be found again
            old = Path(f"{path}{suffix}")
            if old.exists():
                old.rename(f"{target}{suffix}")
    except OSError as error:
        raise EnvironmentFault(
            f"{path} is corrupt and cannot be renamed: {error.strerror}; move it and {path}-wal away by hand"
        ) from error
    return target
