"""Courses that can be computed by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.capacity.figures import Figures, StepFigures
from streamd.capacity.scenario import Scenario, parse_burst, parse_rate, parse_stall
from streamd.capacity.simulation import KERNEL_FRAME_BYTES, Course, FlowPath, simulate
from streamd.core.settings import WhenFull
from tests.capacity.figures import figures, line, sink, source


def only(course: Course) -> FlowPath:
    (path,) = course.paths
    return path


def test_a_load_within_the_capacity_leaves_the_buffers_empty() -> None:
    course = simulate(figures(), Scenario())
    assert not course.losses
    assert [track.peak for track in course.tracks] == [0, 0]
    assert max(delay or 0 for delay in course.delay_s) < 1e-6
    assert course.at_s[0] == 0
    assert course.at_s[-1] == 600


def test_a_stalled_sink_fills_its_buffer_then_the_source_which_loses() -> None:
    course = simulate(figures(), Scenario(for_s=60, stalls=(parse_stall("records=30s"),)))
    path = only(course)
    assert path.sink_buffer.peak == pytest.approx(1000)
    assert path.buffer.peak == pytest.approx(1000)
    (loss,) = course.losses
    assert (loss.kind, loss.name, loss.when_full) == ("source", "udp", "drop_oldest")
    assert loss.first_s == pytest.approx(20)
    assert loss.lost == pytest.approx(1000)
    assert course.lost[0] == 0
    assert course.lost[-1] == pytest.approx(1000)
    assert path.waits_from_s is None


def test_a_record_that_comes_into_a_stall_waits_for_its_end_and_for_those_before_it() -> None:
    course = simulate(figures(), Scenario(for_s=24, stalls=(parse_stall("records=8s"),)), points=24)
    assert course.delay_s[0] == pytest.approx(8, abs=0.01)
    assert course.delay_s[4] == pytest.approx(4 + 0.4, abs=0.1)
    assert course.delay_s[8] == pytest.approx(0.8, abs=0.15)
    assert course.delay_s[20] == pytest.approx(0, abs=1e-6)


def test_a_pause_of_the_arrivals_is_no_delay() -> None:
    parts = figures()
    paused = ((6.0, 100.0), (200.0, 0.0), (6.0, 100.0), (1.0, 0.0))
    object.__setattr__(parts.lines[0].sources[0], "load", paused)
    course = simulate(parts, Scenario(for_s=213))
    assert course.delay_s == [0.0] * len(course.at_s)
    assert course.longest_delay_s == 0


def test_the_longest_delay_does_not_depend_on_the_points() -> None:
    stalled = Scenario(for_s=600, stalls=(parse_stall("records=8s@3.3s"),))
    course = simulate(figures(), stalled, points=10)
    assert course.longest_delay_s == pytest.approx(8)
    assert max(delay or 0 for delay in course.delay_s) < 8
    burst = simulate(
        figures(line((source(most=5000),))), Scenario(bursts=(parse_burst("4000@10s"),)), points=10
    )
    assert burst.longest_delay_s == pytest.approx(3100 / 1000)


def test_a_frame_moves_up_when_older_ones_are_dropped() -> None:
    course = simulate(figures(), Scenario(for_s=60, stalls=(parse_stall("records=30s"),)), points=60)
    # The buffers of 1,000 and 1,000 are full at 20 s; at 30 s the last 2,000 of 3,000 are still there.
    assert course.delay_s[25] == pytest.approx(5 + 1.5, abs=0.01)
    newest = figures(line((source(when_full="drop_newest"),)))
    course = simulate(newest, Scenario(for_s=60, stalls=(parse_stall("records=30s"),)), points=60)
    assert course.delay_s[25] == pytest.approx(5 + 2, abs=0.01)


def test_a_delay_beyond_the_scenario_is_not_known() -> None:
    course = simulate(figures(), Scenario(for_s=10, stalls=(parse_stall("records=20s"),)))
    assert course.delay_s[-1] is None


def test_senders_that_can_wait_lose_nothing() -> None:
    parts = figures(line((source(when_full="block"),)))
    course = simulate(parts, Scenario(for_s=60, stalls=(parse_stall("records=30s"),)))
    path = only(course)
    assert not course.losses
    assert path.waits_from_s == pytest.approx(20, abs=0.01)
    assert path.outside.peak == pytest.approx(1000)
    assert path.outside.held[-1] == 0


def test_the_kernel_loses_datagrams_of_a_source_that_blocks() -> None:
    parts = figures(line((source(when_full="block", kernel_bytes=500 * KERNEL_FRAME_BYTES),)))
    course = simulate(parts, Scenario(for_s=60, stalls=(parse_stall("records=30s"),)))
    (loss,) = course.losses
    assert (loss.kind, loss.name) == ("kernel", "udp")
    assert loss.first_s == pytest.approx(25, abs=0.01)
    assert loss.lost == pytest.approx(500, rel=1e-3)
    assert only(course).waits_from_s is None


def test_a_sink_that_drops_loses_records_and_stops_nobody() -> None:
    parts = figures(line(sinks=(sink(when_full="drop_newest"),)))
    course = simulate(parts, Scenario(for_s=60, stalls=(parse_stall("records=30s"),)))
    (loss,) = course.losses
    assert (loss.kind, loss.name, loss.when_full) == ("sink", "records", "drop_newest")
    assert loss.lost == pytest.approx(2000)
    assert only(course).buffer.peak == 0


def test_the_first_bound_of_records_and_bytes_counts() -> None:
    parts = figures(line((source(most=10**6),), (sink(most=10**6),)))
    course = simulate(parts, Scenario(for_s=60, rates=(parse_rate("2000/s"),)))
    assert not course.losses
    small = figures(line((source(most=10**6),)))
    object.__setattr__(small.lines[0].sources[0].buffer, "max_bytes", 50_000)
    course = simulate(small, Scenario(for_s=60, rates=(parse_rate("2000/s"),)))
    assert course.losses[0].first_s == pytest.approx(0.5)
    assert only(course).buffer.most == 500


def test_a_waiting_step_limits_the_workers_by_its_batches() -> None:
    step = StepFigures(name="main.python[0]", record_s=0.02, slots=1)
    course = simulate(figures(line(steps=(step,))), Scenario(for_s=60))
    assert course.lost[-1] == pytest.approx(60 * 50 - 1000)
    step = StepFigures(name="main.python[0]", record_s=0.02, slots=2)
    assert not simulate(figures(line(steps=(step,))), Scenario(for_s=60)).losses


def test_a_burst_takes_room_and_is_worked_off() -> None:
    parts = figures(line((source(most=5000),)))
    course = simulate(parts, Scenario(for_s=60, bursts=(parse_burst("4000@10s"),)))
    path = only(course)
    assert path.buffer.peak == pytest.approx(100 + 4000 - 1000)
    assert path.buffer.peak_s == pytest.approx(11)
    assert path.buffer.held[-1] == 0


def test_the_worst_sink_of_a_source_counts_once() -> None:
    parts = figures(line(sinks=(sink("fast"), sink("slow", per_s=40))))
    course = simulate(parts, Scenario(for_s=60))
    (worst,) = course.worst()
    assert worst.sink == "slow"
    assert course.lost[-1] == pytest.approx(60 * 60 - 2000)
    assert [(track.kind, track.name) for track in course.tracks] == [
        ("source", "udp"), ("sink", "fast"), ("sink", "slow"),
    ]  # fmt: skip


def test_a_sink_of_several_sources_is_one_buffer() -> None:
    parts = figures(line((source("a", 100), source("b", 300))))
    course = simulate(parts, Scenario(for_s=60, stalls=(parse_stall("records=2s"),)))
    (track,) = [track for track in course.tracks if track.kind == "sink"]
    assert track.most == pytest.approx(1000)
    assert track.peak == pytest.approx(800)


def test_records_of_a_frame_go_to_the_sink_together() -> None:
    parts = figures(line())
    object.__setattr__(parts.lines[0], "per_frame", {"records": 5.0})
    course = simulate(parts, Scenario(for_s=60, stalls=(parse_stall("records=1s"),)))
    assert only(course).sink_buffer.peak == pytest.approx(500)
    object.__setattr__(parts.lines[0], "per_frame", {"records": 0.0})
    assert simulate(parts, Scenario()).paths == []


@given(
    st.floats(0, 3000), st.floats(1, 2000), st.floats(0.0001, 0.01), st.integers(0, 50), st.integers(0, 5000),
    st.sampled_from(["block", "drop_newest", "drop_oldest"]),
)  # fmt: skip
def test_every_frame_is_stored_lost_or_waits(
    rate: float, sink_per_s: float, process_s: float, stall_s: int, burst: int, when_full: WhenFull
) -> None:
    parts: Figures = figures(
        line((source(rate=rate, when_full=when_full),), (sink(per_s=sink_per_s),), process_s)
    )
    stalls = (parse_stall(f"records={stall_s}s@3s"),) if stall_s else ()
    bursts = (parse_burst(f"{burst}@5s"),) if burst else ()
    course = simulate(parts, Scenario(for_s=30, stalls=stalls, bursts=bursts), points=30)
    path = only(course)
    arrived = rate * 30 + burst
    inside = path.outside.held[-1] + path.buffer.held[-1] + path.sink_buffer.held[-1]
    most_stored = sink_per_s * max(0, 30 - min(stall_s, 27))
    assert -1 <= arrived - path.total_lost - inside <= most_stored + 1
    assert all(0 <= held <= path.buffer.most * (1 + 1e-9) for held in path.buffer.held)
    assert path.lost == sorted(path.lost)


@given(
    st.integers(0, 3000), st.integers(1, 2000), st.sampled_from([0.0005, 0.001, 0.008]), st.integers(0, 20),
    st.integers(0, 5000), st.booleans(),
)  # fmt: skip
def test_a_delay_is_that_of_what_is_held(
    rate: int, sink_per_s: int, process_s: float, stall_s: int, burst: int, blocks: bool
) -> None:
    policy: WhenFull = "block" if blocks else "drop_newest"
    parts = figures(line((source(rate=rate, when_full=policy),), (sink(per_s=sink_per_s),), process_s))
    stalls = (parse_stall(f"records={stall_s}s@3s"),) if stall_s else ()
    bursts = (parse_burst(f"{burst}@5s"),) if burst else ()
    scenario = Scenario(for_s=40, stalls=stalls, bursts=bursts)
    path = only(simulate(parts, scenario, points=80))
    slowest = min(sink_per_s, 1 / process_s)
    inside = zip(path.outside.held, path.buffer.held, path.sink_buffer.held, strict=True)
    for number, (delay_s, held) in enumerate(zip(path.delay_s, inside, strict=True)):
        at_s = number / 2
        stalled_s = max(0.0, min(3 + stall_s, 40) - max(at_s, 3)) if stall_s else 0.0
        if delay_s is None:
            assert stalled_s > 0 or sum(held) / slowest > 40 - at_s - 1e-3
            continue
        if not sum(held) and not 3 <= at_s < 3 + stall_s:
            assert delay_s == 0
        most_s = held[0] / slowest + held[1] / slowest + held[2] / slowest + stalled_s
        assert delay_s <= most_s + 1e-3
        assert delay_s >= sum(held) / max(sink_per_s, 1 / process_s) - 1e-3
        assert delay_s <= path.longest_delay_s + 1e-9


def test_batches_in_the_hands_of_workers_are_less_full_in_a_burst() -> None:
    step = StepFigures(name="main.python[0]", record_s=0.01, slots=1)
    parts = figures(replace(line((source(rate=100.0),), steps=(step,)), in_hand=500.0))
    burst = Scenario(for_s=60, rates=(parse_rate("100/s"),), bursts=(parse_burst("5000"),))
    assert simulate(parts, burst).lost[-1] == pytest.approx(5000 - 1000 - 0.6 * 500)
    more = Scenario(for_s=20, rates=(parse_rate("300/s"),))
    assert simulate(parts, more).lost[-1] == pytest.approx(200 * 20 - 1000 - 500)
