import math
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.dynamics.tandem import QueueBounds, Tandem

Policy = Literal["block", "drop_newest", "drop_oldest"]
POLICIES: tuple[Policy, ...] = ("block", "drop_newest", "drop_oldest")

rates = st.integers(0, 2000).map(float)
pieces = st.lists(
    st.tuples(st.sampled_from([0.01, 0.5, 3.0, 20.0]), rates, rates, rates), min_size=1, max_size=5
)
bounds = st.builds(
    QueueBounds,
    st.integers(1, 2000),
    st.integers(100, 100_000),
    st.sampled_from([0, 50, 100]),
    st.sampled_from(POLICIES),
)
per_frame = st.sampled_from([0.0, 0.5, 1.0, 3.0])


def of(most: float, when_full: Policy, record_bytes: float = 0) -> QueueBounds:
    return QueueBounds(most, most * 100, record_bytes, when_full)


@given(bounds, bounds, per_frame, pieces)
def test_nothing_is_made_and_nothing_disappears(
    source: QueueBounds, sink: QueueBounds, each: float, steps: list[tuple[float, float, float, float]]
) -> None:
    tandem = Tandem(source, sink, records_per_frame=each)
    for step in steps:
        before = (tandem.source_frames + tandem.held_back, tandem.sink_records)
        done = tandem.advance(*step)
        assert done.arrived == step[0] * step[1]
        assert done.arrived == pytest.approx(
            done.lost_at_source + done.processed + tandem.source_frames + tandem.held_back - before[0],
            abs=1e-3,
        )
        assert done.processed * each == pytest.approx(
            done.lost_at_sink + done.stored + tandem.sink_records - before[1], abs=1e-3
        )
        assert 0 <= tandem.source_frames <= source.most
        assert 0 <= tandem.sink_records <= sink.most
        assert min(done.lost_at_source, done.processed, done.lost_at_sink, done.stored) >= 0
        assert done.first_loss_s is None or 0 <= done.first_loss_s < step[0]
        assert done.lost_at_source == 0 or source.when_full != "block"
        assert done.lost_at_sink == 0 or sink.when_full != "block"
        assert tandem.held_back == 0 or source.when_full == "block"
        assert (done.first_loss_s is None) == (done.lost_at_source + done.lost_at_sink == 0)


@given(bounds, bounds, per_frame, st.tuples(rates, rates, rates))
def test_pieces_of_time_lead_to_the_same_end_as_one(
    source: QueueBounds, sink: QueueBounds, each: float, flow: tuple[float, float, float]
) -> None:
    ends = []
    for parts in (1, 7):
        tandem = Tandem(source, sink, records_per_frame=each)
        stored = sum(tandem.advance(21 / parts, *flow).stored for _ in range(parts))
        ends.append((tandem.source_frames, tandem.sink_records, tandem.held_back, stored))
    assert ends[1] == pytest.approx(ends[0], rel=1e-6, abs=1e-3)


def stepped(
    tandem: Tandem, seconds: float, flow: tuple[float, float, float], step_s: float
) -> dict[str, float]:
    """The same by small steps of time, the sink first."""
    inflow, workers, stores = (one * step_s for one in flow)
    waiting, source, sink = 0.0, tandem.source_frames, tandem.sink_records
    lost_source = lost_sink = 0.0
    for _ in range(round(seconds / step_s)):
        sink -= min(sink, stores)
        moved = min(source, workers)
        if tandem.sink.when_full == "block":
            moved = min(moved, (tandem.sink.most - sink) / tandem.records_per_frame)
        source -= moved
        sink += moved * tandem.records_per_frame
        lost_sink += max(0.0, sink - tandem.sink.most)
        sink = min(sink, tandem.sink.most)
        waiting += inflow
        fits = min(waiting, tandem.source.most - source)
        source += fits
        waiting -= fits
        if tandem.source.when_full != "block":
            lost_source += waiting
            waiting = 0.0
    return {
        "held": waiting,
        "source": source,
        "sink": sink,
        "lost_source": lost_source,
        "lost_sink": lost_sink,
    }


@pytest.mark.parametrize("flow", [(500, 400, 150), (100, 400, 50), (900, 800, 1500), (200, 300, 0)])
@pytest.mark.parametrize("at_sink", ["block", "drop_newest"])
@pytest.mark.parametrize("at_source", ["block", "drop_newest"])
def test_it_agrees_with_small_steps_of_time(
    at_source: Policy, at_sink: Policy, flow: tuple[float, float, float]
) -> None:
    tandem = Tandem(of(600, at_source), of(300, at_sink), records_per_frame=2.0, source_frames=100)
    expected = stepped(tandem, 10, flow, 1e-3)
    done = tandem.advance(10, *flow)
    found = {
        "held": tandem.held_back,
        "source": tandem.source_frames,
        "sink": tandem.sink_records,
        "lost_source": done.lost_at_source,
        "lost_sink": done.lost_at_sink,
    }
    assert found == pytest.approx(expected, abs=4)


