"""Writes batches to one file for each period, and removes files that are too old."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from urllib.parse import quote as quoted_path

import structlog

from streamd.core.batch import RECEIVED_AT, Batch
from streamd.core.contracts import Written
from streamd.core.errors import BadData, SinkError, StreamdError
from streamd.core.timestamp import canonical
from streamd.files.dated import DatedPath
from streamd.sqlite.faults import environment_fault
from streamd.sqlite.files import foreign
from streamd.sqlite.retention import Retention
from streamd.sqlite.table import quote
from streamd.sqlite.table_writer import TableWriter

log = structlog.get_logger()

_MOST_OPEN = 4
_UNUSED_S = 60.0
"""A file without a write for this time is closed at the next write to another file."""
_COMPANIONS = ("", "-wal", "-shm")


class _SplitBatches:
    """The batches of one write, split by file. Files already committed are not written again in a retry."""

    def __init__(self, batches: Sequence[Batch], path_of: Callable[[Batch], Path | list[Path]]) -> None:
        self.batches = batches
        self.written = Written.whole(len(batches))
        self.waiting: dict[Path, list[tuple[int, Sequence[int], Batch]]] = {}
        for place, batch in enumerate(batches):
            paths = path_of(batch)
            if isinstance(paths, Path):
                self.waiting.setdefault(paths, []).append((place, range(len(batch)), batch))
                continue
            for path in dict.fromkeys(paths):
                rows = [row for row, each in enumerate(paths) if each == path]
                self.waiting.setdefault(path, []).append((place, rows, _chosen(batch, rows)))

    def are_of(self, batches: Sequence[Batch]) -> bool:
        """Whether `batches` are the same objects, so that this is a retry."""
        return len(batches) == len(self.batches) and all(
            one is other for one, other in zip(batches, self.batches, strict=True)
        )

    def done(self, path: Path, written: Written) -> None:
        """Record that a file's part is committed."""
        for (place, rows, _), rejected, replaced in zip(
            self.waiting.pop(path), written.rejected, written.replaced, strict=True
        ):
            if rejected:
                self.written.rejected[place] = sorted(
                    [*self.written.rejected[place], *(rows[row] for row in rejected)]
                )
            self.written.replaced[place] += replaced


