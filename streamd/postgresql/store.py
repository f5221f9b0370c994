"""Commits batches exactly once: transactions, lost connections, and commits whose outcome is in doubt."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import structlog

from streamd.core.batch import Batch
from streamd.core.counters import Counters
from streamd.core.errors import ConfigError, EnvironmentFault, SinkError, StreamdError
from streamd.core.tenure import Claimed, StoredUpTo
from streamd.positions.stored_parts import Claim
from streamd.postgresql.copy_writer import Attempt, CopyWriter, commit, epoch_of
from streamd.postgresql.faults import Unreachable, in_words, is_about_rows, sink_error
from streamd.postgresql.positions import ServerPositions
from streamd.postgresql.session import ServerSession
from streamd.postgresql.table import ServerTable

Connection = psycopg.Connection[Any]

log = structlog.get_logger()


class Store:
    """The side of a sink that blocks; each method runs on the thread of the session."""

    def __init__(
        self,
        session: ServerSession,
        table: ServerTable,
        writer: CopyWriter,
        sink: str,
        counters: Counters,
        positions: ServerPositions,
    ) -> None:
        self.prepared = False
        self.in_doubt: Attempt | None = None
        """A transaction whose COMMIT was sent, and whose outcome is not known yet."""
        self._session = session
        self._table = table
        self._writer = writer
        self._sink = sink
        self._counters = counters
        self._positions = positions

    def open(self) -> None:
        """Connect and prepare the table. Raises `Unreachable`, `EnvironmentFault` or `ConfigError`."""
        try:
            self._connection()
        except psycopg.Error as error:
            self.roll_back()
            found = sink_error(error)
            if found.reason in ("connection", "too_many_connections"):
                raise Unreachable(found.detail) from None
            raise EnvironmentFault(
                f"cannot prepare the table {self._table.name!r} on {self._session.server.address}:"
                f" {in_words(error)}"
            ) from None

    def claim(self, claim: Claim) -> Claimed:
        """Claim an input, and read what is stored of it. Raises `SinkError`."""
        with self._sink_errors():
            connection = self._connection()
            try:
                return self._positions.claim(connection, claim)
            except psycopg.errors.LockNotAvailable:
                self._positions.end_silent_owner(connection, claim)
            return self._positions.claim(connection, claim)

    def keep_state(self, claim: Claim, state: bytes) -> bool:
        """Store the state of steps. False if another process has the input. Raises `SinkError`."""
        with self._sink_errors():
            return self._positions.keep_state(self._connection(), claim, state)

    def begin(self, batches: Sequence[Batch], moves: Mapping[Claim, StoredUpTo]) -> Attempt:
        """Store the batches. The transaction is still open if records were refused.

        Raises `SinkError`, or `Fenced` if another process has claimed an input of `moves`. If the outcome of
        the last COMMIT is in doubt, the server is asked for it first.
        """
        with self._sink_errors():
            doubt = self.in_doubt
            if doubt is not None:  # first, because to prepare the table takes new numbers of transactions
                connection, is_new = self._session.connection()
                self.prepared = self.prepared and not is_new
                doubt.committed = self._was_committed(connection, doubt)
                self.in_doubt = None
                if doubt.committed:
                    return doubt
            connection = self._connection()
            attempt = self._writer.put(connection, batches)
            attempt.moves = moves
            if not attempt.refused:
                self._commit(connection, attempt)
            return attempt

    def commit(self, attempt: Attempt) -> None:
        """Commit the transaction that `begin` has left open. Raises `SinkError` or `Fenced`."""
        with self._sink_errors():
            connection, is_new = self._session.connection()
            if is_new:  # the transaction ended with the old connection
                self.prepared = False
                raise SinkError("connection", "the connection was lost before the commit")
            self._commit(connection, attempt)

    def roll_back(self) -> None:
        """End the open transaction, if there is one; a broken connection is dropped."""
        self._session.roll_back()

    @contextmanager
    def _sink_errors(self) -> Iterator[None]:
        """Ends the transaction after an error, and turns what a server causes into `SinkError`."""
        try:
            yield
        except Unreachable as error:
            raise SinkError("unreachable", str(error)) from None
        except BaseException as error:
            self.roll_back()
            found: BaseException = error
            if isinstance(error, psycopg.Error):
                found = sink_error(error)
            elif isinstance(error, StreamdError):
                found = SinkError("schema" if isinstance(error, ConfigError) else "refused", str(error))
            if isinstance(found, SinkError) and found.reason in ("schema", "refused"):
                self.prepared = False
            if found is error:
                raise
            raise found from None

    def _commit(self, connection: Connection, attempt: Attempt) -> None:
        self._positions.move(connection, attempt.moves)
        self.in_doubt = attempt
        try:
            commit(connection)
        except psycopg.Error as error:
            # The server rolls back and says why, or the connection broke and nobody knows.
            if not connection.closed and error.sqlstate is not None:
                self.in_doubt = None
                self.prepared = self.prepared and not is_about_rows(error)  # a new constraint found them
            raise
        except SinkError:  # it was rolled back
            self.in_doubt = None
            raise
        self.in_doubt, attempt.committed = None, True
        self._session.progress += 1

    def _connection(self) -> Connection:
        connection, is_new = self._session.connection()
        if is_new or not self.prepared:
            self.prepared = False
            self._writer.prepare(connection)
            self.prepared = True
        return connection

    def _was_committed(self, connection: Connection, doubt: Attempt) -> bool:
        """Whether the transaction was committed. Raises `SinkError` while it still runs."""
        try:
            row = connection.execute("SELECT pg_xact_status(%s::xid8)", (doubt.xid,)).fetchone()
        except psycopg.errors.InvalidParameterValue:  # a number that this server has not given yet
            row = ("aborted",)
        status = None if row is None else row[0]
        if status == "in progress":
            # Its server process has not noticed yet that the connection is gone.
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_xid = (%s::xid8)::xid AND pid <> pg_backend_pid()",
                (doubt.xid,),
            )
            raise SinkError("commit_in_doubt", "the last transaction has not ended on the server yet")
        records = sum(map(len, doubt.batches))
        if status is None:
            log.error(
                "commit_outcome_unknown",
                sink=self._sink,
                records=records,
                hint="the server has forgotten the transaction; its rows are stored again and may be there"
                " twice",
            )
            return False
        if status == "committed" and epoch_of(connection) != doubt.epoch:
            # The number may be that of another transaction by now.
            self._session.patient = True
            try:
                status = status if self._writer.has_rows_of(connection, doubt) else "aborted"
            finally:
                self._session.patient = False
        self._counters.add("commits_settled")
        log.info("commit_settled", sink=self._sink, outcome=status, records=records, xid=doubt.xid)
        return bool(status == "committed")
