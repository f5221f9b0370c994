"""What an error of PostgreSQL means: a fault of the rows, of the table, or of the server."""

import struct

import psycopg

from streamd.core.errors import EnvironmentFault, SinkError
from streamd.core.printable import printable

DATA_ERRORS = (psycopg.Error, UnicodeError, ArithmeticError, TypeError, ValueError, struct.error)
"""Errors of a write that its values may cause; `is_about_rows` says which of them do."""

_SHOWN_CHARACTERS = 500
_ROW_CLASSES = frozenset(("22", "23", "44", "54", "P0"))
"""Classes of SQLSTATE: data exception, integrity constraint, WITH CHECK OPTION, a limit of the program (a
value too long for an index), and an exception that a trigger raises."""
_TABLE_CLASSES = frozenset(("42", "3F"))
"""Classes of SQLSTATE for a table, column or right that is not there."""
_CHANGED_PLAN = "0A000"

_ROW_REASONS = {
    "22001": "row:too_long",
    "22003": "row:range",
    "22021": "row:character",
    "22P05": "row:character",
    "23502": "postgresql:not_null",
    "23503": "postgresql:foreign_key",
    "23505": "postgresql:unique",
    "23514": "postgresql:check",
}
_SINK_REASONS = {
    "25006": "read_only",
    "40001": "conflict",
    "40P01": "conflict",
    "42501": "not_permitted",
    "53100": "disk_full",
    "53300": "too_many_connections",
    "55P03": "locked",
    "57014": "timeout",
}


class ServerFault(EnvironmentFault):
    """The server refuses the connection for a reason that waiting does not mend."""


class Unreachable(Exception):  # noqa: N818 - it is a state of the network
    """The server does not answer now, or takes no connection yet."""


def in_words(error: BaseException) -> str:
    """The message of the server, in one line."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return printable(" ".join((primary or str(error)).split()), _SHOWN_CHARACTERS)


def is_about_rows(error: BaseException) -> bool:
    """Whether the values of rows are the cause, so that other rows of the write can be stored."""
    if not isinstance(error, psycopg.Error):
        return True
    if error.sqlstate is None:
        return isinstance(error, psycopg.DataError)
    return error.sqlstate[:2] in _ROW_CLASSES


def row_reason(error: BaseException) -> str:
    """The reason of a dead letter for a row that the server or the encoder of its values refuses."""
    if isinstance(error, UnicodeError):
        return "row:surrogate"
    if isinstance(error, ArithmeticError | struct.error):
        return "row:range"
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    if state is None:
        return "row:type"
    if state in _ROW_REASONS:
        return _ROW_REASONS[state]
    return {"22": "postgresql:data", "23": "postgresql:constraint"}.get(state[:2], "postgresql:refused")


def sink_error(error: BaseException) -> SinkError:
    """The error with which the delivery waits and tries again."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    if state is None or (state[:2] in ("08", "57") and state != "57014"):
        return SinkError("connection", in_words(error))
    if state in _SINK_REASONS:
        return SinkError(_SINK_REASONS[state], in_words(error))
    if state[:2] in _TABLE_CLASSES or state == _CHANGED_PLAN:
        return SinkError("schema", in_words(error))
    return SinkError("server", f"{in_words(error)} (SQLSTATE {state})")
