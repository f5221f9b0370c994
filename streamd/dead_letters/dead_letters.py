"""The store of dead letters: rejected frames and records in a SQLite file of bounded size."""

import asyncio
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import structlog

from streamd.config import DeadLetterSettings
from streamd.core.ack import Status
from streamd.core.acks import Acks
from streamd.core.clock import read_clock
from streamd.core.dead_letter import DeadLetter
from streamd.core.errors import EnvironmentFault, SinkError
from streamd.core.now import Now
from streamd.core.quality import Quality, RuleKey
from streamd.core.settings import DeadLetterPayload
from streamd.core.sums import Entry
from streamd.dead_letters.row import COLUMNS, TABLE, Row, row_of, size_bytes_of
from streamd.runtime.backoff import Backoff
from streamd.sqlite.database import Database, Synchronous
from streamd.sqlite.databases import Databases
from streamd.sqlite.rehearsal import rehearsed, try_statements

log = structlog.get_logger()

COMMIT_PATIENCE_S = 5.0
"""How long a sink waits for its letters while the store fails, before the sink retries its batch."""

_INSERT = f"INSERT INTO dead_letters ({', '.join(COLUMNS)}) VALUES "  # noqa: S608 - no user input
_PLACES = f"({', '.join('?' for _ in COLUMNS)})"
_EXPLAIN = f"EXPLAIN {_INSERT}{_PLACES.replace('?', 'NULL')}"
_ROWS_PER_INSERT = 50
_BYTES_PER_COMMIT = 4 * 2**20
_EVICTED_SHARE = 16
"""One eviction deletes the oldest sixteenth of the letters."""


@dataclass(slots=True, eq=False)
class _Queued:
    """The letters of one call. They are written in one transaction: all or none are committed."""

    count: int
    granted: int
    """The number of letters within the rate."""
    rows: list[Row] = field(default_factory=list)
    of_rules: dict[RuleKey, int] = field(default_factory=dict)
    """The index in `rows` of the last letter that each rule rejected."""
    size_bytes: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    acks: Acks | None = None
    lost: list[int] = field(default_factory=list)
    """Indexes of the letters that are not kept, in order."""
    done: asyncio.Future[None] | None = None
    deadline_mono_s: float = 0.0


