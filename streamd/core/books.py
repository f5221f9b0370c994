"""The books: three units of account, exact whenever the loop stands between batches.

frames      per source:                     received = decoded + rejected + dropped + waiting
records     per (source, pipeline):         in + emitted = out + filtered + absorbed + rejected
                                                           + dropped + in_flight
deliveries  per (source, pipeline, sink):   offered = stored + unmatched + rejected + dropped + pending

The right side's last term is never counted but derived, so that a sum which does not hold shows as a
number of records that should not be there.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Entry(NamedTuple):
    """One number of the books: `n` of `counter`, by `reason` where it has one."""

    source: str
    pipeline: str
    sink: str
    counter: str
    reason: str
    n: int


class FrameBook:
    """What became of the frames of one source.

    `notes` counts what is in no sum, by (counter, reason): `discarded_bytes`, `kernel_dropped`,
    `truncated`, `unterminated`, `connections`, `connections_refused`, `auto_fallback` and the like.
    """

    __slots__ = ("decoded", "dropped", "notes", "received", "rejected", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self.received = 0
        self.decoded = 0
        self.rejected: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.notes: Counter[tuple[str, str]] = Counter()

    @property
    def waiting(self) -> int:
        """Frames read and neither decoded nor lost: they stand in the source's buffer."""
        return self.received - self.decoded - self.rejected.total() - self.dropped.total()

    def note(self, counter: str, n: int = 1, reason: str = "") -> None:
        """Add to one of the numbers beside the sum."""
        self.notes[counter, reason] += n

    def entries(self) -> Iterator[Entry]:
        """Every number, the derived one included."""
        yield Entry(self.source, "", "", "received", "", self.received)
        yield Entry(self.source, "", "", "decoded", "", self.decoded)
        for reason, n in self.rejected.items():
            yield Entry(self.source, "", "", "rejected", reason, n)
        for reason, n in self.dropped.items():
            yield Entry(self.source, "", "", "dropped", reason, n)
        yield Entry(self.source, "", "", "waiting", "", self.waiting)
        for (counter, reason), n in self.notes.items():
            yield Entry(self.source, "", "", counter, reason, n)


class RecordBook:
    """What became of the records of one source in one pipeline. `rejected` is by stage."""

    __slots__ = (
        "absorbed", "dropped", "emitted", "filtered", "out", "pipeline", "rejected", "source", "taken_in",
    )  # fmt: skip

    def __init__(self, source: str, pipeline: str) -> None:
        self.source = source
        self.pipeline = pipeline
        self.taken_in = 0
        self.emitted = 0
        self.out = 0
        self.filtered = 0
        self.absorbed = 0
        self.rejected: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    @property
    def in_flight(self) -> int:
        """Records decoded and not yet handed to the sinks or lost."""
        gone = self.out + self.filtered + self.absorbed + self.rejected.total() + self.dropped.total()
        return self.taken_in + self.emitted - gone

    def entries(self) -> Iterator[Entry]:
        """Every number, the derived one included."""
        plain = (
            ("in", self.taken_in), ("emitted", self.emitted), ("out", self.out),
            ("filtered", self.filtered), ("absorbed", self.absorbed),
        )  # fmt: skip
        for counter, n in plain:
            yield Entry(self.source, self.pipeline, "", counter, "", n)
        for stage, n in self.rejected.items():
            yield Entry(self.source, self.pipeline, "", "rejected", stage, n)
        for reason, n in self.dropped.items():
            yield Entry(self.source, self.pipeline, "", "dropped", reason, n)
        yield Entry(self.source, self.pipeline, "", "in_flight", "", self.in_flight)


class DeliveryBook:
    """What became of the records one pipeline handed to one sink, by their source.

    `replaced` says how many of `stored` took the place of an older row.
    """

    __slots__ = (
        "_due", "_since", "dropped", "offered", "pipeline", "rejected", "replaced", "sink", "source",
        "stored", "unmatched",
    )  # fmt: skip

    def __init__(self, source: str, pipeline: str, sink: str) -> None:
        self.source = source
        self.pipeline = pipeline
        self.sink = sink
        self.offered = 0
        self.stored = 0
        self.replaced = 0
        self.unmatched = 0
        self.rejected = 0
        self.dropped: Counter[str] = Counter()
        self._due = 0
        self._since: int | None = 0

    def join(self, out: int) -> None:
        """The pipeline, which has handed out so many records, begins to offer them to the sink."""
        self._since = out

    def leave(self, out: int) -> None:
        """The pipeline, which has handed out so many records, offers the sink no more."""
        self._due, self._since = self.due(out), None

    def due(self, out: int) -> int:
        """How many of the records that the pipeline has handed out should have been offered."""
        return self._due + (0 if self._since is None else out - self._since)

    @property
    def pending(self) -> int:
        """Records offered to the sink and neither committed nor lost."""
        return self.offered - self.stored - self.unmatched - self.rejected - self.dropped.total()

    def entries(self) -> Iterator[Entry]:
        """Every number, the derived one included."""
        plain = (
            ("offered", self.offered), ("stored", self.stored), ("replaced", self.replaced),
            ("unmatched", self.unmatched), ("rejected", self.rejected), ("pending", self.pending),
        )  # fmt: skip
        for counter, n in plain:
            yield Entry(self.source, self.pipeline, self.sink, counter, "", n)
        for reason, n in self.dropped.items():
            yield Entry(self.source, self.pipeline, self.sink, "dropped", reason, n)


class Books:
    """All books of one run, made where they are first asked for."""

    def __init__(self) -> None:
        self.frames: dict[str, FrameBook] = {}
        self.records: dict[tuple[str, str], RecordBook] = {}
        self.deliveries: dict[tuple[str, str, str], DeliveryBook] = {}
        self._sinks: dict[str, set[str]] = {}

    def source(self, source: str) -> FrameBook:
        """The book of frames of `source`."""
        return self.frames.setdefault(source, FrameBook(source))

    def pipeline(self, source: str, pipeline: str) -> RecordBook:
        """The book of records of `source` in `pipeline`."""
        return self.records.setdefault((source, pipeline), RecordBook(source, pipeline))

    def delivery(self, source: str, pipeline: str, sink: str) -> DeliveryBook:
        """The book of deliveries of `source` through `pipeline` to `sink`."""
        key = (source, pipeline, sink)
        return self.deliveries.setdefault(key, DeliveryBook(*key))

    def connect(self, pipeline: str, sinks: Iterable[str]) -> None:
        """From now on the pipeline hands out to these sinks. Not said: to those it always did."""
        now = set(sinks)
        before = self._sinks.get(pipeline, now)
        self._sinks[pipeline] = now
        for book in self.records.values():
            if book.pipeline == pipeline and book.out:
                for sink in now - before:
                    self.delivery(book.source, pipeline, sink).join(book.out)
                for sink in before - now:
                    self.delivery(book.source, pipeline, sink).leave(book.out)

    def entries(self) -> Iterator[Entry]:
        """Every number of every book."""
        for frames in self.frames.values():
            yield from frames.entries()
        for records in self.records.values():
            yield from records.entries()
        for deliveries in self.deliveries.values():
            yield from deliveries.entries()
