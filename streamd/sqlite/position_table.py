"""The tables in which sinks of one SQLite file store how far inputs are stored, and the states of steps."""

from collections.abc import Mapping, Sequence
from typing import Any

from streamd.core.tenure import Claimed, StoredUpTo, Tenure
from streamd.positions.stored_parts import FENCED, Claim
from streamd.sqlite.database import Database

POSITIONS, STATES = "streamd_positions", "streamd_states"
_KEY = '"table", pipeline, input'
_CREATE = (
    f"""
    CREATE TABLE IF NOT EXISTS {POSITIONS} (
      "table" TEXT NOT NULL, pipeline TEXT NOT NULL, input TEXT NOT NULL,
      number INTEGER NOT NULL, rows INTEGER NOT NULL, epoch INTEGER NOT NULL, owner TEXT NOT NULL,
      PRIMARY KEY ({_KEY})
    ) STRICT
    """,
    f"""
    CREATE TABLE IF NOT EXISTS {STATES} (
      "table" TEXT NOT NULL, pipeline TEXT NOT NULL, input TEXT NOT NULL, state BLOB NOT NULL,
      PRIMARY KEY ({_KEY})
    ) STRICT
    """,
)
_CLAIM = f"""
INSERT INTO {POSITIONS} ({_KEY}, number, rows, epoch, owner) VALUES (?, ?, ?, 0, 0, 1, ?)
ON CONFLICT ({_KEY}) DO UPDATE SET epoch = epoch + 1, owner = excluded.owner
RETURNING number, rows, epoch
"""  # noqa: S608 - no user input
# An epoch that is not ours becomes NULL, which the column refuses: the transaction fails.
_MOVE = f"""
INSERT INTO {POSITIONS} ({_KEY}, number, rows, epoch, owner) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT ({_KEY}) DO UPDATE SET number = excluded.number, rows = excluded.rows,
  epoch = CASE WHEN epoch = excluded.epoch THEN epoch END
"""  # noqa: S608 - the same
_EPOCH = f'SELECT epoch FROM {POSITIONS} WHERE "table" = ? AND pipeline = ? AND input = ?'  # noqa: S608 - the same
_STATE = f'SELECT state FROM {STATES} WHERE "table" = ? AND pipeline = ? AND input = ?'  # noqa: S608 - the same
_KEEP = f"INSERT OR REPLACE INTO {STATES} ({_KEY}, state) VALUES (?, ?, ?, ?)"  # noqa: S608 - the same


class PositionTable:
    """The positions of one sink, which writes to the table `table`.

    Each claim of an input raises its epoch. A transaction of a process whose epoch is over fails as a whole.
    """

    def __init__(self, database: Database, table: str, owner: str) -> None:
        """`owner` is a name of this process for people who look at the table."""
        self._database = database
        self._table = table
        self._owner = owner
        self._epochs: dict[Claim, int] = {}

    async def claim(self, claim: Claim) -> Claimed:
        """Claim an input, and read what is stored of it. Raises `SinkError` or `sqlite3.Error`."""
        database, key = self._database, self._key(claim)
        async with database.transaction():
            for sql in _CREATE:
                await database.execute(sql)
            ((number, rows, epoch),) = await database.fetch(_CLAIM, (*key, self._owner))
            states = await database.fetch(_STATE, key)
        for old in [one for one in self._epochs if self._key(one) == key]:
            del self._epochs[old]
        self._epochs[claim] = epoch
        if epoch == 1:
            claim[0].is_new = True
        return Claimed(StoredUpTo(number, rows), states[0][0] if states else None)

    def moves(self, moves: Mapping[Claim, StoredUpTo]) -> list[tuple[str, Sequence[Any]]]:
        """The statements that move positions; they go into the transaction of the records, before these."""
        return [self._move(claim, stored) for claim, stored in moves.items()]

    async def fenced(self, claims: Mapping[Claim, StoredUpTo]) -> list[Tenure]:
        """The tenures that another process has ended by its own claim. Raises as `claim`."""
        found = []
        for claim in claims:
            rows = await self._database.fetch(_EPOCH, self._key(claim))
            if rows and rows[0][0] != self._epochs.get(claim):
                found.append(claim[0])
        return found

    async def keep_state(self, claim: Claim, state: bytes) -> None:
        """Store the state of a claim. If another process has claimed the input, it ends the tenure instead.

        Raises as `claim`.
        """
        database = self._database
        async with database.transaction():
            rows = await database.fetch(_EPOCH, self._key(claim))
            if rows and rows[0][0] == self._epochs.get(claim):
                await database.execute(_KEEP, (*self._key(claim), state))
                return
        claim[0].end(FENCED)

    def _move(self, claim: Claim, stored: StoredUpTo) -> tuple[str, Sequence[Any]]:
        return _MOVE, (*self._key(claim), *stored, self._epochs.get(claim, 0), self._owner)

    def _key(self, claim: Claim) -> tuple[str, str, str]:
        tenure, pipeline = claim
        return self._table, pipeline, tenure.sequence
