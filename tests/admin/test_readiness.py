from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamd.admin.lag import LoopLag
from streamd.admin.readiness import Readiness
from streamd.admin.view import BufferGauge, SinkGauge
from streamd.core.histogram import Histogram


@pytest.fixture
def lag(world: Any) -> LoopLag:
    return LoopLag(world.clock)


@pytest.fixture
def readiness(world: Any, lag: LoopLag) -> Readiness:
    return Readiness(world.view, lag)


def watch(world: Any, readiness: Readiness, seconds: float) -> list[str]:
    """The reasons after so many seconds of looking twice a second."""
    for _ in range(int(2 * seconds)):
        readiness.observe(world.clock.pass_s(0.5))
    return readiness.reasons(world.clock())


IDLE = SinkGauge("readings", None, 0.0, None, Histogram((1.0,)))
SINK_FULL = BufferGauge("readings", "sink", 100, 10, 100, 1000, "block")
SOURCE_WAITS = BufferGauge("lab", "source", 5, 10, 100, 1000, "drop_oldest")


def test_an_idle_daemon_is_ready(world: Any, readiness: Readiness) -> None:
    world.buffers = [replace(SINK_FULL, records=0), replace(SOURCE_WAITS, records=0)]
    assert watch(world, readiness, 60) == []


@pytest.mark.parametrize("phase", ["starting", "draining"])
def test_a_daemon_that_starts_or_drains_is_not(world: Any, readiness: Readiness, phase: Any) -> None:
    world.view.phase = phase
    assert watch(world, readiness, 1) == [phase]


def test_a_sink_may_retry_for_a_second_from_its_first_attempt_on(world: Any, readiness: Readiness) -> None:
    began_s = world.clock().mono_s
    world.sinks = [replace(IDLE, writing_since_mono_s=began_s)]
    assert watch(world, readiness, 0.5) == []
    world.sinks = [
        replace(world.sinks[0], trouble="disk_full", trouble_since_mono_s=world.clock.pass_s(0.5).mono_s)
    ]
    assert watch(world, readiness, 0) == []
    assert watch(world, readiness, 0.5) == ["sink readings has been retrying for 2 s: disk_full"]
    world.sinks = [replace(world.sinks[0], trouble=None, writing_since_mono_s=None)]
    assert watch(world, readiness, 0) == []


def test_trouble_of_a_sink_that_writes_nothing_counts_from_its_own_beginning(
    world: Any, readiness: Readiness
) -> None:
    world.sinks = [replace(IDLE, trouble="moved", trouble_since_mono_s=world.clock().mono_s)]
    assert watch(world, readiness, 1) == []
    assert watch(world, readiness, 2) == ["sink readings has been retrying for 3 s: moved"]


def test_a_write_without_result_is_hung_after_a_second(world: Any, readiness: Readiness) -> None:
    world.sinks = [replace(IDLE, writing_since_mono_s=world.clock().mono_s)]
    assert watch(world, readiness, 1) == []
    world.clock.pass_s(0.01)  # seen at once, without a further tick
    assert readiness.reasons(world.clock()) == ["a write of sink readings has hung for 1 s"]
    assert watch(world, readiness, 5) == ["a write of sink readings has hung for 6 s"]
    world.sinks = [replace(IDLE, writing_since_mono_s=world.clock().mono_s)]  # the next one
    assert watch(world, readiness, 1) == []
    world.sinks = [IDLE]
    assert watch(world, readiness, 60) == []


def test_writes_that_follow_each_other_without_a_pause_are_not_one_that_hangs(
    world: Any, readiness: Readiness
) -> None:
    for _ in range(20):
        world.sinks = [replace(IDLE, writing_since_mono_s=world.clock().mono_s)]
        assert watch(world, readiness, 0.5) == []


def test_a_receiver_that_takes_a_little_at_a_time_is_slow_and_not_hung(
    world: Any, readiness: Readiness
) -> None:
    began_s = world.clock().mono_s
    for sent in range(20):
        world.sinks = [replace(IDLE, writing_since_mono_s=began_s, progress=sent)]
        assert watch(world, readiness, 0.5) == []
    assert watch(world, readiness, 1) == []
    assert watch(world, readiness, 0.5) == ["a write of sink readings has hung for 2 s"]
    world.sinks = [replace(world.sinks[0], progress=20)]
    assert readiness.reasons(world.clock()) == []


