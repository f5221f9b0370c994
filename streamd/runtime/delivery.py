"""Delivers the records in a sink's buffer: batches, retries, counts and acks."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from streamd.core.ack import Status
from streamd.core.batch import Batch
from streamd.core.books import Books
from streamd.core.contracts import AnySink, Written
from streamd.core.errors import SinkError
from streamd.core.histogram import Histogram
from streamd.core.now import Now
from streamd.core.settings import BatchSettings, BufferSettings
from streamd.runtime.backoff import Backoff
from streamd.runtime.batcher import Batcher
from streamd.runtime.buffer import Buffer
from streamd.runtime.meter import Meter
from streamd.runtime.taps import Point

log = structlog.get_logger()

LAST_COMMIT_WAIT_S = 2.0
"""Longest wait for a commit under way when the time for draining is over. It is longer than the wait for a
locked SQLite file, so a lock never leaves an outcome unknown."""
LATENCY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Delivery:
    """Takes the batches in the buffer of a sink, and tries without limit to have them committed."""

    def __init__(
        self,
        name: str,
        sink: AnySink,
        settings: BatchSettings,
        buffer: BufferSettings,
        books: Books,
        clock: Callable[[], Now],
    ) -> None:
        self.name = name
        self.sink = sink
        self.buffer: Buffer[Batch] = Buffer(
            buffer.max_records, buffer.max_bytes, buffer.when_full or "block", self._drop
        )
        self.meter = Meter(clock().mono_s)
        self.latency_s = Histogram(LATENCY_BOUNDS_S)
        self.trouble: str | None = None
        self.trouble_since_mono_s = 0.0
        self.last_commit_mono_s: float | None = None
        self.writing: asyncio.Future[Written] | None = None
        self.tap: Point | None = None
        """The point before the sink, while taps look there."""
        self._books = books
        self._clock = clock
        self._batcher = Batcher(settings, buffer.max_records)
        self._backoff = Backoff()
        self._found_full = 0

    @property
    def entered(self) -> int:
        """All records that were put into the buffer, including dropped ones."""
        return self.meter.entered + self.buffer.records + self._found_full

    @property
    def max_batch(self) -> int:
        """Most records of one commit."""
        return self._batcher.most

    @property
    def max_wait_s(self) -> float:
        """How long a record waits for others."""
        return self._batcher.max_wait_s

    @property
    def writing_since_mono_s(self) -> float | None:
        """When the first attempt to write the records under way began. None if none is under way."""
        return None if self.meter.state == "idle" else self._batcher.last_start_mono_s

    @property
    def usual_write_s(self) -> float:
        """The median duration of the last five writes; 0 without any."""
        return self._batcher.usual_s

    async def run(self) -> None:
        """Deliver until the buffer is closed and empty."""
        while True:
            await self.buffer.wait()
            if not self.buffer.records:
                return
            wait_s = self._batcher.wait_s(self.buffer.records, self._clock().mono_s)
            if wait_s > 0 and not self.buffer.closed:
                try:
                    async with asyncio.timeout(wait_s):
                        await self.buffer.wait(self._batcher.enough)
                except TimeoutError:
                    pass
            began_mono_s = self._clock().mono_s
            self._batcher.started(began_mono_s)
            self.meter.to("busy", began_mono_s)
            batches = self.buffer.take_quietly(self._batcher.most)
            self.meter.entered += sum(map(len, batches))
            try:
                self._settle(batches, await self._write(batches))
            except asyncio.CancelledError:
                await self._await_last_commit(batches)
                raise

    async def flush(self) -> None:
        """Write the records in the buffer, for a caller that does not `run`."""
        while self.buffer.records:
            batches = self.buffer.take_quietly(self._batcher.most)
            self._batcher.started(self._clock().mono_s)
            self.meter.entered += sum(map(len, batches))
            self._settle(batches, await self._write(batches))

    async def _write(self, batches: Sequence[Batch]) -> Written:
        if self.tap is not None:
            for batch in batches:
                self.tap.see_batch(batch)
        while True:
            progress = self.sink.progress
            self.writing = asyncio.ensure_future(self.sink.write(batches))
            # After the commit has begun, because the workers that are woken here decode for milliseconds.
            self.buffer.make_room()
            try:
                written = await asyncio.shield(self.writing)
            except SinkError as error:
                if self.sink.progress != progress:  # the output goes on, with pauses
                    self._backoff.reset()
                wait_s = self._backoff.next_s()
                self._trouble(error.reason)
                log.warning(
                    "sink_retrying",
                    sink=self.name,
                    reason=error.reason,
                    detail=error.detail,
                    records=sum(map(len, batches)),
                    retry_in_s=round(wait_s, 1),
                )
            except Exception as error:  # a fault of the sink's code must not lose records
                wait_s = self._backoff.next_s()
                self._trouble("exception")
                log.exception("sink_failed", sink=self.name, error=repr(error), retry_in_s=round(wait_s, 1))
            else:
                if self.trouble is not None:
                    log.info("sink_recovered", sink=self.name, after=self.trouble)
                    self.trouble = None
                self._backoff.reset()
                return written
            await asyncio.sleep(wait_s)

    async def _await_last_commit(self, batches: Sequence[Batch]) -> None:
        """Wait shortly for a commit under way after the drain has run out of time; count it if it ends."""
        if self.writing is not None:
            await asyncio.wait({self.writing}, timeout=LAST_COMMIT_WAIT_S)
            if not self.writing.done():
                log.error(
                    "commit_outcome_unknown",
                    sink=self.name,
                    records=sum(map(len, batches)),
                    hint="counted as dropped, but some of them may be stored",
                )
            elif not self.writing.cancelled() and self.writing.exception() is None:
                self._settle(batches, self.writing.result())
                return
        for batch in batches:
            batch.settle(Status.DROPPED)

    def abandon(self) -> None:
        """Settle the waiting batches as dropped. The caller counts them in the books."""
        for batch in self.buffer.drain():
            batch.settle(Status.DROPPED)

    def _trouble(self, reason: str) -> None:
        if self.trouble is None:
            self.trouble_since_mono_s = self._clock().mono_s
            self.meter.to("blocked", self.trouble_since_mono_s)
        self.trouble = reason

    def _settle(self, batches: Sequence[Batch], written: Written) -> None:
        now = self._clock()
        self.last_commit_mono_s = now.mono_s
        self._batcher.ended(now.mono_s)
        self.meter.batches += 1
        self.meter.to("idle", now.mono_s)
        gone = written.dropped or [{}] * len(batches)
        known = written.left_out or [{}] * len(batches)
        for batch, rejected, replaced, dropped, left_out in zip(
            batches, written.rejected, written.replaced, gone, known, strict=True
        ):
            book = self._books.delivery(batch.source, batch.pipeline, self.name)
            stored = len(batch) - len(rejected) - len(dropped) - len(left_out)
            book.stored += stored
            self.meter.left += stored
            book.replaced += replaced
            book.rejected += len(rejected)
            if dropped:
                book.dropped.update(dropped.values())
            if left_out:
                book.left_out.update(left_out.values())
            if batch.acks is not None:
                fates = [(Status.DROPPED, list(dropped)), (Status.REJECTED, rejected)]
                batch.acks.settle_rows(fates, Status.DELIVERED)
            self.latency_s.observe(max(0.0, now.wall_s - batch.first_received_at), stored)

    def _drop(self, batch: Batch, reason: str = "buffer_full") -> None:
        self._found_full += len(batch)
        self._books.delivery(batch.source, batch.pipeline, self.name).dropped[reason] += len(batch)
        batch.settle(Status.DROPPED)
