"""Names of tables and columns in PostgreSQL."""

MOST_BYTES = 63
"""Longest name of PostgreSQL."""
_SYSTEM_COLUMNS = frozenset(("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"))


def quote(name: str) -> str:
    """The name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def name_fault(name: str) -> str | None:
    """Why `name` cannot name a table or column; None if it can. A longer name would be cut silently."""
    try:
        size_bytes = len(name.encode())
    except UnicodeEncodeError:
        return "a name has no half of a surrogate pair"
    if not 1 <= size_bytes <= MOST_BYTES:
        return "a name of PostgreSQL has 1 to 63 bytes"
    if not name.isprintable():
        return "a name has no control characters"
    return None


def column_fault(name: str) -> str | None:
    """Why `name` cannot name a column; None if it can."""
    if name in _SYSTEM_COLUMNS:
        return "each table of PostgreSQL has a system column of that name"
    return name_fault(name)