def test_a_sink_whose_writes_are_slow_may_take_three_times_as_long(world: Any, readiness: Readiness) -> None:
    world.sinks = [replace(IDLE, writing_since_mono_s=world.clock().mono_s, usual_write_s=2.0)]
    assert watch(world, readiness, 6) == []
    assert watch(world, readiness, 0.5) == ["a write of sink readings has hung for 6 s"]


def test_a_loop_that_was_late_has_heard_late_of_the_end_of_a_write(
    world: Any, readiness: Readiness, lag: LoopLag
) -> None:
    lag.observe(3.0)
    world.sinks = [replace(IDLE, writing_since_mono_s=world.clock().mono_s)]
    assert watch(world, readiness, 4) == []
    assert watch(world, readiness, 0.5) == ["a write of sink readings has hung for 4 s"]


def test_only_the_sink_that_hangs_is_named(world: Any, readiness: Readiness) -> None:
    began_s = world.clock().mono_s
    world.sinks = [replace(IDLE, name="a"), replace(IDLE, name="b", writing_since_mono_s=began_s)]
    assert watch(world, readiness, 2) == ["a write of sink b has hung for 2 s"]
    world.sinks = [replace(IDLE, name="a")]  # a reload removed the other
    assert watch(world, readiness, 1) == []


def test_a_hung_write_is_logged_once_and_so_is_its_end(world: Any, readiness: Readiness) -> None:
    with capture_logs() as logged:
        world.sinks = [replace(IDLE, writing_since_mono_s=world.clock().mono_s)]
        watch(world, readiness, 5)
        assert logged == [{"event": "sink_hangs", "log_level": "warning", "sink": "readings", "for_s": 1.5}]
        world.sinks = [IDLE]
        watch(world, readiness, 5)
    assert logged[1:] == [
        {"event": "sink_recovered", "log_level": "info", "sink": "readings", "after": "hung"}
    ]


def test_a_hung_write_that_fails_is_not_said_to_have_recovered(world: Any, readiness: Readiness) -> None:
    with capture_logs() as logged:
        began_s = world.clock().mono_s
        world.sinks = [replace(IDLE, writing_since_mono_s=began_s)]
        watch(world, readiness, 2)
        world.sinks = [
            replace(IDLE, writing_since_mono_s=began_s, trouble="io", trouble_since_mono_s=began_s + 2)
        ]
        watch(world, readiness, 5)
        world.sinks = [IDLE]
        watch(world, readiness, 5)
    assert [entry["event"] for entry in logged] == ["sink_hangs"]


def test_a_blocking_sink_may_be_full_for_five_seconds(world: Any, readiness: Readiness) -> None:
    world.buffers = [SINK_FULL]
    assert watch(world, readiness, 5) == []
    assert watch(world, readiness, 2) == ["the buffer of sink readings has been full for 6 s"]
    world.buffers = [replace(SINK_FULL, records=99)]
    assert watch(world, readiness, 1) == []
    world.buffers = [SINK_FULL]
    assert watch(world, readiness, 3) == []


def test_a_full_sink_that_drops_holds_nobody_up(world: Any, readiness: Readiness) -> None:
    world.buffers = [replace(SINK_FULL, when_full="drop_oldest")]
    assert watch(world, readiness, 60) == []


def test_frames_that_wait_ten_seconds_while_none_is_decoded(world: Any, readiness: Readiness) -> None:
    world.buffers = [SOURCE_WAITS]
    assert watch(world, readiness, 10) == []
    world.books.source("lab").dropped["buffer_full"] += 1000  # a loss is no progress
    assert watch(world, readiness, 2) == ["frames of source lab have waited for 12 s"]
    world.books.source("lab").decoded += 1
    assert watch(world, readiness, 1) == []


def test_rejects_are_progress(world: Any, readiness: Readiness) -> None:
    world.buffers = [SOURCE_WAITS]
    watch(world, readiness, 9)
    world.books.source("lab").rejected["json:syntax"] += 1
    assert watch(world, readiness, 9) == []


def test_a_loop_that_was_late_is_named_until_ten_seconds_are_over(
    world: Any, readiness: Readiness, lag: LoopLag
) -> None:
    lag.observe(6.25)
    assert watch(world, readiness, 1) == ["the event loop was 6.2 s late"]
    for _ in range(20):
        lag.observe(0.0)
    assert watch(world, readiness, 1) == []


def test_a_source_that_a_reload_removes_is_forgotten(world: Any, readiness: Readiness) -> None:
    world.buffers = [SOURCE_WAITS]
    watch(world, readiness, 5)
    world.buffers = []
    assert watch(world, readiness, 30) == []
    world.buffers = [SOURCE_WAITS]
    assert watch(world, readiness, 5) == []