class DatedWriter:
    """Writes each record to the file of the period (UTC) in which it was received.

    A batch that spans midnight is committed file by file. `open_file` returns a writer with an open database
    and an existing table; `close_file` closes it.
    """

    def __init__(
        self,
        dated: DatedPath,
        open_file: Callable[[Path], Awaitable[TableWriter]],
        close_file: Callable[[TableWriter], Awaitable[None]],
        table: str,
        retention: Retention,
        max_bytes: int | None,
    ) -> None:
        self._dated = dated
        self._open_file = open_file
        self._close_file = close_file
        self._table = table
        self._retention = retention
        self._max_bytes = max_bytes
        self._open: dict[Path, TableWriter] = {}
        self._used_s: dict[Path, float] = {}
        self._lock = asyncio.Lock()
        self._leaving: Path | None = None
        self._removable: set[Path] = set()
        """Files that were checked and may be removed by retention."""
        self._foreign: set[Path] = set()
        """Files that are not removed: no databases, or databases with other tables."""
        self._future: set[Path] = set()
        """Files dated in the future that were already warned about."""
        self._parts: _SplitBatches | None = None

    async def open(self) -> None:
        """Open the current file, so that a problem shows at the start. Raises what `open_file` raises."""
        async with self._lock:
            await self._writer(self._dated.file_of(datetime.now(UTC)))

    @property
    def trouble(self) -> tuple[str, float] | None:
        """The trouble of the file that has been in trouble for longest."""
        return min(
            filter(None, (writer.trouble for writer in self._open.values())), key=itemgetter(1), default=None
        )

    async def close(self) -> None:
        """Close every file."""
        async with self._lock:
            for path in list(self._open):
                await self._close(path)

    async def write(self, batches: Sequence[Batch]) -> Written:
        """Commit all batches, each file in one transaction.

        Raises `SinkError` if a file cannot be written. A retry with the same batches continues at that file.
        """
        if self._parts is None or not self._parts.are_of(batches):
            self._parts = _SplitBatches(batches, self._paths_of)
        parts = self._parts
        async with self._lock:
            for path in sorted(parts.waiting):
                if path == self._leaving:
                    raise SinkError("expiring", f"{path} is being removed by retention")
                try:
                    writer = await self._writer(path)
                    written = await writer.write([batch for _, _, batch in parts.waiting[path]])
                except SinkError as error:
                    if error.reason == "moved":  # an operator may move a file away; a retry makes it anew
                        await self._close(path)
                    raise
                except StreamdError as error:
                    raise SinkError("cannot_open", str(error)) from error
                parts.done(path, written)
            self._parts = None
            await self._close_unused()
        return parts.written

    async def expire(self) -> bool:
        """Remove the oldest file if it is too old or the files are too large together.

        If only the current file is left, some of its rows are deleted instead. Files of future periods are
        neither counted nor removed. True if there may be more to remove.
        """
        moment = self._retention.now
        files = self._files(moment)
        now = self._dated.file_of(moment)
        oldest = next((path for path in files if path != now), None)
        cutoff = self._retention.cutoff
        if oldest is not None:
            start = self._dated.start_of_file(oldest)
            old = cutoff is not None and start is not None and self._dated.end_of(start) <= cutoff
            if old or (self._max_bytes is not None and sum(map(_size_bytes, files)) > self._max_bytes):
                await self._remove(oldest)
                return True
        elif self._max_bytes is not None and now in self._open:
            return await self._retention.step(self._open[now].database, self._max_bytes)
        return False

    def _files(self, moment: datetime) -> list[Path]:
        """The databases up to the current one, oldest first. Other files are warned about once."""
        every = self._dated.files()
        there = [path for path in every if not self._dated.is_in_future(path, moment)]
        to_come = set(every) - set(there)
        for path in sorted(to_come - self._future):
            log.warning(
                "file_of_the_future",
                path=str(path),
                hint="retention neither counts nor removes it before its time: check the clock of this host"
                " and the received_at that a step sets, then rename the file or move it away",
            )
        self._future = to_come
        self._removable &= set(there)
        self._foreign &= set(there)
        for path in there:
            if path not in self._removable and path not in self._foreign:
                why = foreign(path)
                if why is None:
                    self._removable.add(path)
                else:
                    self._leave(path, why)
        return [path for path in there if path in self._removable]

    def _leave(self, path: Path, why: str | None) -> None:
        self._removable.discard(path)
        self._foreign.add(path)
        if why is not None:
            hint = "retention leaves it alone: move it away, or give it another name"
            log.warning("foreign_file", path=str(path), why=why, hint=hint)

    async def _remove(self, path: Path) -> None:
        async with self._lock:
            self._leaving = path
            await self._close(path)
        removing = asyncio.ensure_future(asyncio.to_thread(remove_table, path, self._table))
        try:
            await asyncio.shield(removing)
        except SinkError as error:
            if error.reason != "corrupt":
                raise
            self._leave(path, str(error))
        finally:  # a stop does not interrupt the thread, so removed rows are counted in any case
            await asyncio.wait((removing,))
            self._leaving = None
            if removing.exception() is None:
                gone, is_gone = removing.result()
                self._retention.expired(gone)
                if not is_gone:
                    self._leave(path, None)
                log.info("file_expired", path=str(path), rows=gone)

    async def _writer(self, path: Path) -> TableWriter:
        self._used_s[path] = time.monotonic()
        if path not in self._open:
            self._open[path] = await self._open_file(path)
            self._foreign.discard(path)
        return self._open[path]

    async def _close(self, path: Path) -> None:
        self._used_s.pop(path, None)
        writer = self._open.pop(path, None)
        if writer is not None:
            await self._close_file(writer)

    async def _close_unused(self) -> None:
        now_s = time.monotonic()
        by_use = sorted(self._used_s, key=self._used_s.__getitem__)
        for place, path in enumerate(by_use):
            if len(by_use) - place > _MOST_OPEN or now_s - self._used_s[path] > _UNUSED_S:
                await self._close(path)

    def _paths_of(self, batch: Batch) -> Path | list[Path]:
        """The file for all records of a batch, or a list with the file for each."""
        if batch.lifted:
            each = [self._path_of_text(record.get(RECEIVED_AT)) for record in batch.records]
        elif (times_s := batch.received_at.values) is None:
            return self._path_of(batch.received_at.same)
        else:
            first, last = self._path_of(min(times_s)), self._path_of(max(times_s))
            each = [first] if first == last else list(map(self._path_of, times_s))
        return each[0] if len(set(each)) == 1 else each

    def _path_of(self, wall_s: float) -> Path:
        return self._dated.file_of(datetime.fromtimestamp(wall_s, UTC))

    def _path_of_text(self, received_at: object) -> Path:
        """The file for a record's `received_at`. Without a valid one, the file of the present."""
        with contextlib.suppress(BadData):
            if received_at is not None:
                return self._dated.file_of(datetime.fromisoformat(canonical(received_at)))
        return self._dated.file_of(datetime.now(UTC))


def remove_table(path: Path, table: str) -> tuple[int, bool]:
    """Remove a table from a file that is not written to. If the file has no other table, delete the file.

    Returns the table's number of rows and whether the file was deleted. Counting reads all rows. Raises
    `SinkError`.
    """
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{quoted_path(str(path))}?mode=rw", uri=True, isolation_level=None)
        ) as connection:
            connection.execute("BEGIN IMMEDIATE")
            known = (
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite@_%' ESCAPE '@'"
            )
            tables = {name.lower() for (name,) in connection.execute(known)}
            rows = 0
            if table.lower() in tables:
                (rows,) = connection.execute(f"SELECT count(*) FROM {quote(table)}").fetchone()  # noqa: S608 - quoted
                if len(tables) > 1:
                    connection.execute(f"DROP TABLE {quote(table)}")
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        fault = environment_fault(error)
        raise SinkError(fault.reason if fault else "expire", f"{path}: {error}") from error
    alone = tables == {table.lower()}
    if alone:
        for suffix in _COMPANIONS:
            Path(f"{path}{suffix}").unlink(missing_ok=True)
    return int(rows), alone


def _size_bytes(path: Path) -> int:
    size_bytes = 0
    for suffix in _COMPANIONS:
        with contextlib.suppress(FileNotFoundError):  # closing the database deletes its log
            size_bytes += Path(f"{path}{suffix}").stat().st_size
    return size_bytes


def _chosen(batch: Batch, rows: Sequence[int]) -> Batch:
    """A batch of the records at these indexes, without acks."""
    width = len(batch.fields) if batch.fields else 1
    return Batch(
        [value for row in rows for value in batch.records[row * width : (row + 1) * width]],
        batch.source,
        batch.pipeline,
        batch.peers.take(rows),
        batch.received_at.take(rows),
        fields=batch.fields,
        lifted=batch.lifted,
    )
