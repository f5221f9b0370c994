from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, ClassVar, Literal

import msgspec

from streamd.core.batch import PEER, Record
from streamd.core.columns import Columns, RecordColumns
from streamd.core.contracts import BadRecord, Processed, Step, StepContext
from streamd.core.errors import ConfigError
from streamd.core.field_names import refuse_unknown
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.core.record_key import Key, RecordKey, plain_names
from streamd.core.state_parts import parts_of
from streamd.windows.keyed import Closed
from streamd.windows.language import parse
from streamd.windows.losses import Losses
from streamd.windows.moments import text_of
from streamd.windows.options import DEFAULT_MAX_FUTURE_S, WindowSettings, microseconds, new_kind
from streamd.windows.rows import KeyedRows, Reader, Received, are_texts, keys_of_columns, keys_of_records
from streamd.windows.summaries import new_aggregates
from streamd.windows.timelines import CLOCKS
from streamd.windows.windows import OVERFLOW, Windows

MOST_RESULTS = 4096
"""About the most results of one tick; the next tick follows at once."""
LOOK_AGAIN_S = 0.5
"""Time between two looks at buffers that are not empty while a timeline may be idle."""
START, END, FINAL, COMPLETE = "window_start", "window_end", "final", "complete"


class Window(Step["Window.Config"]):
    """Aggregates the records of each key over windows of time.

    The result of a window has the fields of the key, `window_start`, `window_end`, the aggregates, `final`
    (false in early results) and `complete` (false if records of the window may be missing).

    A window includes its start and not its end; windows are aligned to 1970-01-01T00:00:00Z. It closes when
    the watermark reaches its end: the greatest time so far minus `watermark_delay`. The watermark advances
    record by record, so neither batches nor restarts change a result.

    With 10,000 keys, 100 records of each in a window, and count, mean, min and max, a record costs about as
    much as in a loop written by hand for this purpose, and a quarter less if it is typed and this is the
    first step: then no dicts are made. A window takes 10 to 20 µs more, when it begins and ends, so with ten
    records in each a record costs about twice as much as in that loop. `streamd bench --only window` compares
    them.
    """

    counters: ClassVar[Mapping[str, str]] = {
        "late": "records too late for a window or out of order (sequence), and late keys (expect)",
        "late_partial": "records that some of their sliding windows, closed before, do not include",
        "late_updates": "late records by which closed windows were made again (late = update)",
        "overflow": "records of keys beyond max_keys, which share the key *",
        "windows": "windows that were closed",
    }

    state_version = 2

    class Config(WindowSettings):
        """The windows, their clock and their aggregates."""

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        self._key = RecordKey(config.key, context.fields, exact=True) if config.key else None
        self._key_columns = plain_names(config.key)
        self.reads_columns = not config.key or bool(self._key_columns)
        aggregates = {}
        for name, text in config.aggregate.items():
            try:
                aggregates[name] = parse(text)
            except ValueError as error:
                raise ConfigError(str(error), ("aggregate", name)) from None
            if (field := aggregates[name].field) is not None:
                refuse_unknown([field], context.fields, "aggregate", name)
        if config.time is not None:
            refuse_unknown([config.time], context.fields, "time")
        self._aggregates = new_aggregates(aggregates)
        self._names = self._result_names()
        max_future_s = DEFAULT_MAX_FUTURE_S if config.max_future is None else config.max_future
        self._reader = Reader(config.time, microseconds(max_future_s), self._aggregates)
        self._early_due: float | None = None
        self._early_due_wall_s = 0.0
        self._look_at = 0.0
        self._begin()

    def _result_names(self) -> frozenset[str]:
        names = [START, END, FINAL, COMPLETE, *(self._key.names if self._key is not None else ())]
        for name in self._key.names if self._key is not None else ():
            if names.count(name) > 1:
                raise ConfigError(f"{name!r} is the name of a field of the result already", ("key",))
        for name in self.config.aggregate:
            if name in names:
                raise ConfigError(
                    f"{name!r} is the name of another field of the result: choose another name",
                    ("aggregate", name),
                )
        return frozenset([*names, *self.config.aggregate])

    def _begin(self) -> None:
        config = self.config
        kind = new_kind(config, self._aggregates)
        clock = CLOCKS[config.watermark_by](
            kind, microseconds(config.watermark_delay or 0.0), config.idle_timeout
        )
        self._losses = Losses(self.context.upstream)
        self._windows = Windows(kind, clock, self._aggregates, self._losses, config.max_keys)
        self._early_due = None

    def open(self) -> None:
        self._begin()

    def process(self, records: list[Record], now: Now) -> Processed:
        return self.process_columns(RecordColumns(records), now)

    def process_columns(self, columns: Columns, now: Now) -> Processed:
        count = len(columns)
        if not count:
            return Processed([])
        key_of: Callable[[Sequence[Any]], Key] | None = None
        if self._key is None:
            keys: Sequence[Any] = list(repeat("", count))
        elif self._key_columns:
            every = list(map(columns.column, self._key_columns))
            keys = every[0]
            if len(every) == 1 and self.config.watermark_by == "key" and are_texts(keys):
                key_of = self._key.of_values
            else:
                keys = keys_of_columns(self._key, every)
        else:
            keys = keys_of_records(self._key, columns.records())
        rows = self._reader.read(columns, keys, Received(columns, now.wall_s), key_of)
        senders = None if self.config.watermark_by == "key" else _senders(columns.column(PEER), rows)
        return self._finish(rows, senders, columns, now)

    def _finish(self, rows: KeyedRows, senders: list[str] | None, columns: Columns, now: Now) -> Processed:
        windows = self._windows
        self._losses.look(now.wall_s)
        closed = windows.add(rows, senders, now.mono_s)
        done = Processed([self._result(window, columns.metadata(place)) for place, window in closed])
        done.emitted = len(done.records)
        record = columns.record
        bad = {place: BadRecord(record(place), one.reason, one.detail) for place, one in rows.bad.items()}
        for place, moment_us, watermark_us in windows.late:
            if self.config.late == "drop":
                done.filtered += 1
                continue
            detail = f"{text_of(moment_us)} is before the watermark {text_of(watermark_us)}"
            bad[place] = BadRecord(record(place), "window:late", detail)
        done.rejects = [bad[place] for place in sorted(bad)]
        done.absorbed = len(columns) - len(bad) - done.filtered
        if self.config.early is not None and done.absorbed and self._early_due is None:
            self._set_early(now, self.config.early)
        self._count(len(windows.late), len(closed))
        return done

    def _count(self, late: int, closed: int) -> None:
        windows = self._windows
        for name, count in (
            ("late", late),
            ("late_partial", windows.partly_late),
            ("late_updates", windows.updated),
            ("overflow", windows.overflowed),
            ("windows", closed - windows.remade),
        ):
            if count:
                self.context.counters.add(name, count)
        windows.late.clear()
        windows.partly_late = windows.updated = windows.remade = windows.overflowed = 0

    def _result(self, window: Closed, metadata: Record) -> Record:
        """The record of a window; `metadata` is that of the record that closed it."""
        key, start_us, end_us = window.keyed.key, window.start_us, window.end_us
        names: Record = {}
        if self._key is not None:
            names = self._key.values(key) if key != OVERFLOW else dict.fromkeys(self._key.names, "*")
        return {
            **names,
            START: text_of(start_us),
            END: text_of(end_us),
            **window.values,
            FINAL: window.final,
            COMPLETE: self._losses.spare(start_us, end_us, window.losses),
            **metadata,
        }

    def next_deadline(self) -> float | None:
        due = self._windows.clock.next_due()
        if due is not None:
            due = max(due, self._look_at)
        if self._early_due is None:
            return due
        return self._early_due if due is None else min(due, self._early_due)

    def tick(self, now: Now) -> Processed:
        windows = self._windows
        self._losses.look(now.wall_s)
        found: list[Closed] = []
        due = windows.clock.next_due()
        if due is not None and max(due, self._look_at) <= now.mono_s:
            if self.context.upstream.waiting():
                self._look_at = now.mono_s + LOOK_AGAIN_S
            else:
                while len(found) < MOST_RESULTS and (closed := windows.clock.idle(now.mono_s)) is not None:
                    found += closed
        if found:
            self.context.counters.add("windows", len(found))
        if self._early_due is not None and self.config.early is not None and self._early_due <= now.mono_s:
            early = windows.early()
            found += early
            self._early_due = None
            if early:
                self._set_early(now, self.config.early)
        return Processed([self._result(window, {}) for window in found])

    def _set_early(self, now: Now, in_s: float) -> None:
        self._early_due, self._early_due_wall_s = now.mono_s + in_s, now.wall_s + in_s

    def snapshot_parts(self) -> Iterator[bytes]:
        if self._windows.keys:
            early = None if self._early_due is None else self._early_due_wall_s
            yield from parts_of(("window", early, self._windows.dump()))

    def restore(self, state: bytes, now: Now) -> None:
        _, early, windows = msgspec.msgpack.decode(state, type=_State)
        self._windows.load(windows, now.mono_s)
        if early is not None and self.config.early is not None:
            self._set_early(now, max(early - now.wall_s, 0.0))

    def unrepeatable(self) -> str:
        config = self.config
        if config.watermark_by == "key":
            return (
                "the windows of a key that falls silent would close by the clock: set watermark_by ="
                ' "sender", which is the partition'
            )
        if config.early is not None:
            return "early results are made by the clock: leave early out"
        if config.idle_timeout is not None:
            return "idle_timeout closes windows by the clock: leave it out"
        return ""

    def fields_after(self) -> frozenset[str] | None:
        return self._names


_State = tuple[Literal["window"], float | None, list[Any]]
"""When early results are due (wall clock), and the windows."""


def _senders(peers: Sequence[Any], rows: KeyedRows) -> list[str]:
    """The sender of each row: the host of the peer, or the peer if it has none."""
    hosts: dict[Any, str] = {}
    found = []
    for place in rows.places:
        peer = peers[place]
        host = hosts.get(peer)
        if host is None:
            text = peer if isinstance(peer, str) else ""
            host = hosts[peer] = Peer(text).host or text
        found.append(host)
    return found
