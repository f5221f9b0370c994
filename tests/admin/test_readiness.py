from dataclasses import replace
from typing import Any

import pytest

from streamd.admin.lag import LoopLag
from streamd.admin.readiness import Readiness
from streamd.admin.view import BufferGauge, SinkGauge


@pytest.fixture
def lag(world: Any) -> LoopLag:
    return LoopLag(world.clock)


@pytest.fixture
def readiness(world: Any, lag: LoopLag) -> Readiness:
    return Readiness(world.view, lag)


def watch(world: Any, readiness: Readiness, seconds: int) -> list[str]:
    """The reasons after so many seconds of looking twice a second."""
    for _ in range(2 * seconds):
        readiness.observe(world.clock.pass_s(0.5))
    return readiness.reasons(world.clock())


SINK_FULL = BufferGauge("readings", "sink", 100, 10, 100, 1000, "block")
SOURCE_WAITS = BufferGauge("lab", "source", 5, 10, 100, 1000, "drop_oldest")


def test_an_idle_daemon_is_ready(world: Any, readiness: Readiness) -> None:
    world.buffers = [replace(SINK_FULL, records=0), replace(SOURCE_WAITS, records=0)]
    assert watch(world, readiness, 60) == []


@pytest.mark.parametrize("phase", ["starting", "draining"])
def test_a_daemon_that_starts_or_drains_is_not(world: Any, readiness: Readiness, phase: Any) -> None:
    world.view.phase = phase
    assert watch(world, readiness, 1) == [phase]


def test_a_sink_may_retry_for_five_seconds(world: Any, readiness: Readiness) -> None:
    world.sinks = [SinkGauge("readings", "disk_full", world.clock().mono_s, None, world.latency_s)]
    assert watch(world, readiness, 5) == []
    assert watch(world, readiness, 2) == ["sink readings has been retrying for 7 s: disk_full"]
    world.sinks = [replace(world.sinks[0], trouble=None)]
    assert watch(world, readiness, 1) == []


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
