"""The dead letters' store: what could not be used, kept in a SQLite file of bounded size."""

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
from streamd.core.settings import DeadLetterPayload
from streamd.core.sums import Entry
from streamd.dead_letters.row import COLUMNS, TABLE, Row, row_of, size_bytes_of
from streamd.runtime.backoff import Backoff
from streamd.sqlite.database import Database, Synchronous
from streamd.sqlite.databases import Databases
from streamd.sqlite.rehearsal import rehearsed, try_statements

log = structlog.get_logger()

COMMIT_PATIENCE_S = 5.0
"""How long a sink waits for its letters while the store is in trouble, before it retries its batch."""

_INSERT = f"INSERT INTO dead_letters ({', '.join(COLUMNS)}) VALUES "  # noqa: S608 - our own words
_PLACES = f"({', '.join('?' for _ in COLUMNS)})"
_EXPLAIN = f"EXPLAIN {_INSERT}{_PLACES.replace('?', 'NULL')}"
_ROWS_PER_INSERT = 50
_BYTES_PER_COMMIT = 4 * 2**20
_EVICTED_SHARE = 16
"""Each eviction takes one part in so many of the letters, the oldest."""


@dataclass(slots=True, eq=False)
class _Handed:
    """The letters of one call: they are written together, and all succeed or fail together."""

    count: int
    granted: int
    """How many were within the rate."""
    rows: list[Row] = field(default_factory=list)
    size_bytes: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    acks: Acks | None = None
    lost: list[int] = field(default_factory=list)
    """Indexes of the letters that are not kept, in order."""
    done: asyncio.Future[None] | None = None
    deadline_mono_s: float = 0.0


