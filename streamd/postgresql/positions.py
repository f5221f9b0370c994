"""The tables in which sinks store how far inputs are stored, and the states of steps. All of it blocks."""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from streamd.core.tenure import Claimed, StoredUpTo, Tenure
from streamd.positions.stored_parts import Claim
from streamd.postgresql.names import quote

Connection = psycopg.Connection[Any]

POSITIONS, STATES = "streamd_positions", "streamd_states"
_SILENT_S = 1
"""A process that sends nothing for so long in the midst of a transaction stands still."""
_KEY = '"table", pipeline, input'
_IS_KEY = '"table" = %s AND pipeline = %s AND input = %s'


class Fenced(Exception):  # noqa: N818 - it is no fault: another process goes on with the inputs
    """Another process has claimed these inputs: the transaction must be rolled back."""

    def __init__(self, tenures: Sequence[Tenure]) -> None:
        super().__init__("another process has claimed the inputs")
        self.tenures = tenures


class ServerPositions:
    """The positions of one sink. The tables are in the schema of PostgreSQL in which its table is.

    Each claim of an input raises its epoch, and a transaction moves a position only in its own epoch. It
    moves them last, because from then on it holds up a claim.
    """

    def __init__(self, table: str, owner: str) -> None:
        """`owner` is a name of this process for people who look at the table."""
        schema, _, name = table.rpartition(".")
        prefix = f"{quote(schema)}." if schema else ""
        self._positions, self._states = prefix + quote(POSITIONS), prefix + quote(STATES)
        self._table = name
        self._owner = owner
        self._epochs: dict[Claim, int] = {}

    def claim(self, connection: Connection, claim: Claim) -> Claimed:
        """Claim an input, and read what is stored of it. Raises `psycopg.Error`."""
        key = self._key(claim)
        with connection.transaction():
            self._make_tables(connection)
            row = connection.execute(
                f"INSERT INTO {self._positions} AS found ({_KEY}, number, rows, epoch, owner, backend)"  # noqa: S608 - names are quoted
                f" VALUES (%s, %s, %s, 0, 0, 1, %s, pg_backend_pid()) ON CONFLICT ({_KEY})"
                " DO UPDATE SET epoch = found.epoch + 1, owner = excluded.owner, backend = excluded.backend"
                " RETURNING number, rows, epoch",
                (*key, self._owner),
            ).fetchone()
            state = connection.execute(f"SELECT state FROM {self._states} WHERE {_IS_KEY}", key).fetchone()  # noqa: S608 - the same
        assert row is not None  # noqa: S101 - for the type checker
        for old in [one for one in self._epochs if self._key(one) == key]:
            del self._epochs[old]
        number, rows, self._epochs[claim] = row
        if self._epochs[claim] == 1:
            claim[0].is_new = True
        return Claimed(StoredUpTo(number, rows), None if state is None else bytes(state[0]))

    def end_silent_owner(self, connection: Connection, claim: Claim) -> None:
        """End the session of the process that has the input, if it is silent in the midst of a transaction.

        Such a process stands still, and its locks hold up a claim. Raises `psycopg.Error`.
        """
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"  # noqa: S608 - names are quoted
            " WHERE state LIKE 'idle in transaction%%'"
            f" AND state_change < clock_timestamp() - interval '{_SILENT_S} s' AND pid ="
            f" (SELECT backend FROM {self._positions} WHERE {_IS_KEY})",
            self._key(claim),
        )

    def move(self, connection: Connection, moves: Mapping[Claim, StoredUpTo]) -> None:
        """Move positions in the open transaction. Raises `Fenced` or `psycopg.Error`."""
        fenced = []
        values = "number = %s, rows = %s, backend = pg_backend_pid()"
        update = f"UPDATE {self._positions} SET {values} WHERE {_IS_KEY} AND epoch = %s"  # noqa: S608 - the same
        for claim, stored in sorted(moves.items(), key=lambda move: self._key(move[0])):  # no deadlocks
            done = connection.execute(update, (*stored, *self._key(claim), self._epochs.get(claim, 0)))
            if done.rowcount != 1:
                fenced.append(claim[0])
        if fenced:
            raise Fenced(fenced)

    def keep_state(self, connection: Connection, claim: Claim, state: bytes) -> bool:
        """Store the state of a claim. False if another process has the input. Raises `psycopg.Error`."""
        key = self._key(claim)
        with connection.transaction():
            row = connection.execute(
                f"SELECT epoch FROM {self._positions} WHERE {_IS_KEY} FOR UPDATE",  # noqa: S608 - the same
                key,
            ).fetchone()
            if row is not None and row[0] == self._epochs.get(claim):
                connection.execute(
                    f"INSERT INTO {self._states} ({_KEY}, state) VALUES (%s, %s, %s, %s)"  # noqa: S608 - the same
                    f" ON CONFLICT ({_KEY}) DO UPDATE SET state = excluded.state",
                    (*key, state),
                )
                return True
        return False

    def _make_tables(self, connection: Connection) -> None:
        there = connection.execute("SELECT to_regclass(%s), to_regclass(%s)", (self._positions, self._states))
        if None not in (there.fetchone() or (None,)):
            return
        columns = '"table" text NOT NULL, pipeline text NOT NULL, input text NOT NULL'
        integers = ", ".join(f"{name} bigint NOT NULL" for name in ("number", "rows", "epoch"))
        for name, more in (
            (self._positions, f"{integers}, owner text NOT NULL, backend int NOT NULL"),
            (self._states, "state bytea NOT NULL"),
        ):
            connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns}, {more}, PRIMARY KEY ({_KEY}))")

    def _key(self, claim: Claim) -> tuple[str, str, str]:
        tenure, pipeline = claim
        return self._table, pipeline, tenure.sequence
