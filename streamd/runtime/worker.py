"""Workers: coroutines that decode, run the steps and hand on."""

import asyncio
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from streamd.core.ack import Ack, Status
from streamd.core.batch import FLAG, PEER, RECEIVED_AT, SOURCE, Batch
from streamd.core.books import FrameBook, RecordBook
from streamd.core.contracts import BadRecord, Codec, Decoded, Processed, Processor
from streamd.core.dead_letter import DeadLetter, DeadLetterOffice
from streamd.core.frames import FlaggedFrame, Frames
from streamd.core.now import Now
from streamd.core.timestamp import from_epoch
from streamd.runtime.buffer import Buffer
from streamd.runtime.fanout import Fanout

log = structlog.get_logger()


@dataclass(slots=True)
class Feed:
    """One source of a pipeline: its buffer, its codec, and the books of both."""

    buffer: Buffer[Frames]
    codec: Codec
    frames: FrameBook
    records: RecordBook


@dataclass(slots=True)
class Step:
    """One processor in its place; `name` is its stage in the books."""

    name: str
    processor: Processor
    failed: bool = False


class Workers:
    """The workers of one pipeline.

    Between taking frames and handing on their records nothing waits, so any number of workers keeps the
    order; more than one matters where they wait for a sink, and bounds what is held meanwhile to one
    batch each.
    """

    def __init__(
        self,
        pipeline: str,
        feeds: list[Feed],
        steps: list[Step],
        fanout: Fanout,
        dead_letters: DeadLetterOffice,
        clock: Callable[[], Now],
        *,
        count: int,
        max_batch: int,
    ) -> None:
        self.pipeline = pipeline
        self.feeds = feeds
        self.steps = steps
        self.fanout = fanout
        self.count = count
        self.max_batch = max_batch
        self.progress = 0
        self._dead_letters = dead_letters
        self._clock = clock
        self._idle: deque[asyncio.Future[None]] = deque()
        self._next_feed = 0
        self._closed = False
        for feed in feeds:
            feed.buffer.on_ready = self._wake

    async def run(self) -> None:
        """Work until `close` was called and nothing is left."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(self.count):
                workers.create_task(self._work())

    def close(self) -> None:
        """The sources have stopped: finish what waits, then return from `run`."""
        self._closed = True
        while self._idle:
            self._wake()

    async def _work(self) -> None:
        while True:
            feed = self._ready_feed()
            if feed is not None:
                batch = self.process(feed, Frames.merge(feed.buffer.take(self.max_batch)))
                if batch is not None:
                    await self.fanout.send(batch, feed.records)
                self.progress += 1
                await asyncio.sleep(0)
            elif self._closed:
                return
            else:
                idle = asyncio.get_running_loop().create_future()
                self._idle.append(idle)
                await idle

    def _wake(self) -> None:
        while self._idle:
            idle = self._idle.popleft()
            if not idle.done():
                idle.set_result(None)
                return

    def _ready_feed(self) -> Feed | None:
        """The next source that has something, in turn."""
        count = len(self.feeds)
        for turn in range(self._next_feed, self._next_feed + count):
            feed = self.feeds[turn % count]
            if feed.buffer.records:
                self._next_feed = (turn + 1) % count
                return feed
        return None

    def process(self, feed: Feed, frames: Frames) -> Batch | None:
        """Decode frames and run the steps; None where nothing is left to hand on."""
        now = self._clock()
        decoded = feed.codec.decode(frames.payloads, now)
        self._book_decoded(feed, frames, decoded)
        batch = self._batch(feed, frames, decoded)
        if self.steps and batch.records:
            _lift(batch)
            for step in self.steps:
                if not batch.records:
                    break
                self._run_step(step, batch, feed.records, now)
        if not batch.records:
            if batch.ack is not None:
                batch.ack.settle(Status.FILTERED)
            return None
        return batch

    def _book_decoded(self, feed: Feed, frames: Frames, decoded: Decoded) -> None:
        book = feed.frames
        bad_elements = 0
        bad_frames = 0
        if decoded.rejects:
            letters = []
            for bad in decoded.rejects:
                if bad.element:
                    bad_elements += 1
                else:
                    bad_frames += 1
                    book.rejected[bad.reason] += 1
                letters.append(
                    DeadLetter(
                        bad.payload,
                        "decode",
                        bad.reason,
                        bad.detail,
                        source=book.source,
                        peer=frames.peer(bad.index),
                        received_at=frames.time(bad.index),
                        pipeline=self.pipeline,
                    )
                )
            self._keep(letters, frames.ack)
        book.decoded += len(frames) - bad_frames
        feed.records.taken_in += len(decoded.records) + bad_elements
        if bad_elements:
            feed.records.rejected["decode"] += bad_elements
        if decoded.notes:
            for counter, n in decoded.notes.items():
                book.note(counter, n)

    def _batch(self, feed: Feed, frames: Frames, decoded: Decoded) -> Batch:
        records = decoded.records
        schema = feed.codec.schema if decoded.typed else None
        peers, received_at = frames.peers, frames.received_at
        origins = decoded.origins
        if origins is not None:
            if not isinstance(peers, str):
                peers = [peers[origin] for origin in origins]
            if not isinstance(received_at, float):
                received_at = [received_at[origin] for origin in origins]
        if frames.flagged:
            if schema is not None:
                records = list(map(schema.to_dict, records))
                schema = None
            for record, origin in zip(records, origins or range(len(records)), strict=True):
                payload = frames.payloads[origin]
                if isinstance(payload, FlaggedFrame):
                    record[FLAG] = payload.flag
        return Batch(
            records if schema is None else schema.flatten(records),
            feed.frames.source,
            self.pipeline,
            peers,
            received_at,
            fields=None if schema is None else schema.names,
            ack=frames.ack,
            size_bytes=frames.size_bytes * (feed.codec.weight if schema is None else feed.codec.weight // 2),
        )

    def _run_step(self, step: Step, batch: Batch, book: RecordBook, now: Now) -> None:
        given = batch.records
        try:
            done = step.processor.process(given, now)
        except Exception as error:  # noqa: BLE001 - a step is anybody's code: its failure costs its batch
            reason = "exception"
            detail = _describe(error)
            done = Processed([], rejects=[BadRecord(r, reason, detail, error) for r in given])
        book.emitted += done.emitted
        book.filtered += done.filtered
        book.absorbed += done.absorbed
        if done.rejects:
            book.rejected[step.name] += len(done.rejects)
            self._reject(step, done.rejects, batch)
        batch.records = done.records

    def _reject(self, step: Step, rejects: list[BadRecord], batch: Batch) -> None:
        error = next((bad.error for bad in rejects if bad.error is not None), None)
        if error is not None and not step.failed:
            step.failed = True
            log.error(
                "step_failed",
                pipeline=self.pipeline,
                step=step.name,
                error=_describe(error),
                traceback="".join(traceback.format_exception(error)),
                hint="its records are in the dead letters; logged once",
            )
        received_at = batch.received_at if isinstance(batch.received_at, float) else batch.received_at[0]
        letters = [
            DeadLetter(
                bad.record,
                step.name,
                bad.reason,
                bad.detail,
                source=batch.source,
                peer=_text(bad.record, PEER),
                received_at=received_at,
                pipeline=self.pipeline,
            )
            for bad in rejects
        ]
        self._keep(letters, batch.ack)

    def _keep(self, letters: list[DeadLetter], ack: Ack | None) -> None:
        self._dead_letters.keep(letters, ack.fork() if ack is not None else None)


def _describe(error: BaseException) -> str:
    try:
        return repr(error)
    except Exception:  # noqa: BLE001 - the text of an exception is the step's own code too
        return type(error).__name__


def _text(record: Any, key: str) -> str | None:
    value = record.get(key) if isinstance(record, dict) else None
    return value if isinstance(value, str) else None


def _lift(batch: Batch) -> None:
    """Put each record's metadata into it: from here on the number of records may change."""
    source, peers, times = batch.source, batch.peers, batch.received_at
    batch.lifted = True
    if isinstance(peers, str) and isinstance(times, float):
        received_at = from_epoch(times)
        for record in batch.records:
            record[SOURCE] = source
            record[PEER] = peers
            record[RECEIVED_AT] = received_at
        return
    count = len(batch.records)
    each_peer = [peers] * count if isinstance(peers, str) else peers
    texts: dict[float, str] = {}
    each_time = [times] * count if isinstance(times, float) else times
    for record, peer, time_s in zip(batch.records, each_peer, each_time, strict=True):
        text = texts.get(time_s)
        if text is None:
            text = texts[time_s] = from_epoch(time_s)
        record[SOURCE] = source
        record[PEER] = peer
        record[RECEIVED_AT] = text
