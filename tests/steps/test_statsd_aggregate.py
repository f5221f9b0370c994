"""The step statsd_aggregate, with `windows/series.py` and `windows/cells.py`."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streamd.codecs.statsd import Statsd
from streamd.config.brought_schemas import brought_fields
from streamd.core.batch import Batch
from streamd.core.columns import FlatColumns
from streamd.core.contracts import Processed, Step
from streamd.core.errors import ConfigError
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.timestamp import from_epoch
from streamd.steps import statsd_aggregate
from streamd.windows.series import SeriesWindows

BEGIN_S = 1_769_846_400.0
"""2026-01-31T08:00:00Z, a multiple of ten seconds."""
OPTIONS = [
    {"ttl": "1m"},
    {"ttl": "10s", "max_series": 1, "percentiles": [99.9], "tags": ["a"]},
    {"ttl": "1m", "interval": "2s", "time": "at", "watermark_delay": "1s"},
]
REFUSALS: dict[str, Any] = {}
NewStep = Callable[..., Step[Any]]


def at(seconds: float) -> Now:
    return Now(BEGIN_S + seconds, 100.0 + seconds)


def records(seconds: float, *lines: str) -> list[dict[str, Any]]:
    """The records of lines of StatsD that were received at a time."""
    found = Statsd(Statsd.Config(), None).decode(
        Frames.of([line.encode() for line in lines], "192.0.2.1:5", BEGIN_S + seconds), at(seconds)
    )
    assert not found.rejects
    more = {"@source": "udp", "@peer": "192.0.2.1:5", "@received_at": from_epoch(BEGIN_S + seconds)}
    return [record | more for record in found.records]


def send(step: Step[Any], seconds: float, *lines: str) -> Processed:
    return step.process(records(seconds, *lines), at(seconds))


def rows(done: Processed, *names: str) -> list[tuple[Any, ...]]:
    """The time of day, the name and these fields of the results."""
    return [
        (record["window_start"][11:19], record["name"], *(record[name] for name in names))
        for record in done.records
        if "window_start" in record
    ]


def due(step: Step[Any]) -> float | None:
    """Seconds from the beginning to the next tick."""
    deadline = step.next_deadline()
    return None if deadline is None else deadline - 100.0


def closed(step: Step[Any], seconds: float) -> Processed:
    """The results of a tick that is due then."""
    assert due(step) == seconds
    return step.tick(at(seconds))


@pytest.fixture
def step(new_step: NewStep) -> Step[Any]:
    made = new_step("statsd_aggregate")
    made.open()
    return made


def test_an_interval_gives_one_record_for_each_series(step: Step[Any]) -> None:
    done = send(step, 1, "a:1|c", "a:2|c|@0.1", "m:3|m", "g:7|g", "g:+2|g", "u:x|s", "u:y|s", "u:x|s|@0.5")
    assert (done.absorbed, done.records) == (8, [])
    done = closed(step, 10)
    assert rows(done, "type", "value", "count") == [
        ("08:00:00", "a", "counter", 21.0, 11.0),
        ("08:00:00", "m", "meter", 3.0, 1.0),
        ("08:00:00", "g", "gauge", 9.0, 2),
        ("08:00:00", "u", "set", 2, 4.0),
    ]
    assert done.records[0] == {
        "name": "a", "type": "counter", "tags": {}, "window_start": "2026-01-31T08:00:00.000000Z",
        "window_end": "2026-01-31T08:00:10.000000Z", "value": 21.0, "count": 11.0, "rate": 2.1,
        "complete": True,
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "type_"), [("ms", "timer"), ("h", "histogram"), ("d", "distribution")])
def test_timers_have_percentiles(new_step: NewStep, kind: str, type_: str) -> None:
    step = new_step("statsd_aggregate", percentiles=[50, 99.9, 100])
    send(step, 1, *[f"t:{n}|{kind}" for n in range(1, 1000)], f"t:1000|{kind}|@0.5", f"t:5|{kind}|#other")
    first, second = closed(step, 10).records
    assert (first["type"], first["count"], first["sum"], first["rate"]) == (type_, 1001.0, 501_500.0, 100.1)
    assert (first["min"], first["max"]) == (1.0, 1000.0)
    assert first["mean"] == pytest.approx(501_500 / 1001)
    assert first["p50"] == pytest.approx(501, rel=0.0101)
    assert (first["p99_9"], first["p100"]) == (pytest.approx(1000, rel=0.0101),) * 2
    assert [second[name] for name in ("count", "mean", "stddev", "p50", "p99_9")] == [1.0, 5.0, 0.0, 5.0, 5.0]
    assert "value" not in first


def test_tags_tell_series_apart_in_any_order(step: Step[Any]) -> None:
    send(step, 1, "a:1|c|#x:1,y", "a:2|c|#y,x:1", "a:4|c|#x:2,y", "a:8|c", "a:16|c|#x:1,x:2")
    assert rows(closed(step, 10), "tags", "value") == [
        ("08:00:00", "a", {"x": "1", "y": True}, 3.0),
        ("08:00:00", "a", {"x": "2", "y": True}, 4.0),
        ("08:00:00", "a", {}, 8.0),
        ("08:00:00", "a", {"x": ["1", "2"]}, 16.0),
    ]


def test_only_chosen_tags_tell_series_apart(new_step: NewStep) -> None:
    step = new_step("statsd_aggregate", tags=["x"])
    send(step, 1, "a:1|c|#x:1,y:1", "a:2|c|#y:2,x:1", "a:4|c|#y:2")
    assert rows(closed(step, 10), "tags", "value") == [
        ("08:00:00", "a", {"x": "1"}, 3.0),
        ("08:00:00", "a", {}, 4.0),
    ]


def test_a_window_closes_with_the_first_record_of_a_later_one(step: Step[Any]) -> None:
    send(step, 1, "a:1|c")
    done = step.process(records(9.999, "a:1|c") + records(10, "a:5|c", "b:6|c"), at(10))
    assert rows(done, "value") == [("08:00:00", "a", 2.0)]
    assert (done.absorbed, done.emitted) == (3, 1)
    assert done.records[0]["@peer"] == "192.0.2.1:5"
    assert rows(closed(step, 20), "value") == [("08:00:10", "a", 5.0), ("08:00:10", "b", 6.0)]
    assert due(step) is None


def test_a_gauge_is_kept_until_its_time_is_over(new_step: NewStep) -> None:
    step = new_step("statsd_aggregate", ttl="35s")
    send(step, 1, "g:7|g", "c:1|c")
    assert rows(closed(step, 10), "value", "count") == [
        ("08:00:00", "g", 7.0, 1),
        ("08:00:00", "c", 1.0, 1.0),
    ]
    assert rows(closed(step, 20), "value", "count") == [("08:00:10", "g", 7.0, 0)]
    assert rows(send(step, 21, "c:1|c")) == []
    assert closed(step, 30).records[1]["value"] == 7.0
    assert closed(step, 40).records == []
    assert step.context.counters.totals()["series_expired"] == 1
    assert send(step, 41, "g:+2|g").absorbed == 1
    assert rows(closed(step, 50), "value") == [("08:00:40", "g", 2.0)]


def test_changes_of_a_gauge_add_up_over_windows(step: Step[Any]) -> None:
    send(step, 1, "g:100|g", "g:-10|g", "g:+30|g", "new:-4|g")
    assert rows(closed(step, 10), "value") == [("08:00:00", "g", 120.0), ("08:00:00", "new", -4.0)]
    send(step, 11, "g:-20|g")
    assert rows(closed(step, 20), "value") == [("08:00:10", "g", 100.0), ("08:00:10", "new", -4.0)]
    send(step, 21, "g:+1|g", "g:5|g", "g:+1|g")
    assert rows(closed(step, 30), "value") == [("08:00:20", "g", 6.0), ("08:00:20", "new", -4.0)]


def test_over_a_gap_gauges_have_one_record(step: Step[Any]) -> None:
    send(step, 1, "g:7|g", "c:1|c")
    done = send(step, 95, "c:1|c")
    assert rows(done, "value") == [("08:00:00", "g", 7.0), ("08:00:00", "c", 1.0), ("08:01:20", "g", 7.0)]
    assert rows(closed(step, 100), "value") == [("08:01:30", "c", 1.0), ("08:01:30", "g", 7.0)]


def test_a_late_record_counts_in_the_next_window(step: Step[Any]) -> None:
    send(step, 11, "a:1|c")
    done = step.process(records(9, "a:2|c", "b:4|c"), at(11))
    assert (done.absorbed, done.rejects) == (2, [])
    assert rows(closed(step, 20), "value") == [("08:00:10", "a", 3.0), ("08:00:10", "b", 4.0)]
    assert step.context.counters.totals()["late"] == 2


def test_the_clock_closes_no_window_while_frames_wait(step: Step[Any]) -> None:
    waiting = [3]
    step.context.upstream.waiting = lambda: waiting[0]
    send(step, 1, "a:1|c")
    assert closed(step, 10).records == []
    assert due(step) == 10.5
    send(step, 9, "a:1|c")
    waiting[0] = 0
    assert rows(step.tick(at(10.5)), "value") == [("08:00:00", "a", 2.0)]


def test_nothing_is_done_before_it_is_due(step: Step[Any]) -> None:
    assert (due(step), step.tick(at(0)).records) == (None, [])
    send(step, 1, "a:1|c")
    assert step.tick(at(9.999)).records == []


def test_many_results_come_in_parts(step: Step[Any]) -> None:
    count = 2 * statsd_aggregate.MOST_RESULTS + 5
    send(step, 1, *[f"g{n}:1|g" for n in range(count)])
    parts = []
    while due(step) == 10:
        parts.append(rows(step.tick(at(12))))
    assert list(map(len, parts)) == [statsd_aggregate.MOST_RESULTS] * 2 + [5]
    assert len({name for part in parts for _, name in part}) == count
    assert due(step) == 20


def test_a_snapshot_between_two_parts_goes_on(step: Step[Any], new_step: NewStep) -> None:
    send(step, 1, *[f"g{n}:{n}|g" for n in range(statsd_aggregate.MOST_RESULTS + 3)])
    step.tick(at(10))
    other = new_step("statsd_aggregate")
    other.open()
    state = step.snapshot()
    assert state is not None
    other.restore(state, at(10))
    assert due(other) == 10
    assert rows(other.tick(at(10)), "value") == rows(step.tick(at(10)), "value")
    assert rows(other.tick(at(20)), "value") == rows(step.tick(at(20)), "value")
    assert due(other) == due(step)


def test_what_was_open_over_a_stop_closes_by_the_clock(step: Step[Any], new_step: NewStep) -> None:
    send(step, 1, "a:1|c")
    state = step.snapshot()
    assert state is not None
    other = new_step("statsd_aggregate")
    other.open()
    other.restore(state, Now(BEGIN_S + 3600, 5.0))
    deadline = other.next_deadline()
    assert deadline is not None
    assert deadline <= 5.0
    assert rows(other.tick(Now(BEGIN_S + 3600, 5.0)), "value") == [("08:00:00", "a", 1.0)]


def test_series_beyond_the_bound_share_one(new_step: NewStep) -> None:
    step = new_step("statsd_aggregate", max_series=2)
    send(step, 1, "a:1|c", "t:5|ms|#x", "b:2|c", "c:4|c|#y", "t:7|ms", "a:1|c", "g:1|g", "u:x|s")
    assert rows(closed(step, 10), "type", "count") == [
        ("08:00:00", "a", "counter", 2.0),
        ("08:00:00", "t", "timer", 1.0),
        ("08:00:00", "_other", "counter", 2.0),
        ("08:00:00", "_other", "timer", 1.0),
        ("08:00:00", "_other", "gauge", 1),
        ("08:00:00", "_other", "set", 1.0),
    ]
    assert step.context.counters.totals()["series_overflow"] == 5
    send(step, 11, "b:2|c", "a:1|c")
    assert rows(closed(step, 20)) == [("08:00:10", "_other"), ("08:00:10", "a")], (
        "known series keep their place"
    )
    assert step.context.counters.gauge_values() == {"series": 2}


def test_too_long_series_share_one(step: Step[Any]) -> None:
    send(step, 1, "a" * 2000 + ":1|c", "b:2|c|#" + "t" * 2000, "c:4|c")
    assert rows(closed(step, 10), "value") == [("08:00:00", "_other", 3.0), ("08:00:00", "c", 4.0)]


def test_events_and_checks_pass_unchanged(step: Step[Any]) -> None:
    sent = [*records(1, "_e{1,1}:a|b", "_sc|up|0"), {"type": "other", "n": 1}]
    done = step.process([*sent, *records(1, "a:1|c")], at(1))
    assert (done.records, done.absorbed, done.emitted) == (sent, 1, 0)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"name": "a", "value": 1.0}, "statsd:type"),
        ({"name": "a", "type": ["counter"], "value": 1.0}, "statsd:type"),
        ({"type": "counter", "value": 1.0}, "statsd:name"),
        ({"name": "", "type": "counter", "value": 1.0}, "statsd:name"),
        ({"name": "a", "type": "counter"}, "statsd:value"),
        ({"name": "a", "type": "counter", "value": "1"}, "statsd:value"),
        ({"name": "a", "type": "gauge", "value": True}, "statsd:value"),
        ({"name": "a", "type": "gauge", "value": float("nan")}, "statsd:value"),
        ({"name": "a", "type": "timer", "value": 10**400}, "statsd:value"),
        ({"name": "a", "type": "set", "value": 1.0}, "statsd:value"),
        ({"name": "a", "type": "counter", "value": 1.0, "sample_rate": 0}, "statsd:rate"),
        ({"name": "a", "type": "counter", "value": 1.0, "sample_rate": float("inf")}, "statsd:rate"),
        ({"name": "a", "type": "counter", "value": 1.0, "sample_rate": "0.1"}, "statsd:rate"),
        ({"name": "a", "type": "counter", "value": 1.0, "tags": "x"}, "statsd:tags"),
        ({"name": "a", "type": "counter", "value": 1.0, "tags": {"x": "\ud800"}}, "statsd:tags"),
        ({"name": "a", "type": "counter", "value": 1.0, "tags": {"x": object()}}, "statsd:tags"),
    ],
)
def test_a_record_that_is_no_metric_is_rejected(step: Step[Any], record: dict[str, Any], reason: str) -> None:
    good = {"name": "ok", "type": "counter", "value": 2}
    done = step.process([dict(good), record, dict(good)], at(1))
    assert [(bad.record, bad.reason) for bad in done.rejects] == [(record, reason)]
    assert rows(closed(step, 10), "value") == [("08:00:00", "ok", 4.0)]


def test_the_greatest_numbers_are_stored_as_null(step: Step[Any]) -> None:
    lines = ["c:1.7e308|c|@0.001", "g:1.7e308|g", "g:+1.7e308|g", "t:1.7e308|ms|@0.5", "t:1.7e308|ms"]
    send(step, 1, *lines, *lines)
    first = closed(step, 10).records
    assert [first[0]["value"], first[0]["rate"], first[1]["value"], first[2]["sum"]] == [None] * 4
    assert (first[2]["max"], first[2]["p50"]) == (1.7e308, 1.7e308)
    send(step, 11, "g:3|g")
    assert rows(closed(step, 20), "value") == [("08:00:10", "g", 3.0)]


def test_a_window_is_incomplete_if_something_was_lost_while_it_was_open(step: Step[Any]) -> None:
    lost = [0]
    step.context.upstream.lost = lambda: lost[0]
    step.open()
    send(step, 1, "a:1|c")
    lost[0] = 1
    assert rows(send(step, 11, "a:1|c"), "complete") == [("08:00:00", "a", False)]
    send(step, 21, "a:1|c")
    assert rows(closed(step, 30), "complete") == [("08:00:20", "a", True)]


def test_by_the_time_in_the_record(new_step: NewStep) -> None:
    step = new_step("statsd_aggregate", time="timestamp", watermark_delay="5s")
    stamp = int(BEGIN_S)
    done = send(
        step, 100, f"a:1|c|T{stamp + 3}", f"a:2|c|T{stamp + 12}", f"a:4|c|T{stamp + 9}", f"g:5|g|T{stamp + 9}"
    )
    assert done.records == []
    done = send(step, 101, f"a:8|c|T{stamp + 15}", f"a:16|c|T{stamp + 9}", f"b:1|c|T{stamp + 10}")
    assert rows(done, "value") == [("08:00:00", "a", 5.0), ("08:00:00", "g", 5.0)]
    assert [bad.reason for bad in done.rejects] == ["window:late"]
    assert step.context.counters.totals()["late"] == 1
    assert due(step) == 131, "nothing for 30 s"
    assert rows(step.tick(at(131)), "value") == [
        ("08:00:10", "a", 10.0),
        ("08:00:10", "b", 1.0),
        ("08:00:10", "g", 5.0),
    ]


def test_a_record_without_the_time_has_that_of_its_receipt(new_step: NewStep) -> None:
    step = new_step("statsd_aggregate", time="timestamp", watermark_delay="0s")
    done = send(step, 12, "a:1|c", f"a:1|c|T{int(BEGIN_S) + 11}", f"a:1|c|T{int(BEGIN_S) + 400}")
    assert [(bad.reason, bad.record["timestamp"][11:19]) for bad in done.rejects] == [
        ("window:future", "08:06:40")
    ]
    assert rows(send(step, 30, "a:1|c"), "value") == [("08:00:10", "a", 2.0)]


def test_a_gauge_that_a_later_window_has_already_keeps_its_order(new_step: NewStep) -> None:
    step = new_step("statsd_aggregate", time="timestamp", watermark_delay="30s")
    stamp = int(BEGIN_S)
    send(
        step,
        20,
        f"g:2|g|T{stamp + 12}",
        f"g:1|g|T{stamp + 2}",
        f"g:+5|g|T{stamp + 13}",
        f"g:+1|g|T{stamp + 25}",
    )
    assert rows(send(step, 70, "c:1|c"), "value") == [
        ("08:00:00", "g", 1.0), ("08:00:10", "g", 7.0), ("08:00:20", "g", 8.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"percentiles": [0]}, "more than 0 and at most 100"),
        ({"percentiles": [50, 50.0]}, "occurs twice"),
        ({"ttl": "5s"}, "ttl: at least interval"),
        ({"time": "timestamp"}, "watermark_delay: required"),
        ({"max_future": "5m"}, "max_future: has no effect"),
        ({"interval": "4000d"}, "at most 3660d"),
        ({"interval": "0s"}, "greater than 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(new_step: NewStep, options: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        new_step("statsd_aggregate", **options)


def test_a_field_that_no_record_has_is_refused(new_step: NewStep) -> None:
    with pytest.raises(ConfigError, match="did you mean 'timestamp'"):
        new_step("statsd_aggregate", known=frozenset(["timestamp"]), time="timestmp", watermark_delay="1s")


def test_the_fields_of_its_records_are_known(new_step: NewStep) -> None:
    step = new_step("statsd_aggregate", known=frozenset(["name", "message"]), percentiles=[99.5])
    send(step, 1, "t:1|ms", "a:1|c")
    names = step.fields_after()
    assert names is not None
    assert {"message", "p99_5"} < names
    assert all(record.keys() <= names for record in closed(step, 10).records)
    assert new_step("statsd_aggregate").fields_after() is None
    assert step.unrepeatable()


LINES = st.sampled_from(
    [
        "a:1|c",
        "a:2|c|@0.5",
        "b:3|c|#x",
        "g:4|g",
        "g:+1|g",
        "h:-1|g",
        "t:5|ms",
        "t:7|ms|@0.1",
        "u:x|s",
        "u:y|s",
    ]
)
SENT = st.lists(st.tuples(st.integers(0, 40), st.lists(LINES, min_size=1, max_size=4)), max_size=8)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=SENT, cuts=st.sets(st.integers(0, 7)), restarts=st.sets(st.integers(0, 7)))
def test_neither_batches_nor_restarts_change_a_result(
    sent: list[tuple[int, list[str]]], cuts: set[int], restarts: set[int], new_step: NewStep
) -> None:
    """In any order of receipt, as fair senders bring records."""
    whole = new_step("statsd_aggregate", ttl="20s", max_series=3)
    parts = new_step("statsd_aggregate", ttl="20s", max_series=3)
    batches: list[list[dict[str, Any]]] = [[]]
    for place, (seconds, lines) in enumerate(sent):
        batches[-1] += records(seconds, *lines)
        if place in cuts:
            batches.append([])
    everything = [dict(record) for batch in batches for record in batch]
    expected = whole.process(everything, at(40)).records + whole.tick(at(500)).records
    found = []
    for place, batch in enumerate(batches):
        found += parts.process(batch, at(40)).records
        if place in restarts and (state := parts.snapshot()) is not None:
            parts = new_step("statsd_aggregate", ttl="20s", max_series=3)
            parts.restore(state, at(40))
    assert found + parts.tick(at(500)).records == expected


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=SENT)
def test_counters_and_sets_are_what_a_simple_program_counts(
    sent: list[tuple[int, list[str]]], new_step: NewStep
) -> None:
    step = new_step("statsd_aggregate")
    sums: defaultdict[tuple[str, str], float] = defaultdict(float)
    members: defaultdict[str, set[str]] = defaultdict(set)
    found: list[dict[str, Any]] = []
    for seconds, lines in sorted(sent, key=lambda one: one[0]):
        found += send(step, seconds, *lines).records
        for record in records(seconds, *lines):
            start = from_epoch(BEGIN_S + seconds // 10 * 10)
            if record["type"] == "counter":
                sums[start, record["name"]] += record["value"] / record.get("sample_rate", 1)
            elif record["type"] == "set":
                members[start].add(record["member"])
    found += step.tick(at(500)).records
    assert {(r["window_start"], r["name"]): r["value"] for r in found if r["type"] == "counter"} == sums
    assert {r["window_start"]: r["value"] for r in found if r["type"] == "set"} == {
        start: len(one) for start, one in members.items()
    }


def test_typed_records_need_not_be_dicts(new_step: NewStep) -> None:
    schema = Schema("statsd", brought_fields(Statsd))
    codec = Statsd(Statsd.Config(), schema)
    codec.typed = True
    lines = [b"a:1|c|@0.5|#x:1", b"g:-3|g", b"u:x|s", b"_sc|up|0", b"t:1:2:3|ms"]
    done = codec.decode(Frames.of(lines, "192.0.2.1:5", BEGIN_S), at(0))
    assert done.typed
    batch = Batch.of(schema.flatten(done.records), "udp", "main", "192.0.2.1:5", BEGIN_S, fields=schema.names)
    by_columns, by_dicts = new_step("statsd_aggregate"), new_step("statsd_aggregate")
    columns = FlatColumns(batch)
    passed = by_columns.process_columns(columns, at(0))
    assert passed.records == by_dicts.process(columns.records(), at(0)).records
    assert len(passed.records) == 1
    assert by_columns.tick(at(10)).records == by_dicts.tick(at(10)).records != []


def test_known_series_are_counted(new_step: NewStep) -> None:
    step = new_step("statsd_aggregate")
    send(step, 1, "a:1|c", "b:1|c", "a:1|ms")
    windows: SeriesWindows = step._windows  # type: ignore[attr-defined]
    assert len(windows) == 3
