"""The step window: the semantics of its windows, each by its number in decision 026."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.core.contracts import Processed, Step
from streamd.core.errors import ConfigError
from streamd.core.now import Now
from streamd.core.timestamp import canonical

NewStep = Callable[..., Step[Any]]
MINUTE: dict[str, Any] = {
    "size": "1m", "key": ["k"], "time": "t", "watermark_delay": "5s", "idle_timeout": "30s",
    "aggregate": {"n": "count()"},
}  # fmt: skip
NOW = Now(1_000_000.0, 10.0)
REFUSALS: dict[str, Any] = {}
OPTIONS: list[dict[str, Any]] = [
    {"size": "2s", "aggregate": {"total": "sum(n)", "last": "last(t)"}, "early": "1s"},
    {
        "kind": "sliding",
        "size": "4s",
        "slide": "1s",
        "key": ["t"],
        "time": "n",
        "watermark_delay": "1s",
        "watermark_by": "pipeline",
        "max_keys": 2,
        "aggregate": {"records": "count()"},
    },
    {
        "kind": "session",
        "gap": "2s",
        "key": ["t"],
        "watermark_by": "sender",
        "aggregate": {"s": "stddev(n)"},
    },
]


@pytest.fixture
def minutes(new_step: NewStep) -> NewStep:
    """Makes a step of tumbling windows of a minute, opened."""

    def make(**options: Any) -> Step[Any]:
        step = new_step("window", **MINUTE | options)
        step.open()
        return step

    return make


def rows(*times: float | str, k: Any = "a", **more: Any) -> list[dict[str, Any]]:
    return [{"k": k, "t": t} | more for t in times]


def seen(done: Processed) -> list[tuple[Any, str, int]]:
    return [(record.get("k"), record["window_start"][11:19], record["n"]) for record in done.records]


def reasons(done: Processed) -> list[str]:
    return [bad.reason for bad in done.rejects]


def later(seconds: float) -> Now:
    return Now(NOW.wall_s + seconds, NOW.mono_s + seconds)


# 1. The watermark advances record by record.


def test_a_window_closes_with_the_record_that_brings_the_watermark_to_its_end(minutes: NewStep) -> None:
    step = minutes()
    assert seen(step.process(rows(0, 59, 64.999999), NOW)) == []
    done = step.process(rows(65, 58), NOW)
    assert seen(done) == [("a", "00:00:00", 2)]
    assert (reasons(done), done.absorbed, done.emitted) == (["window:late"], 1, 1)


def test_a_record_is_late_by_the_records_before_it_in_the_same_batch(minutes: NewStep) -> None:
    step = minutes()
    done = step.process(rows(10, 65, 20), NOW)
    assert (seen(done), reasons(done)) == ([("a", "00:00:00", 1)], ["window:late"])
    assert "00:00:20" in done.rejects[0].detail
    assert step.context.counters["late", ""] == 1


def test_a_fast_clock_closes_the_windows_of_its_own_key_only(minutes: NewStep) -> None:
    step = minutes()
    step.process(rows(10, k="fast") + rows(10, k="right"), NOW)
    assert seen(step.process(rows(1000, k="fast") + rows(20, k="right"), NOW)) == [("fast", "00:00:00", 1)]


def test_a_key_of_the_future_does_not_move_the_watermark(minutes: NewStep) -> None:
    step = minutes(max_future="5m")
    received = {"@received_at": "1970-01-01T01:00:00.000000Z"}
    done = step.process([row | received for row in rows(3590, 3900.000001, 3900)], NOW)
    assert (reasons(done), seen(done)) == (["window:future"], [("a", "00:59:00", 1)])
    assert "300 s after the receipt" in done.rejects[0].detail
    assert reasons(step.process([row | received for row in rows("1970-01-01T02:00:00Z")], NOW)) == [
        "window:future"
    ]


# 2. A record is late if all its windows are closed.


def test_a_record_below_the_watermark_is_not_late_if_its_window_is_open(minutes: NewStep) -> None:
    step = minutes()
    done = step.process(rows(59, 0, 64, 1), NOW)
    assert reasons(done) == []
    assert seen(step.process(rows(65), NOW)) == [("a", "00:00:00", 3)]


def test_a_partly_late_record_is_in_the_open_windows_and_counted(minutes: NewStep) -> None:
    step = minutes(kind="sliding", size="1m", slide="20s", watermark_delay="0s")
    assert seen(step.process(rows(10, 25), NOW)) == [("a", "23:59:20", 1)]
    done = step.process(rows(15, 41), NOW)
    assert seen(done) == [("a", "23:59:40", 3)]
    assert step.context.counters["late_partial", ""] == 1
    done = step.process(rows(-30, 60), NOW)
    assert (reasons(done), seen(done)) == (["window:late"], [("a", "00:00:00", 4)])


def test_a_late_record_is_dropped_and_counted_if_it_is_wanted_so(minutes: NewStep) -> None:
    step = minutes(late="drop")
    done = step.process(rows(100, 10, 110), NOW)
    assert (done.filtered, done.absorbed, reasons(done)) == (1, 2, [])
    assert step.context.counters["late", ""] == 1


# 3. Idle timelines.


def test_an_idle_key_closes_its_windows_and_a_backlog_after_them_is_not_late(minutes: NewStep) -> None:
    step = minutes()
    step.process(rows(10, 62), NOW)
    assert step.next_deadline() == NOW.mono_s + 30
    assert seen(step.tick(later(29.9))) == []
    assert seen(step.tick(later(30))) == [("a", "00:00:00", 1), ("a", "00:01:00", 1)]
    assert step.next_deadline() is None
    done = step.process(rows(130, 119), later(86_400))
    assert (reasons(done), done.absorbed) == (["window:late"], 1)


def test_a_record_puts_off_idleness(minutes: NewStep) -> None:
    step = minutes()
    step.process(rows(10), NOW)
    step.process(rows(11), later(20))
    assert seen(step.tick(later(30))) == []
    assert step.next_deadline() == NOW.mono_s + 50
    step.process(rows(66, 67), later(40))
    step.process(rows(68), later(60))  # the quick way of a record whose window is the newest
    assert seen(step.tick(later(89.9))) == []
    assert seen(step.tick(later(90))) == [("a", "00:01:00", 3)]


def test_nothing_is_idle_while_frames_of_its_sources_wait(minutes: NewStep) -> None:
    step = minutes()
    waiting = [5]
    step.context.upstream.waiting = lambda: waiting[0]
    step.process(rows(10), NOW)
    assert seen(step.tick(later(30))) == []
    deadline = step.next_deadline()
    assert deadline is not None
    assert deadline > later(30).mono_s
    waiting[0] = 0
    assert seen(step.tick(later(31))) == [("a", "00:00:00", 1)]


def test_an_idle_sender_holds_nobody_back(minutes: NewStep) -> None:
    step = minutes(watermark_by="pipeline")
    quiet, busy = {"@peer": "10.0.0.1:5"}, {"@peer": "10.0.0.2:5"}
    step.process(rows(10, **quiet), NOW)
    assert seen(step.process(rows(200, **busy), later(20))) == []
    assert seen(step.tick(later(30))) == [("a", "00:00:00", 1)]
    assert seen(step.process(rows(300, **busy), later(31))) == [("a", "00:03:00", 1)]


def test_the_slowest_active_sender_decides(minutes: NewStep) -> None:
    step = minutes(watermark_by="pipeline")
    one, other = {"@peer": "10.0.0.1:5"}, {"@peer": "10.0.0.2:5"}
    done = step.process(rows(10, k="a", **one) + rows(20, k="b", **other) + rows(500, k="b", **other), NOW)
    assert seen(done) == []
    assert seen(step.process(rows(66, k="c", **one), NOW)) == [("a", "00:00:00", 1), ("b", "00:00:00", 1)]


def test_a_sender_has_a_watermark_for_all_its_keys(minutes: NewStep) -> None:
    step = minutes(watermark_by="sender")
    one, same, other = {"@peer": "10.0.0.1:5"}, {"@peer": "10.0.0.1:77"}, {"@peer": "10.0.0.2:5"}
    step.process(rows(10, k="a", **one) + rows(20, k="b", **other), NOW)
    assert seen(step.process(rows(70, k="c", **same), NOW)) == [("a", "00:00:00", 1)]
    assert reasons(step.process(rows(10, k="new", **one) + rows(10, k="new", **other), NOW)) == [
        "window:late"
    ]


def test_the_slower_of_two_senders_decides_about_a_key_of_both(minutes: NewStep) -> None:
    step = minutes(watermark_by="sender")
    one, other = {"@peer": "10.0.0.1:5"}, {"@peer": "10.0.0.2:5"}
    step.process(rows(10, **one) + rows(12, **other), NOW)
    assert seen(step.process(rows(200, k="b", **one) + rows(13, **other), NOW)) == []
    assert seen(step.process(rows(70, k="b", **other), NOW)) == [("a", "00:00:00", 3)]


def test_if_the_slower_sender_is_idle_the_other_decides(minutes: NewStep) -> None:
    step = minutes(watermark_by="sender")
    one, other = {"@peer": "10.0.0.1:5"}, {"@peer": "10.0.0.2:5"}
    step.process(rows(10, **one) + rows(12, **other), NOW)
    step.process(rows(200, k="b", **one), later(10))
    assert seen(step.tick(later(30))) == [("a", "00:00:00", 2)]


@pytest.mark.parametrize("by", ["key", "sender", "pipeline"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"size": "1h"}, ("00:00:00", 60)),
        ({"size": "1h", "time": None, "watermark_delay": None}, ("00:00:00", 60)),
        ({"kind": "sliding", "size": "2h", "slide": "1h"}, ("23:00:00", 60)),
        ({"kind": "session", "size": None, "gap": "10m"}, ("00:00:00", 60)),
    ],
)
def test_a_sensor_that_reports_each_minute_is_not_idle_between(
    minutes: NewStep, options: dict[str, Any], expected: tuple[str, int], by: str
) -> None:
    step = minutes(**{"idle_timeout": None, "watermark_by": by} | options)
    for minute in range(60):
        at = later(60 * minute)
        record = rows(60 * minute, **{"@received_at": canonical(60 * minute), "@peer": "10.0.0.1:5"})
        assert (seen(step.process(record, at)), reasons(step.process([], at))) == ([], [])
        assert step.next_deadline() is not None
        assert seen(step.tick(later(60 * minute + 59))) == []
    assert step.context.counters["late", ""] == 0
    end_s = {"session": 3540 + 600, "sliding": 7200}.get(options.get("kind", ""), 3600)
    delay_s = 0 if options.get("time", "t") is None else 5
    assert seen(step.tick(later(end_s + delay_s - 1))) == []
    assert seen(step.tick(later(end_s + delay_s + 1)))[0] == ("a", *expected)


def test_windows_of_old_records_close_too(minutes: NewStep) -> None:
    step = minutes(idle_timeout=None)
    step.process(rows(10), Now(NOW.wall_s + 9e8, NOW.mono_s))
    assert seen(step.tick(later(54.9))) == []
    assert seen(step.tick(later(55))) == [("a", "00:00:00", 1)]
    assert step.next_deadline() is None


def test_without_a_given_time_no_key_is_idle_before_30_seconds(minutes: NewStep) -> None:
    step = minutes(idle_timeout=None)
    step.process(rows(59), NOW)
    assert seen(step.tick(later(29.9))) == []
    assert seen(step.tick(later(30))) == [("a", "00:00:00", 1)]


def test_after_a_restart_a_window_closes_by_itself(minutes: NewStep) -> None:
    step, again = minutes(idle_timeout=None), minutes(idle_timeout=None)
    step.process(rows(10, 12), NOW)
    state = step.snapshot()
    assert state is not None
    again.restore(state, later(100))
    assert seen(again.tick(later(129))) == []
    assert seen(again.tick(later(160))) == [("a", "00:00:00", 2)]


def test_an_idle_sender_holds_nobody_back_without_a_given_time(minutes: NewStep) -> None:
    step = minutes(watermark_by="pipeline", idle_timeout=None, size="1h")
    quiet, busy = {"@peer": "10.0.0.1:5"}, {"@peer": "10.0.0.2:5"}
    step.process(rows(3590, **quiet) + rows(3599, **busy), NOW)
    step.process(rows(3606, k="b", **busy), later(20))
    assert seen(step.tick(later(29))) == []
    assert seen(step.tick(later(30))) == [("a", "00:00:00", 2)]


# 5. Late updates, and early results.


def test_a_late_update_has_the_full_value_and_ends_with_the_allowed_lateness(minutes: NewStep) -> None:
    step = minutes(late="update", allowed_lateness="1m")
    assert seen(step.process(rows(10, 20, 65), NOW)) == [("a", "00:00:00", 2)]
    assert seen(step.process(rows(30, 31), NOW)) == [("a", "00:00:00", 3), ("a", "00:00:00", 4)]
    assert step.context.counters["late_updates", ""] == 2
    done = step.process(rows(124.9, 40, 125, 41), NOW)
    assert seen(done) == [("a", "00:00:00", 5), ("a", "00:01:00", 1)]
    assert reasons(done) == ["window:late"]
    assert seen(step.process(rows(70, 185), NOW)) == [("a", "00:01:00", 2), ("a", "00:02:00", 2)]


def test_a_late_record_makes_a_window_that_had_no_record(minutes: NewStep) -> None:
    step = minutes(late="update", allowed_lateness="10m")
    assert seen(step.process(rows(200, 10), NOW)) == [("a", "00:00:00", 1)]


def test_early_results_show_the_open_windows_that_have_changed(minutes: NewStep) -> None:
    step = minutes(early="10s", idle_timeout="5m")
    step.process(rows(1, 2) + rows(3, k="b"), NOW)
    done = step.tick(later(10))
    assert seen(done) == [("a", "00:00:00", 2), ("b", "00:00:00", 1)]
    assert [record["final"] for record in done.records] == [False, False]
    step.process(rows(4), later(15))
    assert seen(step.tick(later(20))) == [("a", "00:00:00", 3)]
    assert step.tick(later(30)).records == []
    done = step.process(rows(66), later(31))
    assert (seen(done), done.records[0]["final"]) == ([("a", "00:00:00", 3)], True)


# 6. Windows are half open, in whole microseconds, and aligned to the epoch.


@pytest.mark.parametrize(
    ("time", "start", "end"),
    [
        (0, "1970-01-01T00:00:00", "1970-01-01T00:01:00"),
        (59.999999, "1970-01-01T00:00:00", "1970-01-01T00:01:00"),
        (60, "1970-01-01T00:01:00", "1970-01-01T00:02:00"),
        (-0.000001, "1969-12-31T23:59:00", "1970-01-01T00:00:00"),
        (-60, "1969-12-31T23:59:00", "1970-01-01T00:00:00"),
        ("1969-12-31T23:58:59.999999Z", "1969-12-31T23:58:00", "1969-12-31T23:59:00"),
        ("2026-01-31T09:00:00+01:00", "2026-01-31T08:00:00", "2026-01-31T08:01:00"),
    ],
)
def test_a_window_includes_its_start_and_not_its_end(
    minutes: NewStep, time: Any, start: str, end: str
) -> None:
    step = minutes()
    step.process([{"k": "a", "t": time, "@received_at": "2026-01-31T08:00:00.000000Z"}], NOW)
    (record,) = step.tick(later(30)).records
    assert (record["window_start"], record["window_end"]) == (f"{start}.000000Z", f"{end}.000000Z")


# 7. Too many keys.


def test_keys_beyond_the_most_share_a_key_and_none_is_forgotten(minutes: NewStep) -> None:
    step = minutes(max_keys=2, key=["k", "m"])
    step.process([{"k": k, "m": 1, "t": t} for t in (1, 2) for k in "abcd"], NOW)
    assert step.context.counters["overflow", ""] == 4
    done = step.tick(later(30))
    assert [(record["k"], record["m"], record["n"]) for record in done.records] == [
        ("a", 1, 2), ("b", 1, 2), ("*", "*", 4),
    ]  # fmt: skip
    done = step.process([{"k": k, "m": 1, "t": 3} for k in "ad"], later(31))
    assert reasons(done) == ["window:late", "window:late"]


# 10. Complete windows.


def test_a_window_is_incomplete_if_something_was_lost_while_it_was_open(minutes: NewStep) -> None:
    step = minutes()
    lost = [0]
    step.context.upstream.lost = lambda: lost[0]
    step.open()
    step.process(rows(10), NOW)
    lost[0] = 1
    done = step.process(rows(66, 130, 186), later(1))
    assert [record["complete"] for record in done.records] == [False, True, True]


def test_a_window_is_incomplete_if_something_was_lost_in_its_time(minutes: NewStep) -> None:
    step = minutes(time=None, watermark_delay=None)
    lost = [0]
    step.context.upstream.lost = lambda: lost[0]
    step.open()
    step.process([], Now(100.0, 1.0))
    lost[0] = 1
    step.process([], Now(110.0, 11.0))
    at = [f"1970-01-01T00:{minute:02}:30.000000Z" for minute in (0, 1, 2, 3)]
    done = step.process([{"k": "a", "@received_at": text} for text in at], Now(111.0, 12.0))
    assert [record["complete"] for record in done.records] == [True, False, True]


def test_a_window_that_began_before_the_daemon_listened_is_incomplete(minutes: NewStep) -> None:
    step = minutes()
    step.context.upstream.since_wall_s = 61.0
    done = step.process(rows(62, 125, 185), NOW)
    assert [record["complete"] for record in done.records] == [False, True]


# 11. The clocks.


def test_a_wall_clock_that_steps_back_moves_nothing(minutes: NewStep) -> None:
    step = minutes(time=None, watermark_delay=None, early="10s")
    at = ["1970-01-01T00:05:10.000000Z", "1970-01-01T00:01:00.000000Z", "1970-01-01T00:05:20.000000Z"]
    done = step.process([{"k": "a", "@received_at": text} for text in at], Now(1_000.0, 50.0))
    assert reasons(done) == ["window:late"]
    step.process([{"k": "a", "@received_at": at[2]}], Now(10.0, 51.0))
    assert step.next_deadline() == 60
    assert seen(step.tick(Now(-500.0, 60.0))) == [("a", "00:05:00", 3)]
    assert step.next_deadline() == 70


# The time of receipt, metadata and bad records.


def test_without_time_the_time_of_receipt_counts_and_results_have_metadata(minutes: NewStep) -> None:
    step = minutes(time=None, watermark_delay=None)
    meta = {"@source": "in", "@peer": "10.0.0.1:5"}
    records = [{"k": "a", "@received_at": f"1970-01-01T00:0{m}:59.000000Z"} | meta for m in (0, 1)]
    (record,) = step.process(records, NOW).records
    assert record == {
        "k": "a", "window_start": "1970-01-01T00:00:00.000000Z", "window_end": "1970-01-01T00:01:00.000000Z",
        "n": 1, "final": True, "complete": True, "@received_at": "1970-01-01T00:01:59.000000Z",
    } | meta  # fmt: skip
    assert step.fields_after() == frozenset(record) - {"@received_at", *meta}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"t": 5}, "key:missing"),
        ({"k": "x" * 200, "t": 5}, "key:long"),
        ({"k": object(), "t": 5}, "key:type"),
        ({"k": "a"}, "window:time"),
        ({"k": "a", "t": "yesterday"}, "window:time"),
        ({"k": "a", "t": True}, "window:time"),
        ({"k": "a", "t": float("nan")}, "window:time"),
        ({"k": "a", "t": float("inf")}, "window:time"),
        ({"k": "a", "t": 10**400}, "window:time"),
        ({"k": "a", "t": "0050-01-01T00:00:00Z"}, "window:time"),
        ({"k": "a", "t": "9999-01-01T00:00:00Z"}, "window:time"),
        ({"k": "a", "t": 5, "v": "7"}, "window:value"),
        ({"k": "a", "t": 5, "v": True}, "window:value"),
        ({"k": "a", "t": 5, "v": [1]}, "window:value"),
        ({"k": "a", "t": 5, "v": float("nan")}, "window:value"),
        ({"k": "a", "t": 5, "v": 2**63}, "window:value"),
    ],
)
def test_a_record_that_has_no_window_is_rejected_alone(
    minutes: NewStep, record: dict[str, Any], reason: str
) -> None:
    step = minutes(aggregate={"n": "count()", "sum": "sum(v)"})
    good = {"k": "a", "t": 5, "v": 1}
    done = step.process([good, record, good], NOW)
    assert (reasons(done), done.absorbed, done.rejects[0].record) == ([reason], 2, record)
    assert [record["sum"] for record in step.tick(later(30)).records] == [2]
    assert reasons(step.process([record], NOW)) == [reason]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": None}, "size: tumbling windows need it"),
        ({"slide": "10s"}, "slide: tumbling windows have none"),
        ({"kind": "sliding"}, "slide: sliding windows need it"),
        ({"kind": "sliding", "slide": "7s"}, "slide: must divide size"),
        ({"kind": "sliding", "slide": "1m"}, 'is kind = "tumbling"'),
        ({"kind": "sliding", "size": "1d", "slide": "1s"}, "at most 10000 times slide"),
        ({"kind": "session", "gap": "1m"}, "size: session windows have none"),
        ({"kind": "session", "size": None}, "gap: session windows need it"),
        (
            {"kind": "session", "size": None, "gap": "1m", "max_size": "30s"},
            "max_size: must be more than gap",
        ),
        (
            {"kind": "session", "size": None, "gap": "1m", "early": "1s"},
            "early: session windows have none: the",
        ),
        (
            {"kind": "session", "size": None, "gap": "1m", "late": "update", "allowed_lateness": "1m"},
            "late: a late record could merge sessions",
        ),
        ({"watermark_delay": None}, "watermark_delay: required with time"),
        ({"time": None, "max_future": "1m"}, "max_future: has no effect without time"),
        ({"late": "update"}, "allowed_lateness: required"),
        ({"allowed_lateness": "1m"}, "allowed_lateness: has no effect"),
        ({"timezone": "Europe/Paris"}, "timezone: is for windows of whole days"),
        ({"timezone": "Mars/Base", "size": "1d"}, "there is no timezone 'Mars/Base'"),
        ({"offset": "1m"}, "offset: must be less than size"),
        ({"size": "3661d"}, "size: at most 3660d"),
        ({"size": "0.1us"}, "size: at least 1us"),
        ({"aggregate": {}}, "at least 1 item"),
        ({"aggregate": {"@n": "count()"}}, "metadata"),
    ],
)
def test_options_that_do_not_fit_are_refused(minutes: NewStep, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        minutes(**options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("options", "place", "message"),
    [
        ({"aggregate": {"m": "men(v)"}}, ("aggregate", "m"), "did you mean mean(field)"),
        ({"aggregate": {"m": "mean(valve)"}}, ("aggregate", "m"), "did you mean 'value'"),
        ({"aggregate": {"window_end": "count()"}}, ("aggregate", "window_end"), "choose another name"),
        ({"aggregate": {"k": "count()"}}, ("aggregate", "k"), "choose another name"),
        ({"key": ["ke"]}, ("key", 0), "ke"),
        ({"time": "ts"}, ("time",), "there is no field 'ts'"),
    ],
)
def test_a_name_that_no_record_has_is_refused_where_it_stands(
    new_step: NewStep, options: dict[str, Any], place: tuple[str | int, ...], message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        new_step("window", known=frozenset({"k", "t", "value"}), **MINUTE | options)
    assert (error.value.keys, message in str(error.value)) == (place, True), str(error.value)


def test_days_begin_at_midnight_of_a_zone_also_if_the_clock_is_changed(minutes: NewStep) -> None:
    step = minutes(size="1d", timezone="Europe/Paris")
    times = ["2026-03-28T23:00:00Z", "2026-03-29T21:59:59Z", "2026-03-29T22:00:00Z", "2026-10-25T22:59:59Z"]
    records = rows(*times, "2026-12-01T00:00:00Z", **{"@received_at": "2026-12-01T00:00:00.000000Z"})
    done = step.process(records, NOW)
    assert [(r["window_start"][:13], r["window_end"][:13], r["n"]) for r in done.records] == [
        ("2026-03-28T23", "2026-03-29T22", 2),
        ("2026-03-29T22", "2026-03-30T22", 1),
        ("2026-10-24T22", "2026-10-25T23", 1),
    ]


def test_an_offset_moves_the_windows(minutes: NewStep) -> None:
    step = minutes(offset="15s")
    assert seen(step.process(rows(14, 15, 80), NOW)) == [("a", "23:59:15", 1), ("a", "00:00:15", 1)]


# Sessions.


def test_a_session_ends_with_a_pause_and_one_record_can_join_two(minutes: NewStep) -> None:
    step = minutes(
        kind="session",
        size=None,
        gap="10s",
        watermark_delay="15s",
        aggregate={"n": "count()", "last": "last(t)"},
    )
    assert seen(step.process(rows(0, 9, 30, 19), NOW)) == []
    assert seen(step.process(rows(24), NOW)) == []  # one from 19 to 30
    done = step.process(rows(10, 55), NOW)
    (record,) = done.records
    assert (record["window_start"][14:19], record["window_end"][14:19], record["n"]) == ("00:00", "00:40", 6)
    assert record["last"] == 30


def test_a_session_is_divided_at_its_longest_size(minutes: NewStep) -> None:
    step = minutes(kind="session", size=None, gap="10s", max_size="30s")
    step.process(rows(0, 5, 10, 15, 20, 25, 30), NOW)
    done = step.tick(later(30))
    assert [(r["window_start"][14:19], r["n"]) for r in done.records] == [("00:00", 5), ("00:25", 2)]