def test_a_full_source_loses_the_difference_of_the_rates_from_the_moment_it_is_full() -> None:
    tandem = Tandem(of(600, "drop_newest"), of(1000, "block"))
    assert tandem.advance(0.06, 60_000, 50_000, 90_000).first_loss_s is None
    assert tandem.source_frames == 600
    done = tandem.advance(10, 60_000, 50_000, 90_000)
    assert done.lost_at_source == pytest.approx(100_000)
    assert done.first_loss_s == 0
    again = Tandem(of(600, "drop_newest"), of(1000, "block")).advance(10, 60_000, 50_000, 90_000)
    assert again.first_loss_s == pytest.approx(0.06)
    assert again.lost_at_source == pytest.approx(99_400)


def test_a_queue_at_0_stays_there_while_less_comes_than_can_leave() -> None:
    tandem = Tandem(of(600, "drop_newest"), of(1000, "block"), source_frames=300)
    done = tandem.advance(10, 40, 70, 90)
    assert tandem.source_frames == tandem.sink_records == 0
    assert done.processed == done.stored == pytest.approx(700)


def test_a_full_sink_slows_the_workers_to_its_own_rate() -> None:
    tandem = Tandem(of(1000, "drop_newest"), of(100, "block"))
    tandem.advance(1, 200, 800, 50)
    assert tandem.sink_records == 100
    done = tandem.advance(4, 200, 800, 50)
    assert done.processed == pytest.approx(200)
    assert tandem.source_frames == pytest.approx(200 * 5 - 100 - 50 * 5)


def test_a_source_that_blocks_holds_its_senders_back_and_takes_their_frames_first() -> None:
    tandem = Tandem(of(100, "block"), of(1000, "block"))
    tandem.advance(10, 50, 30, 90)
    assert [tandem.source_frames, tandem.held_back] == pytest.approx([100, 100])
    tandem.advance(4, 10, 30, 90)
    assert [tandem.source_frames, tandem.held_back] == pytest.approx([100, 20])
    tandem.advance(2, 10, 30, 90)
    assert [tandem.source_frames, tandem.held_back] == pytest.approx([80, 0])


def test_a_stalled_sink_and_its_return() -> None:
    tandem = Tandem(of(1000, "drop_newest"), of(500, "block"))
    stalled = tandem.advance(30, 100, 400, 0)
    assert (tandem.sink_records, tandem.source_frames) == (500, 1000)
    assert stalled.first_loss_s == pytest.approx(15)
    assert stalled.lost_at_source == pytest.approx(1500)
    back = tandem.advance(30, 100, 400, 200)
    assert (tandem.sink_records, tandem.source_frames, back.lost_at_source) == (0, 0, 0)


def test_the_first_of_both_bounds_counts() -> None:
    assert QueueBounds(100, 1000, 20, "block").most == 50
    assert QueueBounds(100, 1000, 5, "block").most == 100
    assert QueueBounds(100, 1000, 0, "block").most == 100
    tandem = Tandem(QueueBounds(100, 1000, 20, "drop_oldest"), of(100, "block"))
    assert tandem.advance(10, 10, 0, 0).lost_at_source == 50


def test_what_senders_cannot_keep_is_lost_from_the_moment_at_which_they_keep_the_most() -> None:
    tandem = Tandem(of(100, "block"), of(1000, "block"), outside=40)
    done = tandem.advance(10, 50, 30, 90)
    assert (tandem.source_frames, tandem.held_back) == (100, 40)
    assert done.first_loss_s == pytest.approx(7)
    assert done.lost_outside == pytest.approx(60)
    assert tandem.advance(1, 10, 30, 90).lost_outside == 0
    assert tandem.held_back == pytest.approx(20)


@given(bounds, bounds, st.integers(0, 3000), st.tuples(rates, rates, rates))
def test_pieces_are_the_whole_and_keep_their_rates(
    source: QueueBounds, sink: QueueBounds, outside: int, flow: tuple[float, float, float]
) -> None:
    whole = Tandem(source, sink, outside=outside)
    done = whole.advance(20, *flow)
    tandem = Tandem(source, sink, outside=outside)
    pieces = list(tandem.pieces(20, *flow))
    assert sum(piece.seconds for piece in pieces) == pytest.approx(20)
    for index in range(6):
        total = sum(piece.passed[:6][index] for piece in pieces)
        assert total == pytest.approx(done[index], rel=1e-6, abs=1e-6)
    assert (tandem.held_back, tandem.source_frames, tandem.sink_records) == (
        whole.held_back, whole.source_frames, whole.sink_records,
    )  # fmt: skip
    assert tandem.held_back <= outside
    assert done.arrived == pytest.approx(
        done.lost_outside + done.lost_at_source + done.processed + tandem.source_frames + tandem.held_back,
        abs=1e-3,
    )
    for piece in pieces:
        assert piece.takes_per_s <= flow[1]
        assert piece.passed.processed <= piece.takes_per_s * piece.seconds + 1e-6


@pytest.mark.parametrize(
    "wrong",
    [
        {"source": of(0, "block")},
        {"sink": of(-1, "block")},
        {"source_frames": 11},
        {"sink_records": -1},
        {"records_per_frame": -0.5},
        {"records_per_frame": math.inf},
    ],
)
def test_impossible_queues_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot"):
        Tandem(**({"source": of(10, "block"), "sink": of(10, "block")} | wrong))


@pytest.mark.parametrize("flow", [(-1, 0, 0, 0), (1, math.inf, 0, 0), (1, 0, math.nan, 0), (1, 0, 0, -5)])
def test_impossible_rates_are_refused(flow: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        Tandem(of(10, "block"), of(10, "block")).advance(*flow)