class DeadLetters:
    """Stores rejects in the background, within a rate, a size on disk and a size in memory.

    Every letter passed to `keep` or `commit` is counted exactly once in `counts`, when its fate is known:

    - `kept`: committed to the file;
    - `not_kept_rate`: over the rate;
    - `not_kept_queue`: memory was full, because the store is slow or fails;
    - `not_kept_size`: over the limit of one call, a quarter of the file's maximum size;
    - `not_kept_shutdown`: not written before the store closed.

    `waiting` is the number of letters without a fate. `evicted` counts kept letters that were deleted later
    to make room. A fault of the file never stops the data: the write is retried until it succeeds.
    """

    def __init__(
        self,
        path: Path,
        settings: DeadLetterSettings,
        databases: Databases,
        *,
        clock: Callable[[], Now] = read_clock,
        synchronous: Synchronous = "normal",
        max_waiting_bytes: int = 16 * 2**20,
        payloads: Mapping[str, DeadLetterPayload] | None = None,
        quality: Quality | None = None,
    ) -> None:
        """`payloads` sets by source how payloads are stored. Without an entry they are stored whole.

        `quality` gets the ids of letters that rules have rejected.
        """
        self.path = path
        self.counts: Counter[str] = Counter()
        self.waiting = 0
        self.waiting_bytes = 0
        self.trouble: str | None = None
        """The error of the last attempt to write, or None if it succeeded."""
        self._settings = settings
        self._databases = databases
        self._clock = clock
        self._synchronous: Synchronous = synchronous
        self._max_waiting_bytes = max_waiting_bytes
        self.payloads = payloads or {}
        self._quality = Quality() if quality is None else quality
        self._tokens = float(settings.burst)
        self._tokens_at_mono_s = clock().mono_s
        self._queue: deque[_Queued] = deque()
        self._work = asyncio.Event()
        self._closing = False
        self._backoff = Backoff(most_s=1.0)
        self._db: Database | None = None
        self._writer: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the file, evict letters above `max_size` and start the writer. Raises `EnvironmentFault`."""
        self._db = await self._databases.acquire(self.path, self._synchronous)
        try:
            await self._prepare()
            await self._db.fetch(_EXPLAIN)  # a table with other columns fails here, not at the first letter
            async with self._db.transaction():
                evicted = await self._make_room(self._db, 0)
            self.counts["evicted"] += evicted
            if evicted:  # `max_size` was lowered, or the file was copied here
                await self._db.fetch("VACUUM")
        except (SinkError, sqlite3.Error) as error:
            await self._databases.release(self._db)
            raise EnvironmentFault(f"{self._refusal}: {error}") from error
        self._db.recovery.add_user(self._prepare)
        self._writer = asyncio.create_task(self._write_all(self._db), name="dead-letters")

    def rehearse(self) -> None:
        """Raises the errors that `open` would raise, and changes nothing. It blocks."""
        self._databases.rehearse(self.path)
        with rehearsed(self.path) as connection:
            try_statements(connection, (TABLE, _EXPLAIN), self.path, self._refusal)

    @property
    def _refusal(self) -> str:
        return f"cannot write the dead letters {self.path}"

    async def _prepare(self) -> None:
        """Make the table. Runs again if another file appears at the path."""
        if self._db is not None:
            await self._db.execute(TABLE)

    async def close(self, timeout_s: float = 2.0) -> None:
        """Write the waiting letters for at most `timeout_s`. The rest is counted as `not_kept_shutdown`."""
        if self._db is None or self._writer is None:
            return
        self._closing = True
        self._work.set()
        await asyncio.wait((self._writer,), timeout=timeout_s)
        self._writer.cancel()
        await asyncio.wait((self._writer,))
        for queued in self._queue:
            queued.refused["shutdown"] += len(queued.rows)
            queued.rows.clear()
            queued.of_rules.clear()
            self._settle(queued)
        self._queue.clear()
        self._db.recovery.remove_user(self._prepare)
        await self._databases.release(self._db)
        self._db = self._writer = None

    def keep(self, letters: list[DeadLetter], acks: Acks | None = None) -> None:
        """Queue the letters, 4 to 6 µs each. Never blocks and never raises.

        `acks` has one row for each letter and is settled after the commit: as rejected if the letter was
        kept, as dropped if it was not.
        """
        queued = self._admit(letters, self._max_waiting_bytes - self.waiting_bytes)
        queued.acks = acks
        self._put(queued)

    async def commit(self, letters: list[DeadLetter]) -> None:
        """Return when the letters are committed, or counted as not kept because of the rate or the size.

        Raises `SinkError` if the store fails for `COMMIT_PATIENCE_S`. Then none of the letters is kept or
        counted, and the sink may pass them again. A write under way is awaited first, because its outcome is
        not known.
        """
        queued = self._admit(letters, self._at_once_bytes)  # the sink holds them in memory anyway
        queued.done = asyncio.get_running_loop().create_future()
        queued.deadline_mono_s = self._clock().mono_s + COMMIT_PATIENCE_S
        self._put(queued)
        await queued.done

    def entries(self) -> Iterator[Entry]:
        """The counts as entries of the ledger. Their source is empty."""
        for fate, n in self.counts.items():
            yield Entry("", "", "", f"dead_letters_{fate}", "", n)
        yield Entry("", "", "", "dead_letters_waiting", "", self.waiting)

    @property
    def _at_once_bytes(self) -> int:
        return self._settings.max_size // 4

    def _admit(self, letters: list[DeadLetter], room_bytes: int) -> _Queued:
        granted = self._grant(len(letters))
        queued = _Queued(len(letters), granted)
        if granted < len(letters):
            queued.refused["rate"] = len(letters) - granted
        for index, letter in enumerate(islice(letters, granted)):
            row = row_of(letter, self.payloads.get(letter.source, "keep"))
            size_bytes = size_bytes_of(row)
            if queued.size_bytes + size_bytes > self._at_once_bytes:
                queued.refused["size"] += 1
                queued.lost.append(index)
            elif queued.size_bytes + size_bytes > room_bytes:
                queued.refused["queue"] += 1
                queued.lost.append(index)
            else:
                for key in letter.rules:
                    queued.of_rules[key] = len(queued.rows)
                queued.rows.append(row)
                queued.size_bytes += size_bytes
        queued.lost += range(granted, len(letters))
        return queued

    def _grant(self, wanted: int) -> int:
        """How many of `wanted` letters are within the rate, by a token bucket."""
        now_s = self._clock().mono_s
        refill = (now_s - self._tokens_at_mono_s) * self._settings.rate
        self._tokens = min(float(self._settings.burst), self._tokens + refill)
        self._tokens_at_mono_s = now_s
        granted = min(wanted, int(self._tokens))
        self._tokens -= granted
        return granted

    def _put(self, queued: _Queued) -> None:
        self.waiting += queued.count
        if queued.rows and self._writer is None:
            queued.refused["shutdown"] += len(queued.rows)
            queued.rows.clear()
        self.waiting_bytes += queued.size_bytes
        if queued.rows:
            self._queue.append(queued)
            self._work.set()
        else:
            self._settle(queued)

    def _settle(self, queued: _Queued) -> None:
        """Count the letters, settle their acks and wake the waiting sink, once the rows are committed."""
        self.waiting -= queued.count
        self.waiting_bytes -= queued.size_bytes
        self.counts["kept"] += len(queued.rows)
        for why, n in queued.refused.items():
            self.counts[f"not_kept_{why}"] += n
        if queued.acks is not None:
            lost = range(queued.count) if queued.refused["shutdown"] else queued.lost
            queued.acks.settle_rows([(Status.DROPPED, lost)], Status.REJECTED)
        if queued.done is not None and not queued.done.done():
            queued.done.set_result(None)

    async def _write_all(self, db: Database) -> None:
        while True:
            if not self._queue:
                if self._closing:
                    return
                self._work.clear()
                await self._work.wait()
                continue
            some = self._next_commit()
            try:
                evicted, first_id = await self._write(db, some)
            except Exception as error:  # noqa: BLE001 - acks and sinks wait for this task: no fault may end it
                self.trouble = str(error)
                wait_s = self._backoff.next_s()
                log.warning("dead_letters_retrying", why=str(error), waiting=self.waiting, retry_in_s=wait_s)
                self._withdraw_overdue()
                await asyncio.sleep(wait_s)
                continue
            self.trouble = None
            self._backoff.reset()
            self.counts["evicted"] += evicted
            for queued in some:
                for key, index in queued.of_rules.items():
                    self._quality.of(*key).letter = first_id + index
                first_id += len(queued.rows)
                self._queue.popleft()
                self._settle(queued)

    def _next_commit(self) -> list[_Queued]:
        """The oldest waiting calls, up to a limit of size. They stay in the queue until the commit."""
        some: list[_Queued] = []
        size_bytes = 0
        for queued in self._queue:
            size_bytes += queued.size_bytes
            if some and size_bytes > min(_BYTES_PER_COMMIT, self._at_once_bytes):
                break
            some.append(queued)
        return some

    def _withdraw_overdue(self) -> None:
        """Fail the `commit` calls that are past their deadline, as if they had never been made."""
        now_s = self._clock().mono_s
        overdue = [
            queued
            for queued in self._queue
            if queued.done is not None and (queued.deadline_mono_s <= now_s or queued.done.cancelled())
        ]
        for queued in overdue:
            self._queue.remove(queued)
            self.waiting -= queued.count
            self.waiting_bytes -= queued.size_bytes
            self._tokens += queued.granted
            if queued.done is not None and not queued.done.done():
                queued.done.set_exception(SinkError("dead_letters", f"cannot be written: {self.trouble}"))

    async def _write(self, db: Database, some: list[_Queued]) -> tuple[int, int]:
        """Commit the letters. Returns the number of older letters evicted for them, and the first new id."""
        rows = [row for queued in some for row in queued.rows]
        async with db.transaction():
            evicted = await self._make_room(db, sum(queued.size_bytes for queued in some))
            for start in range(0, len(rows), _ROWS_PER_INSERT):
                part = rows[start : start + _ROWS_PER_INSERT]
                values = ", ".join([_PLACES] * len(part))
                db.submit(_INSERT + values, [value for row in part for value in row])
            last_id = 0
            if any(queued.of_rules for queued in some):
                ((last_id,),) = await db.fetch("SELECT max(id) FROM dead_letters")
        return evicted, last_id - len(rows) + 1

    async def _make_room(self, db: Database, needed_bytes: int) -> int:
        """Delete the oldest letters until `needed_bytes` fit. Returns the number deleted.

        SQLite reuses freed pages, so the file does not grow. The write-ahead log is not counted.
        """
        evicted = 0
        while await db.used_bytes() + needed_bytes > self._settings.max_size:
            ((oldest, newest),) = await db.fetch("SELECT min(id), max(id) FROM dead_letters")
            if oldest is None:
                break
            first_kept = oldest + (newest - oldest) // _EVICTED_SHARE + 1
            await db.execute("DELETE FROM dead_letters WHERE id < ?", (first_kept,))
            ((deleted,),) = await db.fetch("SELECT changes()")
            evicted += deleted
        return evicted
