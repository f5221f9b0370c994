"""Workers: coroutines that decode frames, run the steps and pass the records to the sinks."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import cast

import structlog

from streamd.core.ack import Status
from streamd.core.batch import Batch
from streamd.core.clock import mono_of
from streamd.core.contracts import AnyCodec, Decoded
from streamd.core.dead_letter import DeadLetterStore
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.runtime.alarm import Alarm
from streamd.runtime.decoded import batch_of, book_decoded, copy_for_route, decode, redacted, without_refused
from streamd.runtime.feed import Feed, Route
from streamd.runtime.gate import Gate
from streamd.runtime.meter import SharedMeter
from streamd.runtime.ticker import Ticker
from streamd.runtime.turn import Turn
from streamd.runtime.upstreams import connect, connect_claims, finish_claims, keep_states

log = structlog.get_logger()

QUANTUM_BYTES = 128 * 1024
"""Bytes that a source may use in one turn. It equals the most bytes that are decoded at once."""


@dataclass(slots=True)
class Passage:
    """A batch in a pipeline, before the step at `index`."""

    route: Route
    batch: Batch
    index: int
    turn: Turn


class Workers:
    """The workers of pipelines that share sources; usually of one pipeline.

    Sources are served by deficit round-robin with `QUANTUM_BYTES` each (Shreedhar and Varghese, 1995). No
    code awaits between taking frames and the first waiting step, so any number of workers keeps the order.
    Several workers help only while they wait for a step or a sink. Each holds at most one batch meanwhile. A
    worker takes new frames when every pipeline has finished its last batch.

    A codec that holds frames is also called between two batches: at the end of a connection, at its deadline,
    and at the end of its source or of this group of workers. The frames that it releases go on like others.

    All workers together take one batch per turn of the event loop. So other ready tasks, above all a finished
    commit, wait for one batch at most.
    """

    def __init__(
        self,
        feeds: list[Feed],
        dead_letters: DeadLetterStore,
        clock: Callable[[], Now],
        *,
        count: int,
        max_batch: int,
        meter: SharedMeter | None = None,
    ) -> None:
        """`meter` is the meter of the workers that these ones replace; None makes a new one."""
        self.feeds = feeds
        self.meter = meter or SharedMeter(clock().mono_s)
        self.pipelines = list(
            {route.pipeline.name: route.pipeline for f in feeds for route in f.routes}.values()
        )
        for pipeline in self.pipelines:
            pipeline.meter = self.meter
        self.count = count + sum(pipeline.concurrency for pipeline in self.pipelines)
        self.max_batch = max_batch
        self.progress = 0
        self.gate = Gate()
        self.has_ended = False
        """Whether `run` is over, so that the steps are closed or belong to other workers."""
        self.on_end: Callable[[], Awaitable[None]] | None = None
        """Called after the last batch has passed the steps, before the steps are closed."""
        self._dead_letters = dead_letters
        self._clock = clock
        self._mono_s = mono_of(clock)
        self._idle: deque[asyncio.Future[None]] = deque()
        self._waiting_for_room: dict[asyncio.Task[None], Feed] = {}
        self._turn = 0
        self._had_its_turn = False
        self._closed = False
        self.unfinished = [feed for feed in feeds if feed.codec.holds]
        """Feeds whose codec has to release its held frames before these workers end."""
        self._alarms: dict[int, Alarm] = {}

    async def run(self) -> None:
        """Work until `close` is called and no frame is left."""
        feeds = self.feeds
        for pipeline in self.pipelines:
            connect(pipeline, feeds, self._clock())
        connect_claims(feeds)
        for feed in self.feeds:
            feed.buffer.on_ready = self._wake
            feed.connections.count(on=feed.codec.holds)
            if feed.codec.holds:
                self._alarms[id(feed)] = Alarm(self._clock, partial(self._ring, feed))
                self._set_alarm(feed)
        tickers = [
            Ticker(pipeline, self.gate, self._clock) for pipeline in self.pipelines if pipeline.is_timed
        ]
        try:
            async with asyncio.TaskGroup() as ticking:
                keep_states(feeds, self.gate, self._mono_s, ticking)
                for ticker in tickers:
                    ticking.create_task(ticker.run())
                async with asyncio.TaskGroup() as workers:
                    for _ in range(self.count):
                        workers.create_task(self._work())
                for ticker in tickers:
                    await ticker.end()
                if self.on_end is not None:
                    await self.on_end()
                await finish_claims(feeds)
        finally:
            self.has_ended = True
            for alarm in self._alarms.values():
                alarm.cancel()
            for pipeline in self.pipelines:
                await pipeline.close()

    def close(self) -> None:
        """Finish the waiting frames, then return from `run`. Called when the sources have stopped."""
        self._closed = True
        while self._idle:
            self._wake()

    def retire(self, last: Callable[[Feed], bool], kept: Collection[AnyCodec] = ()) -> None:
        """Finish, because other workers take over.

        Takes no more frames, except from the `last` feeds, whose sources have stopped. `run` returns when the
        batches under way are done. Codecs in `kept` keep the frames that they hold.
        """
        self.unfinished = [feed for feed in self.unfinished if last(feed) or feed.codec not in kept]
        self.feeds = [feed for feed in self.feeds if last(feed)]
        self.close()
        left = self._has_backlog() or self.unfinished
        for task, feed in self._waiting_for_room.items():
            if not left or feed not in self.feeds:
                task.cancel()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self.gate.is_shut:
                await self.gate.opened()
            feed = self._called_feed() or self._ready_feed() or self._ending_feed()
            if feed is not None and _is_blocked(feed):
                await self._room(feed)
            elif feed is not None and self._had_its_turn:
                await asyncio.sleep(0)
            elif feed is not None:
                self._had_its_turn = True
                loop.call_soon(self._next_turn)
                now = self._clock()
                self.meter.begin(now.mono_s)
                passages = self._next(feed, now)
                if passages:
                    with self.gate:
                        await (_carry(passages[0]) if len(passages) == 1 else self._carry_all(passages))
                self.progress += 1
                self.meter.batches += 1
                self.meter.end(self._mono_s(), backlog=self._has_backlog())
                await asyncio.sleep(0)
            elif self._closed:
                return
            else:
                idle = asyncio.get_running_loop().create_future()
                self._idle.append(idle)
                await idle

    async def _carry_all(self, passages: list[Passage]) -> None:
        """Carry each passage in its own task, which begins in the next turn of the event loop."""
        self.meter.end(self._mono_s(), backlog=True)
        async with asyncio.TaskGroup() as carriers:
            for passage in passages:
                carriers.create_task(self._carry_apart(passage))
        self.meter.begin(self._mono_s())

    async def _carry_apart(self, passage: Passage) -> None:
        self.meter.begin(self._mono_s())
        await _carry(passage)
        self.meter.end(self._mono_s())

    async def _room(self, feed: Feed) -> None:
        """Wait until no sink of the feed has a full buffer, or until other workers take over the feed.

        The worker holds no frames meanwhile.
        """
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._waiting_for_room[task] = feed
        self.meter.hold(self._mono_s())
        try:
            for route in feed.routes:
                await route.pipeline.fanout.room()
        except asyncio.CancelledError:
            # `retire` has given the feed to other workers; this worker may have other feeds.
            if not self._closed or feed in self.feeds or task.uncancel():
                raise
        finally:
            self.meter.release(self._mono_s())
            del self._waiting_for_room[task]

    def _has_backlog(self) -> bool:
        for feed in self.feeds:  # noqa: SIM110 - for each batch; a generator costs 0.3 µs more
            if feed.buffer.records:
                return True
        return False

    def _next_turn(self) -> None:
        self._had_its_turn = False

    def _wake(self) -> None:
        while self._idle:
            idle = self._idle.popleft()
            if not idle.done():
                idle.set_result(None)
                return

    async def work_on(self, feed: Feed) -> None:
        """Do the next work of the feed up to the sinks' buffers, for a caller that does not `run`.

        If no frames wait, the codec is called: at its deadline, at the end of a connection, else for its end.
        """
        now = self._clock()
        self.meter.begin(now.mono_s)
        for passage in self._next(feed, now):
            await _carry(passage)
        self.meter.end(self._mono_s())

    async def hand_on(self, feed: Feed, frames: Frames, decoded: Decoded) -> None:
        """Carry the records of `decoded` on as the result of `frames`, for a caller that does not `run`."""
        now = self._clock()
        self.meter.begin(now.mono_s)
        for passage in self._go_on(feed, frames, decoded, now):
            await _carry(passage)
        self.meter.end(self._mono_s())

    def _ready_feed(self) -> Feed | None:
        """The feed that has its turn, among the feeds with waiting frames."""
        waiting = [feed for feed in self.feeds if feed.buffer.records]
        if not waiting:
            return None
        if len(waiting) == 1:
            waiting[0].credit_bytes = QUANTUM_BYTES
            return waiting[0]
        while True:
            feed = self.feeds[self._turn % len(self.feeds)]
            if feed.credit_bytes > 0 and feed.buffer.records:
                return feed
            self._turn += 1
            feed = self.feeds[self._turn % len(self.feeds)]
            feed.credit_bytes = min(feed.credit_bytes + QUANTUM_BYTES, QUANTUM_BYTES)

    def _called_feed(self) -> Feed | None:
        """The first feed whose codec has to be called without frames."""
        for feed in self.feeds:
            if feed.codec.holds and (feed.is_due or feed.connections.over):
                return feed
        return None

    def _ending_feed(self) -> Feed | None:
        """A feed whose codec has to release its frames, when no other work is left before the end."""
        return self.unfinished[0] if self._closed and self.unfinished else None

    def _ring(self, feed: Feed) -> None:
        feed.is_due = True
        self._wake()

    def _set_alarm(self, feed: Feed) -> None:
        alarm = self._alarms.get(id(feed))
        if alarm is not None and not feed.is_due:
            alarm.set(feed.codec.next_deadline())

    def _next(self, feed: Feed, now: Now) -> list[Passage]:
        """Do the next work of the feed: call its codec without frames, or decode frames."""
        if not feed.codec.holds:
            return self._take(feed, now)
        try:
            return self._next_of_holding(feed, now)
        except Exception as error:
            if feed.redaction is None:
                raise
            # This ends the daemon and is logged, and its text may quote the frame.
            text = f"the codec raised {type(error).__name__}"
            raise RuntimeError(text).with_traceback(error.__traceback__) from None

    def _next_of_holding(self, feed: Feed, now: Now) -> list[Passage]:
        decoded: Decoded | None = None
        if feed.is_due:
            feed.is_due = False
            decoded = feed.codec.tick(now)
        elif feed.connections.over:
            while feed.connections.over and decoded is None:
                decoded = feed.codec.forget(feed.connections.over.popleft(), now)
        elif feed.buffer.records:
            passages = self._take(feed, now)
            self._set_alarm(feed)
            return passages
        else:
            self.unfinished.remove(feed)
            decoded = feed.codec.finish(now)
        self._set_alarm(feed)
        if decoded is None or decoded.frames is None:
            return []
        feed.frames.held -= len(decoded.frames)
        return self._go_on(feed, decoded.frames, decoded, now)

    def _take(self, feed: Feed, now: Now) -> list[Passage]:
        parts = feed.buffer.take(self.max_batch)
        frames = Frames.merge(parts)
        self.meter.entered += len(frames)
        feed.taken(len(frames), now.wall_s - _newest_wall_s(parts), now.mono_s)
        feed.credit_bytes -= frames.size_bytes
        if feed.claims is not None:
            feed.claims.took(frames)
        passages = self.process(feed, frames, now)
        for part in parts if feed.codec.holds else ():
            feed.connections.went(part)
        return passages

    def process(self, feed: Feed, frames: Frames, now: Now) -> list[Passage]:
        """Decode frames and run the steps before the first waiting one.

        Returns a passage for each pipeline in which records are left.
        """
        if frames.flagged:
            usable, refused, rejects = without_refused(frames)
            if refused is not None:
                self._go_on(feed, refused, rejects, now)
            if usable is None:
                return []
            frames = usable
        decoded = decode(feed.codec, frames, now)
        if decoded.frames is not None:
            feed.frames.held += len(frames)
            frames = decoded.frames
            feed.frames.held -= len(frames)
        return self._go_on(feed, frames, decoded, now)

    def _go_on(self, feed: Feed, frames: Frames, decoded: Decoded, now: Now) -> list[Passage]:
        if feed.redaction is not None:
            frames, decoded = redacted(feed, feed.redaction, frames, decoded)
        book_decoded(feed, frames, decoded, self._dead_letters)
        batch = batch_of(feed, frames, decoded)
        if feed.tap is not None:
            feed.tap.see_batch(batch)
        if feed.checks is not None and feed.redaction is None:
            feed.checks.count(batch)
        if batch.acks is not None:
            batch.acks.fork(len(feed.routes) - 1)
        batches = [*(copy_for_route(batch, feed.codec.schema) for _ in feed.routes[1:]), batch]
        passages = []
        for route, its_batch in zip(feed.routes, batches, strict=True):
            its_batch.pipeline = route.pipeline.name
            index = route.pipeline.enter(its_batch, route.records, now)
            if its_batch.records:
                passages.append(Passage(route, its_batch, index, route.pipeline.line.join()))
            else:
                its_batch.settle(Status.FILTERED)
        return passages


def _newest_wall_s(parts: list[Frames]) -> float:
    """When the first frame of the part that has waited least was received. One comparison for each part."""
    newest = parts[0].received_at.same
    for part in parts:
        newest = max(newest, part.received_at.same)
    return newest


def _is_blocked(feed: Feed) -> bool:
    """Whether a sink of the feed has a full buffer."""
    for route in feed.routes:  # noqa: SIM110 - for each batch; a generator costs 0.3 µs more
        if route.pipeline.fanout.full:
            return True
    return False


async def _carry(passage: Passage) -> None:
    route = passage.route
    await route.pipeline.carry(passage.batch, route.records, passage.index, passage.turn)
