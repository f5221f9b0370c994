"""Components that do as a test tells them."""

import asyncio
import selectors
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from streamd.core.ack import Ack
from streamd.core.batch import Batch, Record
from streamd.core.books import Books
from streamd.core.contracts import (
    BadElement,
    Codec,
    Processed,
    Sink,
    SinkContext,
    Step,
    StepContext,
    Written,
)
from streamd.core.dead_letter import LetterList
from streamd.core.errors import BadData, SinkError
from streamd.core.expression import Expression
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.settings import BatchSettings, BufferSettings, Settings
from streamd.core.shared import Shared
from streamd.runtime.delivery import Delivery
from streamd.runtime.fanout import Fanout, Output
from streamd.runtime.feed import Feed, Route
from streamd.runtime.intake import Intake
from streamd.runtime.pipeline import Pipeline
from streamd.runtime.stage import Stage
from streamd.runtime.worker import Workers


class WordCodec(Codec[Settings]):
    """Words of a frame are records; `bad` is a bad one, a frame of `BAD` no frame at all."""

    def decode_one(self, payload: bytes, now: Now) -> Record | list[Record | BadElement]:
        if payload == b"BAD":
            raise BadData("test:bad")
        return [BadElement(w, "test:word") if w == b"bad" else {"word": w.decode()} for w in payload.split()]


class Script(Step[Any]):
    """Runs the function it is made with."""

    function: Any = None

    def process(self, records: list[Record], now: Now) -> Processed:
        return self.function(self, records)  # type: ignore[no-any-return]  # a test's own function


class ListSink(Sink[Any]):
    """Keeps what it is given; fails while `faults` lasts; refuses records whose word is in `poison`."""

    def __init__(self) -> None:
        context = SinkContext("list", {}, Path(), LetterList(), Shared())
        super().__init__(None, context)
        self.written: list[Record] = []
        self.faults: list[Exception] = []
        self.poison: set[str] = set()
        self.calls = 0

    async def open(self) -> None: ...

    def rehearse(self) -> list[str]:
        return []

    async def close(self) -> None: ...

    async def write(self, batches: Sequence[Batch]) -> Written:
        self.calls += 1
        if self.faults:
            raise self.faults.pop(0)
        rejected: list[Sequence[int]] = []
        for batch in batches:
            bad = [n for n, r in enumerate(batch.records) if r.get("word") in self.poison]
            self.written += [r for n, r in enumerate(batch.records) if n not in bad]
            rejected.append(bad)
        return Written(rejected, [0] * len(batches))


class Bench:
    """One pipeline from frames to a list, with a clock that a test turns."""

    def __init__(
        self,
        *functions: Any,
        workers: int = 2,
        when_full: str = "block",
        sinks: int = 1,
        where: dict[int, str] = {},  # noqa: B006 - never changed
    ) -> None:
        self.books = Books()
        self.office = LetterList()
        self.mono_s = 100.0
        self.sinks = [ListSink() for _ in range(sinks)]
        settings = BufferSettings.model_validate({"max_records": 10, "when_full": when_full})
        batch = BatchSettings.model_validate({"max_records": 4, "max_wait": "1ms"})
        self.deliveries = [
            Delivery(f"list{n}", sink, batch, settings, self.books, self.now)
            for n, sink in enumerate(self.sinks)
        ]
        steps = []
        for n, function in enumerate(functions):
            context = StepContext(f"step[{n}]", "p", None, Path())
            step: Step[Any]
            if isinstance(function, type):
                step = function(Settings(), context)
            else:
                step = Script(Settings(), context)
                step.function = function
            steps.append(Stage(f"step[{n}]", step))

        self.intake = Intake(
            BufferSettings.model_validate({"max_records": 1000}), "block", self.books.source("s")
        )
        outputs = [
            Output(d.name, d.buffer, Expression(where[n]) if n in where else None)
            for n, d in enumerate(self.deliveries)
        ]
        fanout = Fanout(outputs, self.books, self.office)
        self.records = self.books.pipeline("s", "p")
        self.pipeline = Pipeline("p", steps, fanout, self.office, self.now, self.books)
        self.feed = Feed(
            self.intake.buffer,
            WordCodec(WordCodec.Config(), None),
            self.intake.book,
            [Route(self.pipeline, self.records)],
        )
        self.workers = Workers([self.feed], self.office, self.now, count=workers, max_batch=3)

    def process(self, frames: Frames) -> Batch | None:
        """What the first pipeline has left of the frames before its first waiting step."""
        passages = self.workers.process(self.feed, frames, self.now())
        return passages[0].batch if passages else None

    def now(self) -> Now:
        return Now(self.mono_s + 1e9, self.mono_s)

    def frames(self, *payloads: bytes, ack: Ack | None = None) -> Frames:
        return Frames.of(list(payloads), "127.0.0.1:5", 1e9, ack=ack)

    @property
    def balanced(self) -> bool:
        return (
            self.feed.frames.waiting == self.intake.buffer.records
            and all(book.in_flight == 0 for book in self.books.records.values())
            and all(book.pending == 0 for book in self.books.deliveries.values())
        )


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time passes only while everybody sleeps, and then at once; `turns` counts how often it looked."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.turns = 0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now_s


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._owner = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._owner.turns += 1
        if timeout is None:
            raise AssertionError("everybody waits, and nobody will wake anybody")
        self._owner.now_s += max(0.0, timeout)
        return super().select(0)


@pytest.fixture
def virtual_loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


@pytest.fixture
def bench() -> type[Bench]:
    return Bench


@pytest.fixture
def sink_error() -> type[SinkError]:
    return SinkError
