"""Sends a sample through the framing, codec, pipelines and sinks of a source, and reports each frame's fate.

The components are those of a daemon, but sinks write into the folder of the trial: databases and files, and
also the lines that would be printed or sent.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from streamd import components, registry
from streamd.assembly import connect
from streamd.closing_books import differences
from streamd.config import Loaded
from streamd.core.ack import Ack
from streamd.core.batch import Batch
from streamd.core.books import Books, RecordBook
from streamd.core.clock import read_clock
from streamd.core.contracts import AnyFramer, Processed
from streamd.core.dead_letter import DeadLetter, LetterList
from streamd.core.errors import FramingError
from streamd.core.first_frame import mark_first
from streamd.core.framer_counts import book_counts, book_error
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.core.plural import counted
from streamd.core.settings import BufferSettings
from streamd.core.shared import Shared
from streamd.runtime.delivery import Delivery
from streamd.runtime.fanout import Fanout, Output
from streamd.runtime.feed import Feed, Route
from streamd.runtime.intake import Intake
from streamd.runtime.pipeline import Pipeline
from streamd.runtime.stage import Stage
from streamd.runtime.worker import Workers
from streamd.trial.output import TakenRecords, TrialOutput

SAMPLE = Peer("sample")
"""The peer of all frames of a sample."""
HELD_S = 0.02
"""Interval of the check whether the codec holds the frame, which nothing reports."""
MAX_FRAME_BYTES = 1 << 24
"""Longest line of a sample for a source without framing."""


@dataclass(slots=True)
class Filtered:
    """Records that a step has filtered out."""

    pipeline: str
    step: str
    count: int


@dataclass(slots=True)
class Absorbed:
    """Records that a step has absorbed to make other records of them later."""

    pipeline: str
    step: str
    count: int


@dataclass(slots=True)
class Fate:
    """The fate of one frame and its records, or of what the codec has held until the end of the sample."""

    number: int
    """From 1 on; 0 at the end of the sample."""
    payload: bytes
    """The frame; at a source with `redact` what may be shown of it."""
    flag: str = ""
    stored: list[TakenRecords] = field(default_factory=list)
    filtered: list[Filtered] = field(default_factory=list)
    unmatched: list[tuple[str, str, int]] = field(default_factory=list)
    """Pipeline, sink and number of records for which `where` was not true."""
    absorbed: list[Absorbed] = field(default_factory=list)
    rejected: list[DeadLetter] = field(default_factory=list)
    held: bool = False
    """Whether the codec holds the frame for frames that follow."""


class _TracedPipeline(Pipeline):
    """Notes how many records each step has filtered out."""

    filtered: list[Filtered]
    absorbed: list[Absorbed]

    def _book(
        self, stage: Stage, outcomes: list[Processed], batch: Batch, book: RecordBook
    ) -> list[Processed]:
        if filtered := sum(done.filtered for done in outcomes):
            self.filtered.append(Filtered(self.name, stage.name, filtered))
        if absorbed := sum(done.absorbed for done in outcomes):
            self.absorbed.append(Absorbed(self.name, stage.name, absorbed))
        return super()._book(stage, outcomes, batch, book)


class Trial:
    """One source of a configuration, and the pipelines for its sample."""

    def __init__(self, loaded: Loaded, source: str, pipelines: list[str], folder: Path) -> None:
        """All sinks write below `folder`. Raises `ConfigError`."""
        self.source = source
        self.books = Books()
        self.lost: list[str] = []
        """Messages about bytes and frames that were lost before the codec."""
        self._letters = LetterList()
        self._outputs = {
            name: TrialOutput(name, loaded.config.sinks[name], folder / f"{number}")
            for number, name in enumerate(
                dict.fromkeys(s for p in pipelines for s in loaded.config.pipelines[p].sinks)
            )
        }
        sinks = {name: output.settings for name, output in self._outputs.items()}
        daemon = loaded.config.daemon.model_copy(update={"state_dir": str(folder)})
        # Keep all sources of a pipeline: with one source only, its steps would be checked against one schema.
        read = dict.fromkeys([source, *(s for p in pipelines for s in loaded.config.pipelines[p].sources)])
        config = loaded.config.model_copy(
            update={
                "daemon": daemon,
                "sinks": sinks,
                "pipelines": {name: loaded.config.pipelines[name] for name in pipelines},
                "sources": {name: loaded.config.sources[name] for name in read},
            }
        )
        self._loaded = replace(loaded, config=config)
        self._parts = components.make(self._loaded, self._letters, Shared())
        if self._parts.problems:
            raise loaded.error(self._parts.problems)
        self._redaction = components.redaction_of(self._loaded, source)
        self._deliveries = {
            name: Delivery(
                name,
                self._parts.sinks[name],
                sink.batch.model_copy(update={"max_wait": 0.0}),
                sink.buffer.model_copy(update={"when_full": "block"}),
                self.books,
                read_clock,
            )
            for name, sink in sinks.items()
        }
        self._open: list[asyncio.Event] = []
        """Of each frame that may not be settled yet."""
        self._traced: list[Filtered] = []
        self._absorbed: list[Absorbed] = []
        self._pipelines = [self._pipeline(name) for name in pipelines]

    async def run(self, chunks: Iterable[bytes], tell: Callable[[Fate], None], *, whole: bool) -> list[str]:
        """Send the sample through and call `tell` with the fate of each frame, in order.

        If the codec holds frames at the end, the last call is about what it makes of them then. With `whole`,
        the sample is one frame. Returns the sums of the books that do not balance. Raises
        `EnvironmentFault` if a step cannot be opened.
        """
        book = self.books.source(self.source)
        intake = Intake(BufferSettings(), "block", book)
        routes = [
            Route(pipeline, self.books.pipeline(self.source, pipeline.name)) for pipeline in self._pipelines
        ]
        codec = self._parts.codecs[self.source]
        codec.redacted = self._redaction is not None and self._redaction.changes_records
        connect(self.source, codec, self._pipelines, self._parts.sinks)
        feed = Feed(intake.buffer, codec, book, routes, redaction=self._redaction)
        began_mono_s = read_clock().mono_s

        def clock() -> Now:
            """For the codec: no line of a sample is overdue, however long the trial takes."""
            return Now(read_clock().wall_s, began_mono_s)

        workers = Workers([feed], self._letters, clock, count=1, max_batch=1)
        async with AsyncExitStack() as closing:
            for name, sink in self._parts.sinks.items():
                await sink.open()
                closing.push_async_callback(sink.close)
                self._outputs[name].begin()
                closing.callback(self._outputs[name].end)
            for pipeline in self._pipelines:
                for stage in pipeline.stages:
                    stage.open()
            async with asyncio.TaskGroup() as group:
                for delivery in self._deliveries.values():
                    group.create_task(delivery.run())
                working = group.create_task(workers.run())
                for number, payload in enumerate(self._frames(chunks, intake, whole=whole), 1):
                    tell(await self._send(number, payload, intake))
                before = self._begin() if book.held else None
                workers.close()
                await working
                for delivery in self._deliveries.values():
                    delivery.buffer.close()
            if before is not None:
                tell(self._end(Fate(0, b""), before))
        return differences(self.books)

    def _frames(self, chunks: Iterable[bytes], intake: Intake, *, whole: bool) -> Iterable[bytes]:
        if whole:
            data = b"".join(chunks)
            yield from [data] if data else []
            return
        framer = self._framer()
        book = intake.book
        begun = not self._loaded.config.sources[self.source].streams
        try:
            for chunk in chunks:
                frames = framer.feed(chunk)
                begun = begun or mark_first(frames, framer.counts)
                yield from frames
                book_counts(framer, intake, book.counters)
            yield from framer.feed_eof()
        except FramingError as error:
            yield from error.frames
            book_error(error, book.counters)
            self.lost.append(
                f"the framing is broken: {error};"
                f" {counted(error.discarded_bytes, 'byte')} and all later ones are lost"
            )
        book_counts(framer, intake, book.counters)
        for reason, count in book.dropped.items():
            self.lost.append(f"{counted(count, 'frame was', 'frames were')} dropped: {reason}")

    def _framer(self) -> AnyFramer:
        new_framer = self._parts.framers.get(self.source)
        if new_framer is not None:
            return new_framer()
        newline = registry.load("framing", "newline")
        framer: AnyFramer = newline(newline.Config(), MAX_FRAME_BYTES, "truncate")
        return framer

    async def _send(self, number: int, payload: bytes, intake: Intake) -> Fate:
        over = asyncio.Event()
        shown = bytes(payload) if self._redaction is None else self._redaction.payload(bytes(payload))
        fate = Fate(number, shown, getattr(payload, "flag", ""))
        before = self._begin()
        held = self.books.source(self.source).held
        ack = Ack(partial(_set, over))
        intake.offer(Frames.of([payload], SAMPLE, read_clock().wall_s, ack=ack, flagged=bool(fate.flag)))
        self._open = [other for other in self._open if not other.is_set()] + [over]
        while not over.is_set() and not self._is_held():
            with suppress(TimeoutError):
                async with asyncio.timeout(HELD_S):
                    await over.wait()
        fate.held = not over.is_set() or self.books.source(self.source).held > held
        return self._end(fate, before)

    def _is_held(self) -> bool:
        """Whether no frame is under way any more: those that are not settled are held by the codec."""
        book = self.books.source(self.source)
        settled_early = not self._parts.codecs[self.source].holds_open
        is_open = sum(not over.is_set() for over in self._open)
        return not settled_early and not book.waiting and is_open == book.held

    def _begin(self) -> dict[Any, tuple[int, int]]:
        """Forget what was noted about earlier frames. Returns the records stored and unmatched before."""
        self._letters.letters.clear()
        self._traced.clear()
        self._absorbed.clear()
        return {key: (book.stored, book.unmatched) for key, book in self.books.deliveries.items()}

    def _end(self, fate: Fate, before: dict[Any, tuple[int, int]]) -> Fate:
        """Add what has happened since `before` to the fate."""
        fate.rejected = list(self._letters.letters)
        fate.filtered = list(self._traced)
        fate.absorbed = list(self._absorbed)
        for key, book in self.books.deliveries.items():
            stored, unmatched = before.get(key, (0, 0))
            _, pipeline, sink = key
            if book.stored > stored:
                fate.stored.append(self._outputs[sink].take(pipeline, book.stored - stored))
            if book.unmatched > unmatched:
                fate.unmatched.append((pipeline, sink, book.unmatched - unmatched))
        return fate

    def _pipeline(self, name: str) -> Pipeline:
        outputs = [
            Output(sink, self._deliveries[sink].buffer, self._parts.conditions.get((name, sink)))
            for sink in self._loaded.config.pipelines[name].sinks
        ]
        stages = [Stage(label, step) for label, step in self._parts.steps[name]]
        for stage in stages:
            stage.may_hold = False
        pipeline = _TracedPipeline(
            name, stages, Fanout(outputs, self.books, self._letters), self._letters, read_clock, self.books
        )
        pipeline.filtered = self._traced
        pipeline.absorbed = self._absorbed
        return pipeline


def _set(event: asyncio.Event, status: Any) -> None:
    del status
    event.set()
