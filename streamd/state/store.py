"""The SQLite file of the states: states in use, and states that were set aside."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from streamd.core.errors import EnvironmentFault, SinkError
from streamd.sqlite.database import Database
from streamd.sqlite.rehearsal import rehearsed, try_statements
from streamd.state.key import StateKey

FILE = "state.db"
"""The name of the file below state_dir."""

_TABLE = """
CREATE TABLE IF NOT EXISTS state (
  id INTEGER PRIMARY KEY,
  pipeline TEXT NOT NULL,
  step TEXT NOT NULL,
  type TEXT NOT NULL,
  config_hash TEXT NOT NULL,
  version INTEGER NOT NULL,
  format INTEGER NOT NULL,
  saved_at TEXT NOT NULL,
  inputs TEXT NOT NULL,
  set_aside_at TEXT,
  why TEXT,
  state BLOB NOT NULL
) STRICT
"""
_COLUMNS = "pipeline, step, type, config_hash, version, format, saved_at, inputs, state"
_INSERT = f"INSERT INTO state ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - no user input
_DELETE = (
    "DELETE FROM state WHERE set_aside_at IS NULL AND pipeline = ?"
    " AND (step = ? OR (type = ? AND config_hash = ? AND version = ? AND format = ?))"
)
"""Deletes the states in use of one step, also of a step with the same key at another place."""
_DELETE_ROW = "DELETE FROM state WHERE id = ?"
_SET_ASIDE = "UPDATE state SET set_aside_at = ?, why = ? WHERE id = ?"
_CURRENT = f"SELECT id, {_COLUMNS} FROM state WHERE set_aside_at IS NULL ORDER BY saved_at DESC, id"  # noqa: S608 - no user input
_TRIED = (
    _TABLE,
    *(f"EXPLAIN {sql.replace('?', 'NULL')}" for sql in (_INSERT, _CURRENT, _DELETE, _SET_ASIDE)),
)
"""What makes the table, and what fails if there is a table with other columns."""


@dataclass(slots=True, frozen=True)
class StoredState:
    """The state of one step.

    `inputs` is JSON: by source, the name of its numbering and the number of the last frame in the state.
    `state` is empty if the step had nothing to store.
    """

    key: StateKey
    step: str
    saved_at: str
    inputs: str
    state: bytes
    id: int = 0


class StateStore:
    """Reads and writes the file. Every method but `open` raises `SinkError` or `sqlite3.Error` on a fault."""

    def __init__(self, db: Database) -> None:
        self.db = db

    async def open(self) -> None:
        """Make the table. Raises `EnvironmentFault`, also if there is a table of another kind."""
        try:
            for statement in _TRIED:
                await self.db.execute(statement)
        except (SinkError, sqlite3.Error) as error:
            raise EnvironmentFault(f"{_refusal(self.db.path)}: {error}") from error

    @staticmethod
    def rehearse(path: Path) -> None:
        """Raises the errors that opening the file and `open` would raise, and changes nothing. It blocks."""
        with rehearsed(path) as connection:
            try_statements(connection, _TRIED, path, _refusal(path))

    async def current(self) -> list[StoredState]:
        """The states in use, newest first."""
        return [
            StoredState(
                StateKey(pipeline, kind, config_hash, version, row_format),
                step,
                saved_at,
                inputs,
                state,
                number,
            )
            for number, pipeline, step, kind, config_hash, version, row_format, saved_at, inputs, state
            in await self.db.fetch(_CURRENT)
        ]  # fmt: skip

    async def replace(self, steps: Iterable[tuple[str, StateKey]], rows: Sequence[StoredState]) -> None:
        """Replace the states of the steps by these rows in one transaction."""
        statements: list[tuple[str, tuple[object, ...]]] = [
            (_DELETE, (key.pipeline, step, key.type, key.config_hash, key.version, key.format))
            for step, key in steps
        ]
        for row in rows:
            key = row.key
            values = (
                key.pipeline, row.step, key.type, key.config_hash, key.version, key.format, row.saved_at,
                row.inputs, row.state,
            )  # fmt: skip
            statements.append((_INSERT, values))
        await self.db.write(statements)

    async def delete(self, row: StoredState) -> None:
        """Delete the state."""
        await self.db.execute(_DELETE_ROW, (row.id,))

    async def set_aside(self, row: StoredState, at: str, why: str) -> None:
        """Mark the state as set aside: it stays in the file and is never restored."""
        await self.db.execute(_SET_ASIDE, (at, why, row.id))


def _refusal(path: Path) -> str:
    return f"cannot store the state of steps in {path}"
