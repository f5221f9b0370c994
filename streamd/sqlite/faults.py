"""Classifies SQLite errors: faults of the environment, which may pass, and faults of the data."""

import sqlite3

from streamd.core.errors import SinkError

_REASONS = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_PROTOCOL: "locked",
    sqlite3.SQLITE_FULL: "disk_full",
    sqlite3.SQLITE_IOERR: "io",
    sqlite3.SQLITE_READONLY: "readonly",
    sqlite3.SQLITE_PERM: "readonly",
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_NOTADB: "corrupt",
    sqlite3.SQLITE_CANTOPEN: "cannot_open",
    sqlite3.SQLITE_NOMEM: "memory",
    sqlite3.SQLITE_INTERRUPT: "interrupted",
}
_OF_THE_DATA = {
    0,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_RANGE,
}

SQLITE_CONSTRAINT_DATATYPE = 3091
"""Extended code for a value of the wrong type in a STRICT column. Python 3.11 has no name for it."""


def primary_code(error: BaseException) -> int:
    """SQLite's primary result code; 0 if the error did not come from SQLite itself."""
    code: int = getattr(error, "sqlite_errorcode", None) or 0
    return code & 0xFF


def environment_fault(error: sqlite3.Error) -> SinkError | None:
    """A `SinkError` if a retry may succeed; None if the statement or its data caused the error."""
    code = primary_code(error)
    if code in _OF_THE_DATA:
        return None
    reason = _REASONS.get(code, "sqlite")
    name = getattr(error, "sqlite_errorname", "")
    return SinkError(reason, f"{error} ({name})")
