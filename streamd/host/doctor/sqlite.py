"""Checks whether Python's SQLite is new enough and free of a known fault."""

import sqlite3
from collections.abc import Iterator

from streamd.config import Loaded
from streamd.host.doctor.finding import Finding
from streamd.host.doctor.host import Host

CHECK = "sqlite"
_STRICT = (3, 37, 0)
_WAL_RESET = (3, 51, 3)
_WAL_RESET_BACKPORTS = ((3, 44, 6), (3, 50, 7))
"""Versions before 3.51.3 with the fix for https://sqlite.org/wal.html#walresetbug."""


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """One finding."""
    del loaded, host
    yield judge(sqlite3.sqlite_version_info)


def judge(version: tuple[int, ...]) -> Finding:
    """Judge the version of the SQLite library."""
    text = f"SQLite {'.'.join(map(str, version))}"
    if version < _STRICT:
        return Finding(
            "problem", CHECK, f"{text}, STRICT tables need 3.37: run on a newer libsqlite3 or Python"
        )
    mended = any(version[:2] == fixed[:2] and version >= fixed for fixed in _WAL_RESET_BACKPORTS)
    if version < _WAL_RESET and not mended:
        return Finding(
            "advice",
            CHECK,
            f"{text}, 3.51.3 fixes a rare corruption when two processes write one file (the WAL-reset bug;"
            " also in 3.44.6 and 3.50.7): until then replay dead letters while the daemon is stopped",
        )
    return Finding("fine", CHECK, text)
