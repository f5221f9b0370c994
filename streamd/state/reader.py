"""Lists and deletes stored states. Every function blocks."""

import sqlite3
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

COLUMNS = ("id", "pipeline", "step", "use", "saved_at", "bytes", "version", "inputs", "set_aside_at", "why")

_LISTED = """
SELECT id, pipeline, step, iif(set_aside_at IS NULL, 'current', 'set aside'), saved_at, length(state),
  version, inputs, set_aside_at, why
FROM state ORDER BY set_aside_at IS NOT NULL, pipeline, step, id
"""


def users_of(file: Path) -> list[int]:
    """The pids of processes that have the database open, by their locks on its `-shm` file."""
    found: set[int] = set()
    with suppress(OSError, ValueError, IndexError):
        inode = Path(f"{file}-shm").stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.replace("-> ", "").split()
            if words[5].endswith(f":{inode}"):
                found.add(int(words[4]))
    return sorted(found)


def listed(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    """One row for each state, states in use first. Empty if the daemon has not made the table yet."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'state'").fetchone():
        return []
    return connection.execute(_LISTED).fetchall()


def drop(connection: sqlite3.Connection, ids: Collection[int]) -> int:
    """Delete these states in one statement. Returns the number deleted."""
    places = ", ".join("?" * len(ids))
    return connection.execute(f"DELETE FROM state WHERE id IN ({places})", [*ids]).rowcount  # noqa: S608 - placeholders