class DeadLetters:
    """Keeps rejects in the background, within a rate, a size on disk and a size in memory.

    Every letter handed in is counted exactly once in `counts`, when its fate is known: `kept`,
    `not_kept_rate` (over the rate), `not_kept_queue` (too many wait in memory because the store is slow or
    in trouble), `not_kept_size` (one call with more than a quarter of the file) or `not_kept_shutdown`.
    Until then it is in `waiting`. `evicted` are those that were kept and later made room.
    Trouble with the file never reaches the data's path: writing is tried again until it succeeds.
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
    ) -> None:
        """`payloads` says by source what is kept of a letter's payload: all of it where it says nothing."""
        self.path = path
        self.counts: Counter[str] = Counter()
        self.waiting = 0
        self.waiting_bytes = 0
        self.trouble: str | None = None
        """Why the last attempt to write failed; None when it did not."""
        self._settings = settings
        self._databases = databases
        self._clock = clock
        self._synchronous: Synchronous = synchronous
        self._max_waiting_bytes = max_waiting_bytes
        self.payloads = payloads or {}
        self._tokens = float(settings.burst)
        self._tokens_at_mono_s = clock().mono_s
        self._queue: deque[_Handed] = deque()
        self._work = asyncio.Event()
        self._closing = False
        self._backoff = Backoff(most_s=1.0)
        self._db: Database | None = None
        self._writer: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Make or open the file, bring it within its size, begin to write. Raises `EnvironmentFault`."""
        self._db = await self._databases.acquire(self.path, self._synchronous)
        try:
            await self._prepare()
            await self._db.fetch(_EXPLAIN)  # else a table of another making shows at the first letter only
            async with self._db.transaction():
                evicted = await self._make_room(self._db, 0)
            self.counts["evicted"] += evicted
            if (
                evicted
            ):  # `max_size` was lowered, or the file came from elsewhere: the disk gets its space back
                await self._db.fetch("VACUUM")
        except (SinkError, sqlite3.Error) as error:
            await self._databases.release(self._db)
            raise EnvironmentFault(f"{self._refusal}: {error}") from error
        self._db.recovery.add_user(self._prepare)
        self._writer = asyncio.create_task(self._write_all(self._db), name="dead-letters")

    def rehearse(self) -> None:
        """Raises what `open` would, and changes nothing. It blocks."""
        self._databases.rehearse(self.path)
        with rehearsed(self.path) as connection:
            try_statements(connection, (TABLE, _EXPLAIN), self.path, self._refusal)

    @property
    def _refusal(self) -> str:
        return f"cannot write the dead letters {self.path}"

    async def _prepare(self) -> None:
        """Also in another file that has come to the path."""
        if self._db is not None:
            await self._db.execute(TABLE)

    async def close(self, timeout_s: float = 2.0) -> None:
        """Write what waits, for `timeout_s` at most; what is left then is `not_kept` by `shutdown`."""
        if self._db is None or self._writer is None:
            return
        self._closing = True
        self._work.set()
        await asyncio.wait((self._writer,), timeout=timeout_s)
        self._writer.cancel()
        await asyncio.wait((self._writer,))
        for handed in self._queue:
            handed.refused["shutdown"] += len(handed.rows)
            handed.rows.clear()
            self._settle(handed)
        self._queue.clear()
        self._db.recovery.remove_user(self._prepare)
        await self._databases.release(self._db)
        self._db = self._writer = None

    def keep(self, letters: list[DeadLetter], acks: Acks | None = None) -> None:
        """Take the letters now, 4 to 6 µs each; never blocks and never raises.

        `acks` has a row for each letter. They are settled once the letters are committed: as rejected, or as
        dropped where a letter of theirs could not be kept.
        """
        handed = self._admit(letters, self._max_waiting_bytes - self.waiting_bytes)
        handed.acks = acks
        self._put(handed)

    async def commit(self, letters: list[DeadLetter]) -> None:
        """Return when the letters are committed, or counted as not kept by rate or size.

        Raises `SinkError` where the store is in trouble for `COMMIT_PATIENCE_S`: then none of the letters
        is kept or counted, and the same ones may be handed in again. An attempt to write that is under way
        is waited for first, because its outcome is not known.
        """
        handed = self._admit(letters, self._at_once_bytes)  # the sink holds them in memory as it is
        handed.done = asyncio.get_running_loop().create_future()
        handed.deadline_mono_s = self._clock().mono_s + COMMIT_PATIENCE_S
        self._put(handed)
        await handed.done

    def entries(self) -> Iterator[Entry]:
        """The counts as entries of the ledger, without a source."""
        for fate, n in self.counts.items():
            yield Entry("", "", "", f"dead_letters_{fate}", "", n)
        yield Entry("", "", "", "dead_letters_waiting", "", self.waiting)

    @property
    def _at_once_bytes(self) -> int:
        return self._settings.max_size // 4

    def _admit(self, letters: list[DeadLetter], room_bytes: int) -> _Handed:
        granted = self._grant(len(letters))
        handed = _Handed(len(letters), granted)
        if granted < len(letters):
            handed.refused["rate"] = len(letters) - granted
        for index, letter in enumerate(islice(letters, granted)):
            row = row_of(letter, self.payloads.get(letter.source, "keep"))
            size_bytes = size_bytes_of(row)
            if handed.size_bytes + size_bytes > self._at_once_bytes:
                handed.refused["size"] += 1
                handed.lost.append(index)
            elif handed.size_bytes + size_bytes > room_bytes:
                handed.refused["queue"] += 1
                handed.lost.append(index)
            else:
                handed.rows.append(row)
                handed.size_bytes += size_bytes
        handed.lost += range(granted, len(letters))
        return handed

    def _grant(self, wanted: int) -> int:
        """How many of `wanted` are within the rate (a token bucket)."""
        now_s = self._clock().mono_s
        refill = (now_s - self._tokens_at_mono_s) * self._settings.rate
        self._tokens = min(float(self._settings.burst), self._tokens + refill)
        self._tokens_at_mono_s = now_s
        granted = min(wanted, int(self._tokens))
        self._tokens -= granted
        return granted

    def _put(self, handed: _Handed) -> None:
        self.waiting += handed.count
        if handed.rows and self._writer is None:
            handed.refused["shutdown"] += len(handed.rows)
            handed.rows.clear()
        self.waiting_bytes += handed.size_bytes
        if handed.rows:
            self._queue.append(handed)
            self._work.set()
        else:
            self._settle(handed)

    def _settle(self, handed: _Handed) -> None:
        """Its rows are committed, or there are none: count, and tell who waits."""
        self.waiting -= handed.count
        self.waiting_bytes -= handed.size_bytes
        self.counts["kept"] += len(handed.rows)
        for why, n in handed.refused.items():
            self.counts[f"not_kept_{why}"] += n
        if handed.acks is not None:
            lost = range(handed.count) if handed.refused["shutdown"] else handed.lost
            handed.acks.settle_but(lost, Status.DROPPED, Status.REJECTED)
        if handed.done is not None and not handed.done.done():
            handed.done.set_result(None)

    async def _write_all(self, db: Database) -> None:
        while True:
            if not self._queue:
                if self._closing:
                    return
                self._work.clear()
                await self._work.wait()
                continue
            some = self._some()
            try:
                evicted = await self._write(db, some)
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
            for handed in some:
                self._queue.popleft()
                self._settle(handed)

    def _some(self) -> list[_Handed]:
        """What the next commit takes: all that waits, up to a limit of size. It stays in the queue."""
        some: list[_Handed] = []
        size_bytes = 0
        for handed in self._queue:
            size_bytes += handed.size_bytes
            if some and size_bytes > min(_BYTES_PER_COMMIT, self._at_once_bytes):
                break
            some.append(handed)
        return some

    def _withdraw_overdue(self) -> None:
        """Give letters back to the sinks that have waited long enough, as if they had not come."""
        now_s = self._clock().mono_s
        overdue = [
            handed
            for handed in self._queue
            if handed.done is not None and (handed.deadline_mono_s <= now_s or handed.done.cancelled())
        ]
        for handed in overdue:
            self._queue.remove(handed)
            self.waiting -= handed.count
            self.waiting_bytes -= handed.size_bytes
            self._tokens += handed.granted
            if handed.done is not None and not handed.done.done():
                handed.done.set_exception(SinkError("dead_letters", f"cannot be written: {self.trouble}"))

    async def _write(self, db: Database, some: list[_Handed]) -> int:
        """Commit them; returns how many older letters made room."""
        rows = [row for handed in some for row in handed.rows]
        async with db.transaction():
            evicted = await self._make_room(db, sum(handed.size_bytes for handed in some))
            for start in range(0, len(rows), _ROWS_PER_INSERT):
                part = rows[start : start + _ROWS_PER_INSERT]
                values = ", ".join([_PLACES] * len(part))
                db.submit(_INSERT + values, [value for row in part for value in row])
        return evicted

    async def _make_room(self, db: Database, needed_bytes: int) -> int:
        """Delete the oldest letters until `needed_bytes` fit; returns how many were deleted.

        Freed pages are used again, so the file does not grow. The write-ahead log is not counted.
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
