"""The books: three sums, which are exact whenever the event loop runs no batch.

Each class below declares the terms of its sum (see `streamd.core.sums`). To add a term, declare it here and
increment it where the event happens; metrics, status, ledger and documentation follow the declaration.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, TypeVar

from streamd.core.counters import Counters
from streamd.core.quality import Quality
from streamd.core.sums import Book, Entry, Left, Term

TICK = "@tick"
"""The source of records that a step makes in `tick`; no configured source can have this name."""


class FrameBook(Book):
    """The sum of the frames of one source.

    `counters` holds the numbers of the source, its framing and its codec that belong to no sum, for example
    `discarded_bytes`, `kernel_dropped`, `connections_refused` and `auto_fallback`.
    """

    unit, noun = "frames", "frame"
    keys = ("source",)
    buffer = "source"

    received: Annotated[
        int,
        Term(
            "in",
            "frames that a source read, before any policy, including cut-off and oversize frames",
            in_summary=True,
        ),
    ]
    decoded: Annotated[int, Term("out", "frames that a codec turned into records", in_summary=True)]
    rejected: Annotated[
        Counter[str],
        Term("out", "frames that could not be decoded; they become dead letters", "reason", in_summary=True),
    ]
    dropped: Annotated[
        Counter[str],
        Term("out", "frames lost to a full buffer, a limit or a shutdown", "reason", in_summary=True),
    ]
    held: Annotated[
        int, Term("out", "frames that the codec keeps for frames that follow", seldom=True, gauge=True)
    ]
    waiting = Left("frames that wait in the source's buffer to be decoded")

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.counters = Counters()

    def add(self, other: "FrameBook") -> None:
        """Add each number of another book."""
        super().add(other)
        self.counters.take(other.counters)

    def entries(self) -> Iterator[Entry]:
        """Every number, including the derived one."""
        yield from super().entries()
        for (counter, reason), n in self.counters.items():
            yield Entry(self.source, "", "", counter, reason, n)


class RecordBook(Book):
    """The sum of the records of one source in one pipeline."""

    unit, noun = "records", "record"
    keys = ("source", "pipeline")

    taken_in: Annotated[int, Term("in", "records that codecs handed to the pipeline", name="in")]
    emitted: Annotated[int, Term("in", "additional records that steps made", seldom=True)]
    out: Annotated[int, Term("out", "records handed to the sinks")]
    filtered: Annotated[
        int, Term("out", "records that a step removed on purpose", seldom=True, in_summary=True)
    ]
    absorbed: Annotated[int, Term("out", "records that a step took into its state", seldom=True)]
    rejected: Annotated[
        Counter[str],
        Term("out", "records that a stage could not use; they become dead letters", "stage", in_summary=True),
    ]
    dropped: Annotated[
        Counter[str], Term("out", "records that the daemon lost in the pipeline", "reason", in_summary=True)
    ]
    in_flight = Left("records on their way through the steps")

    def __init__(self, source: str, pipeline: str) -> None:
        super().__init__(source, pipeline)


class DeliveryBook(Book):
    """The sum of the records of one source that one pipeline handed to one sink."""

    unit = "deliveries"
    noun = "record"
    keys = ("source", "pipeline", "sink")
    buffer = "sink"

    offered: Annotated[int, Term("in", "records handed to this sink")]
    stored: Annotated[int, Term("out", "records that the sink committed", in_summary=True)]
    replaced: Annotated[
        int,
        Term(
            "part",
            'stored records that replaced an older row, or added none to it (`on_conflict = "ignore"`)',
            seldom=True,
            in_summary=True,
        ),
    ]
    unmatched: Annotated[int, Term("out", "records that the sink's `where` excluded", seldom=True)]
    left_out: Annotated[
        Counter[str],
        Term(
            "out",
            "records of input that was read again and that the sink had stored (`already_stored`), or of a"
            " partition that another worker reads now (`handed_over`)",
            "reason",
            seldom=True,
        ),
    ]
    rejected: Annotated[
        int,
        Term("out", "records that the sink could not store; they become dead letters", in_summary=True),
    ]
    dropped: Annotated[
        Counter[str], Term("out", "records that the daemon lost before this sink", "reason", in_summary=True)
    ]
    pending = Left("records that wait for their commit")

    def __init__(self, source: str, pipeline: str, sink: str) -> None:
        super().__init__(source, pipeline, sink)
        self._due = 0
        self._since: int | None = 0

    def join(self, out: int) -> None:
        """The pipeline begins to offer records to the sink, after it has handed out `out` records."""
        self._since = out

    def leave(self, out: int) -> None:
        """The pipeline stops offering records to the sink, after it has handed out `out` records."""
        self._due, self._since = self.due(out), None

    def owe(self, due: int, out: int) -> None:
        """Set that `due` of the `out` records of the pipeline should have been offered."""
        self._due, self._since = due, out

    def due(self, out: int) -> int:
        """How many of the `out` records that the pipeline has handed out should have been offered."""
        return self._due + (0 if self._since is None else out - self._since)


B = TypeVar("B", bound=Book)

SUMS: tuple[type[Book], ...] = (FrameBook, RecordBook, DeliveryBook)
"""The books in the order in which data passes them."""


class Books:
    """All books of one run, and the counters of steps and sinks. Each is made on first use."""

    def __init__(self) -> None:
        self.frames: dict[str, FrameBook] = {}
        self.records: dict[tuple[str, str], RecordBook] = {}
        self.deliveries: dict[tuple[str, str, str], DeliveryBook] = {}
        self.steps: dict[tuple[str, str], Counters] = {}
        """Counters of steps by pipeline and step name."""
        self.sinks: dict[str, Counters] = {}
        self.quality = Quality()
        """The counts of rules that were not written yet. They belong to no sum."""
        self._sinks: dict[str, set[str]] = {}

    def made(self, kind: type[B], *place: str) -> B:
        """A new book. Called once for each place; a subclass may keep the numbers elsewhere."""
        return kind(*place)

    def source(self, source: str) -> FrameBook:
        """The frame book of `source`."""
        return self.frames.get(source) or self.frames.setdefault(source, self.made(FrameBook, source))

    def pipeline(self, source: str, pipeline: str) -> RecordBook:
        """The record book of `source` in `pipeline`."""
        key = (source, pipeline)
        return self.records.get(key) or self.records.setdefault(key, self.made(RecordBook, *key))

    def delivery(self, source: str, pipeline: str, sink: str) -> DeliveryBook:
        """The delivery book of `source` through `pipeline` to `sink`."""
        key = (source, pipeline, sink)
        return self.deliveries.get(key) or self.deliveries.setdefault(key, self.made(DeliveryBook, *key))

    def step(self, pipeline: str, name: str) -> Counters:
        """The counters of the step `name` in `pipeline`."""
        return self.steps.setdefault((pipeline, name), Counters())

    def sink(self, name: str) -> Counters:
        """The counters of the sink that belong to no sum."""
        return self.sinks.setdefault(name, Counters())

    def connect(self, pipeline: str, sinks: Iterable[str]) -> None:
        """Set the sinks of a pipeline, and note at which record a sink was added or removed.

        The sinks of the first call count as connected from the beginning.
        """
        now = set(sinks)
        before = self._sinks.get(pipeline, now)
        self._sinks[pipeline] = now
        for book in self.records.values():
            if book.pipeline == pipeline and book.out:
                for sink in now - before:
                    self.delivery(book.source, pipeline, sink).join(book.out)
                for sink in before - now:
                    self.delivery(book.source, pipeline, sink).leave(book.out)

    def owed(self, book: DeliveryBook) -> int:
        """How many records the book's pipeline should have offered to its sink."""
        handed = self.records.get((book.source, book.pipeline))
        return book.offered if handed is None else book.due(handed.out)

    def every(self) -> Iterator[Book]:
        """Every book."""
        yield from self.frames.values()
        yield from self.records.values()
        yield from self.deliveries.values()

    def entries(self) -> Iterator[Entry]:
        """Every number of every book, and every counter of a step or sink."""
        for book in self.every():
            yield from book.entries()
        yield from self.counted()

    def counted(self) -> Iterator[Entry]:
        """Every counter of a step or sink. The reason of a step's entry begins with the name of the step."""
        for (pipeline, step), counters in self.steps.items():
            for (counter, reason), n in list(counters.items()):
                yield Entry("", pipeline, "", counter, f"{step}:{reason}" if reason else step, n)
        for sink, counters in self.sinks.items():
            for (counter, reason), n in list(counters.items()):
                yield Entry("", "", sink, counter, reason, n)

    @staticmethod
    def merge(parts: "Iterable[Books]") -> "Books":
        """A snapshot of the books of several processes as one: each number is the sum over the parts."""
        merged = Books()
        owed: Counter[tuple[str, str, str]] = Counter()
        for part in parts:
            for frames in part.frames.values():
                merged.source(frames.source).add(frames)
            for records in part.records.values():
                merged.pipeline(*records.place).add(records)
            for key, deliveries in part.deliveries.items():
                merged.delivery(*key).add(deliveries)
                owed[key] += part.owed(deliveries)
            for (pipeline, step), counters in part.steps.items():
                merged.step(pipeline, step).take(counters)
            for sink, counters in part.sinks.items():
                merged.sink(sink).take(counters)
        for key, book in merged.deliveries.items():
            book.owe(owed[key], merged.pipeline(*key[:2]).out)
        return merged
