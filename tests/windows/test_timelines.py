"""Watermarks of keys, senders and the pipeline, sessions, late records, idle timelines and restarts, compared
with a second implementation. It keeps every record, knows no pane and no heap, and follows
`docs/decisions/026` by its numbers.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamd.core.contracts import Processed, Step, StepContext
from streamd.core.now import Now
from streamd.core.timestamp import canonical
from streamd.steps.window import Window

BERLIN = ZoneInfo("Europe/Berlin")
IDLE_S = 30
WALL_S = 2e9
LONG_AGO = -(10**15)
AGGREGATES = {
    "n": "count()", "sum": "sum(v)", "least": "min(v)", "earliest": "first(v)", "latest": "last(v)",
}  # fmt: skip
Span = tuple[int, int]
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Shape:
    """The options of a window, in whole seconds."""

    kind: str
    size: int
    slide: int
    by: str
    delay: int
    lateness: int = 0
    zone: bool = False
    max_keys: int = 100
    longest: int = 0
    """Of a session; 0 for no limit."""

    def options(self) -> dict[str, Any]:
        known: dict[str, Any] = {
            "kind": self.kind,
            "key": ["k"],
            "time": "t",
            "watermark_by": self.by,
            "watermark_delay": f"{self.delay}s",
            "idle_timeout": f"{IDLE_S}s",
            "max_future": "3660d",
            "max_keys": self.max_keys,
            "aggregate": AGGREGATES,
        }
        if self.kind == "session":
            return (
                known | {"gap": f"{self.size}s"} | ({"max_size": f"{self.longest}s"} if self.longest else {})
            )
        known["size"] = f"{self.size}s"
        if self.kind == "sliding":
            known["slide"] = f"{self.slide}s"
        if self.zone:
            known["timezone"] = "Europe/Berlin"
        if self.lateness:
            known |= {"late": "update", "allowed_lateness": f"{self.lateness}s"}
        return known

    def windows(self, at: int) -> list[Span]:
        """The windows of a time, without sessions (6)."""
        if self.zone:
            return self._days(at)
        last = at // self.slide * self.slide
        return [(start, start + self.size) for start in range(last, last - self.size, -self.slide)]

    def _days(self, at: int) -> list[Span]:
        """Windows of whole days in Berlin, found by trying."""
        count, every = self.size // 86400, self.slide // 86400
        today = datetime.fromtimestamp(at, UTC).astimezone(BERLIN).date()
        found = []
        for back in range(count + 1):
            first = today - timedelta(days=back)
            if (first.toordinal() - 719163) % every:
                continue
            start, end = (midnight(first + timedelta(days=days)) for days in (0, count))
            if start <= at < end:
                found.append((start, end))
        return found


def midnight(day: Any) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=BERLIN).timestamp())


@dataclass
class Entry:
    at: int
    value: int | None
    sender: str
    place: int


@dataclass
class Oracle:
    """What windows do, by the decision alone."""

    shape: Shape
    keys: dict[str, None] = field(default_factory=dict)
    open: dict[str, list[tuple[Span, list[Entry]]]] = field(default_factory=dict)
    """The windows of each key that have rows and can still change."""
    closed_until: dict[str, int] = field(default_factory=dict)
    watermark: dict[str, int] = field(default_factory=dict)
    """Of each active timeline."""
    seen: dict[str, float] = field(default_factory=dict)
    joined: dict[str, set[str]] = field(default_factory=dict)
    """The active senders that have added to a key since it last had no open window."""
    whole: int = LONG_AGO
    counts: Counter[str] = field(default_factory=Counter)
    place: int = 0

    # Adding a record.

    def add(self, k: str, sender: str, at: int, value: int | None, mono_s: float) -> tuple[bool, list[Row]]:
        """Whether the record is late, and the results it makes."""
        self.place += 1
        if k not in self.keys and len(self.keys) >= self.shape.max_keys:
            self.counts["overflow"] += 1
            k = "*"
        else:
            self.keys[k] = None
        line = self._line(k, sender)
        entry = Entry(at, value, sender, self.place)
        late, made = self._put(k, entry, line)
        self.counts["late"] += late
        timeline = k if self.shape.by == "key" else sender
        self.seen[timeline] = mono_s
        self.watermark[timeline] = max(self.watermark.get(timeline, LONG_AGO), at - self.shape.delay)
        if not late:
            self.joined.setdefault(k, set()).add(sender)
        return late, made + self._advance()

    def _line(self, k: str, sender: str) -> int:
        """Windows of the key that end up to here are closed for a record of the sender (2)."""
        closed = self.closed_until.get(k, LONG_AGO)
        if self.shape.by == "key":
            return max(closed, self.watermark.get(k, LONG_AGO))
        if self.shape.by == "pipeline":
            return max(closed, self.whole)
        if sender not in self.watermark:
            return closed
        return max(closed, min(self.watermark[one] for one in {sender, *self.joined.get(k, ())}))

    def _put(self, k: str, entry: Entry, line: int) -> tuple[bool, list[Row]]:
        if self.shape.kind == "session":
            return self._put_session(k, entry, line), []
        lateness = self.shape.lateness
        spans = self.shape.windows(entry.at)
        taking = [span for span in spans if span[1] + lateness > line]
        if not taking:
            return True, []
        if any(span[1] <= line for span in spans):
            self.closed_until[k] = line  # no later record, of whatever sender, opens these again
        if len(taking) < len(spans):
            self.counts["late_partial"] += 1
        windows = self.open.setdefault(k, [])
        updated = []
        for span in taking:
            rows = next((rows for one, rows in windows if one == span), None)
            if rows is None:
                rows = []
                windows.append((span, rows))
            rows.append(entry)
            if span[1] <= line:
                updated.append(result(k, span, rows))
        self.counts["late_updates"] += bool(updated)
        return False, updated

    def _put_session(self, k: str, entry: Entry, line: int) -> bool:
        """Sessions are what the records of all open sessions form, made anew for each record."""
        if self.shape.longest:
            return self._put_limited(k, entry, line)
        every = sorted(
            [entry, *(e for _, rows in self.open.get(k, []) for e in rows)], key=lambda e: (e.at, e.place)
        )
        gap = self.shape.size
        sessions: list[list[Entry]] = []
        for e in every:
            if sessions and e.at - sessions[-1][-1].at < gap:
                sessions[-1].append(e)
            else:
                sessions.append([e])
        if next(rows for rows in sessions if entry in rows)[-1].at + gap <= line:
            return True
        self.open[k] = [((rows[0].at, rows[-1].at + gap), rows) for rows in sessions]
        return False

    def _put_limited(self, k: str, entry: Entry, line: int) -> bool:
        """A record joins the earliest session that may take it, and then the later ones that still fit.

        Sessions are joined here by all their times, and not by their first and last one.
        """
        gap, longest = self.shape.size, self.shape.longest
        sessions = [rows for _, rows in self.open.get(k, [])]

        def length(rows: list[Entry]) -> int:
            times = [e.at for e in rows]
            return max(times) - min(times) + gap

        near = [rows for rows in sessions if any(abs(e.at - entry.at) < gap for e in rows)]
        near = sorted(
            (rows for rows in near if length([*rows, entry]) <= longest),
            key=lambda rows: min(e.at for e in rows),
        )
        if not near and entry.at + gap <= line:
            return True
        grown = [entry]
        for rows in near:
            if length([*grown, *rows]) <= longest:
                grown += rows
                sessions.remove(rows)
        sessions.append(grown)
        every = [sorted(rows, key=lambda e: (e.at, e.place)) for rows in sessions]
        self.open[k] = [((rows[0].at, rows[-1].at + gap), rows) for rows in every]
        return False

    # Watermarks.

    def _advance(self) -> list[Row]:
        if self.shape.by == "pipeline":
            self.whole = max(self.whole, min(self.watermark.values()))
            return self._close(dict.fromkeys(self.open, self.whole))
        if self.shape.by == "key":
            return self._close({k: self.watermark[k] for k in self.open if k in self.watermark})
        return self._close({k: self._least(k) for k in self.open if self.joined[k]})

    def _least(self, k: str, otherwise: int = LONG_AGO) -> int:
        """The watermark of the slowest active sender of a key."""
        return min((self.watermark[one] for one in self.joined[k]), default=otherwise)

    def _close(self, lines: dict[str, int]) -> list[Row]:
        made = []
        for k, line in lines.items():
            before = self.closed_until.get(k, LONG_AGO)
            lateness = self.shape.lateness
            if not any(before < end <= line for (_, end), _ in self.open[k]) and not self._forgets(k, line):
                continue
            self.closed_until[k] = line
            for span, rows in self.open[k]:
                if before < span[1] <= line:
                    made.append(result(k, span, rows))
                    self.counts["windows"] += 1
            self.open[k] = [one for one in self.open[k] if one[0][1] + lateness > line]
            if not self.open[k]:
                del self.open[k], self.joined[k]
        return made

    def _forgets(self, k: str, line: int) -> bool:
        """Whether a record of the key cannot change a window any more."""
        lateness = self.shape.lateness
        return lateness > 0 and any(
            end + lateness <= line and self.shape.windows(e.at)[0][1] == end
            for (_, end), rows in self.open[k]
            for e in rows
        )

    # Idle timelines (3) and restarts (9).

    def tick(self, mono_s: float) -> list[Row]:
        idle = [one for one, seen in self.seen.items() if seen + IDLE_S <= mono_s]
        made: list[Row] = []
        for one in sorted(idle, key=self.seen.__getitem__):
            del self.seen[one]
            made += self._idle(one)
        return made

    def _idle(self, one: str) -> list[Row]:
        if self.shape.by == "key":
            newest = max((span[1] for span, _ in self.open.get(one, [])), default=LONG_AGO)
            self.watermark[one] = max(self.watermark[one], newest)
            return self._close({one: newest} if one in self.open else {})
        keys = [k for k in self.open if one in self.joined[k]]
        line = self.watermark.pop(one)
        for senders in self.joined.values():
            senders.discard(one)
        if self.shape.by == "pipeline":
            newest = max((span[1] for rows in self.open.values() for span, _ in rows), default=LONG_AGO)
            self.whole = max(self.whole, min(self.watermark.values(), default=newest))
            return self._close(dict.fromkeys(self.open, self.whole))
        newest = max((span[1] for k in keys for span, _ in self.open[k]), default=LONG_AGO)
        line = max(line, newest)
        return self._close({k: self._least(k, line) for k in keys})

    def restart(self, mono_s: float) -> None:
        """Idle timers begin anew (9)."""
        self.seen = dict.fromkeys(self.seen, mono_s)


def result(k: str, span: Span, rows: list[Entry]) -> Row:
    timed = sorted((e for e in rows if e.value is not None), key=lambda e: (e.at, e.place))
    values: list[Any] = [e.value for e in timed]
    total = sum(values) if values else None
    edges = (values[0], values[-1]) if values else (None, None)
    return (k, canonical(span[0]), canonical(span[1]), len(rows), total, min(values, default=None), *edges)


# The step under the same events.


class Line:
    """The step, in a process that may be restarted."""

    def __init__(self, shape: Shape) -> None:
        self.options = shape.options()
        self.counts: Counter[str] = Counter()
        self.step = self.new()

    def new(self) -> Step[Any]:
        step = Window(Window.Config(**self.options), StepContext("window[0]", "p", None, Path()))
        step.open()
        return step

    def process(self, records: list[dict[str, Any]], mono_s: float) -> tuple[list[Any], list[Row]]:
        done = self.step.process([dict(record) for record in records], Now(WALL_S + mono_s, mono_s))
        assert len(records) + done.emitted == len(done.records) + done.absorbed + len(done.rejects)
        assert {bad.reason for bad in done.rejects} <= {"window:late"}
        return [bad.record["place"] for bad in done.rejects], as_rows(done)

    def tick(self, mono_s: float) -> list[Row]:
        made = []
        while (due := self.step.next_deadline()) is not None and due <= mono_s:
            made += as_rows(self.step.tick(Now(WALL_S + mono_s, mono_s)))
        return made

    def restart(self, mono_s: float) -> None:
        state = self.step.snapshot()
        self.count()
        self.step = self.new()
        if state is not None:
            self.step.restore(state, Now(WALL_S + mono_s, mono_s))
            assert self.step.snapshot() == state

    def count(self) -> Counter[str]:
        for (name, _), n in self.step.context.counters.items():
            self.counts[name] += n
        return +self.counts


def as_rows(done: Processed) -> list[Row]:
    names = ("k", "window_start", "window_end", *AGGREGATES)
    assert all(record["final"] and record["complete"] for record in done.records)
    return [tuple(record[name] for name in names) for record in done.records]


# Streams.

RECORD = st.tuples(
    st.sampled_from("aaabbc"),
    st.sampled_from(["10.0.0.1:5", "10.0.0.1:6", "10.0.0.2:5", "10.0.0.3:5"]),
    st.integers(-20, 60),
    st.none() | st.integers(-9, 9),
)
WAIT = st.sampled_from([1.0, 10.0, 29.0, 30.0, 45.0])
EVENTS = st.lists(RECORD | RECORD | RECORD | WAIT | st.just("restart"), max_size=70)
SHAPES = [
    Shape("tumbling", 20, 20, "key", 5),
    Shape("sliding", 30, 10, "key", 0),
    Shape("session", 10, 10, "key", 5),
    Shape("session", 10, 10, "key", 5, longest=25),
    Shape("session", 10, 10, "key", 0, longest=11),
]
LATER = [
    Shape("tumbling", 20, 20, "key", 5, lateness=20),
    Shape("tumbling", 20, 20, "key", 0, lateness=13),
    Shape("sliding", 30, 10, "key", 5, lateness=15),
    Shape("sliding", 30, 10, "key", 0, lateness=10),
]
BY = ["key", "sender", "pipeline"]
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def changed(shape: Shape, **fields: Any) -> Shape:
    return Shape(**{**vars(shape), **fields})


def follow(shape: Shape, events: list[Any], scale: int = 1, origin: int = 0, drift: int = 3) -> None:
    """Run the events through the oracle and twice through the step: record by record, and in batches."""
    oracle, single, batched = Oracle(shape), Line(shape), Line(shape)
    mono_s = 0.0
    batch: list[dict[str, Any]] = []
    wanted: tuple[list[Any], list[Row]] = ([], [])

    def flush() -> None:
        if batch:
            assert batched.process(batch, mono_s) == wanted
            batch.clear()
            wanted[0].clear()
            wanted[1].clear()

    for place, event in enumerate([*events, 1000.0, 1000.0]):
        if event == "restart":
            flush()
            for line in (oracle, single, batched):
                line.restart(mono_s)
        elif isinstance(event, float):
            flush()
            mono_s += event
            made = single.tick(mono_s)
            assert sorted(made, key=repr) == sorted(oracle.tick(mono_s), key=repr), (place, event)
            assert batched.tick(mono_s) == made
        else:
            k, peer, at, value = event
            at = origin + (place * drift + at) * scale
            late, expected = oracle.add(k, peer.partition(":")[0], at, value, mono_s)
            record = {"k": k, "t": at, "v": value, "@peer": peer, "place": place}
            rejected, made = single.process([record], mono_s)
            assert (bool(rejected), sorted(made, key=repr)) == (late, sorted(expected, key=repr)), (
                place,
                event,
            )
            batch.append(record)
            wanted[0].extend(rejected)
            wanted[1].extend(made)
    assert single.count() == batched.count() == +oracle.counts
    assert single.step.snapshot() == batched.step.snapshot()
    assert single.step.next_deadline() is None


@pytest.mark.parametrize("by", BY)
@quick
@given(
    shape=st.sampled_from(SHAPES),
    events=EVENTS,
    drift=st.sampled_from([0, 1, 5]),
    max_keys=st.sampled_from([1, 2, 100]),
)
def test_windows_of_all_kinds_and_timelines_are_what_the_decision_says(
    by: str, shape: Shape, events: list[Any], drift: int, max_keys: int
) -> None:
    follow(changed(shape, by=by, max_keys=max_keys), events, drift=drift)


@pytest.mark.parametrize("by", BY)
@quick
@given(shape=st.sampled_from(LATER), events=EVENTS, drift=st.sampled_from([0, 1, 5]))
def test_late_updates_are_what_the_decision_says(
    by: str, shape: Shape, events: list[Any], drift: int
) -> None:
    follow(changed(shape, by=by), events, drift=drift)


@quick
@given(
    events=EVENTS,
    day=st.sampled_from(["2026-03-28", "2026-10-24", "2026-10-25"]),
    days=st.sampled_from([(1, 1), (3, 1), (2, 2)]),
    lateness=st.integers(0, 2),
    by=st.sampled_from(BY),
    delay=st.sampled_from([0, 3600]),
)
def test_days_of_a_zone_have_23_and_25_hours(
    events: list[Any], day: str, days: tuple[int, int], lateness: int, by: str, delay: int
) -> None:
    size, slide = (86400 * n for n in days)
    kind = "tumbling" if size == slide else "sliding"
    shape = Shape(kind, size, slide, by, delay, lateness * 86400, zone=True)
    origin = int(datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp())
    follow(shape, events, scale=3600, origin=origin, drift=1)


def test_the_lateness_that_a_long_day_has_ended_is_noticed_by_each_record() -> None:
    """A day of 25 hours is longer than an allowed lateness of one day, which ends within it."""
    shape = Shape("tumbling", 86400, 86400, "key", 0, 86400, zone=True)
    origin = int(datetime.fromisoformat("2026-10-25T00:00:00+02:00").timestamp())
    hours = (-10, 1, 2, 23, 24, 24, -11)
    follow(shape, [("a", "10.0.0.1:5", at, 1) for at in hours], scale=3600, origin=origin, drift=0)


A, B, C = (f"10.0.0.{n}:5" for n in (1, 2, 3))


@pytest.mark.parametrize(
    "shape", [Shape("tumbling", 20, 20, "sender", 5), Shape("session", 10, 10, "sender", 5)]
)
@pytest.mark.parametrize(
    "events",
    [
        pytest.param(
            [("a", A, 10), ("a", A, 30), ("a", B, 2), ("a", A, 50), ("a", A, 90)],
            id="one whose records are all late holds no window open",
        ),
        pytest.param(
            [("a", B, 48), ("a", A, 45), ("a", A, 70), ("a", C, 25)],
            id="a new one may be slower until a window has closed",
        ),
        pytest.param(
            [("x", A, 100), ("z", B, 50), ("y", A, 105), ("y", B, 60)],
            id="a record in time makes no other sender late",
        ),
    ],
)
def test_senders_of_one_key_with_different_clocks(shape: Shape, events: list[Any]) -> None:
    follow(shape, [(*event, 1) for event in events], drift=0)
