import json
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.sensors import FaultySensors, SensorStream


def test_a_line_has_the_seven_fields_in_order() -> None:
    first = SensorStream(seed=7).lines(1)[0]
    reading = json.loads(first)
    assert list(reading) == ["ts", "sensor", "seq", "value", "unit", "ok", "site"]
    assert reading["ts"] == "2026-01-31T08:00:00.000997Z"
    assert reading["sensor"] == "s-0001"
    assert reading["seq"] == 1
    assert reading["unit"] == "C"
    assert reading["ok"] is True
    assert 100 <= len(first) <= 125


@pytest.mark.parametrize("sensors", [1, 3, 999, 1000, 1001, 2500])
def test_seq_has_no_gap_time_only_grows_and_sensors_take_turns(sensors: int) -> None:
    readings = [json.loads(line) for line in SensorStream(sensors=sensors).lines(5003)]
    assert [r["seq"] for r in readings] == list(range(1, 5004))
    assert all(a["ts"] < b["ts"] for a, b in pairwise(readings))
    assert all(int(r["sensor"][2:]) == (r["seq"] - 1) % sensors + 1 for r in readings)


@pytest.mark.parametrize("sensors", [1, 10])
def test_a_value_walks_in_small_steps_and_stays_in_its_range(sensors: int) -> None:
    values = [json.loads(line)["value"] for line in SensorStream(seed=3, sensors=sensors).lines(40_000)]
    assert all(15 <= value <= 35 for value in values)
    steps = [abs(b - a) for a, b in zip(values, values[sensors:], strict=False)]
    assert max(steps) <= 0.071
    assert len(set(values)) > 500


@given(st.integers(0, 2**40), st.lists(st.integers(0, 1700), max_size=6))
def test_how_the_lines_are_fetched_does_not_change_them(seed: int, counts: list[int]) -> None:
    pieces, whole = SensorStream(seed, 17), SensorStream(seed, 17)
    fetched = [line for count in counts for line in pieces.lines(count)]
    assert fetched == whole.lines(sum(counts))


def test_another_seed_gives_another_stream() -> None:
    assert SensorStream(1).lines(50) != SensorStream(2).lines(50)


def test_the_stream_starts_at_the_given_time() -> None:
    stream = SensorStream(start=datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC))
    assert json.loads(stream.lines(1001)[-1])["ts"] == "2000-01-01T00:00:00.000997Z"


def test_sensors_without_faults_are_the_plain_stream() -> None:
    assert FaultySensors(5, 20).lines(3000) == SensorStream(5, 20).lines(3000)


@given(st.integers(0, 2**40), st.lists(st.integers(0, 1700), max_size=6))
def test_how_faulty_lines_are_fetched_does_not_change_them(seed: int, counts: list[int]) -> None:
    pieces, whole = (FaultySensors(seed, 17, gaps=0.1, spikes=0.1, drift=0.5) for _ in range(2))
    fetched = [line for count in counts for line in pieces.lines(count)]
    assert fetched == whole.lines(sum(counts))


def test_gaps_leave_readings_out_and_change_none() -> None:
    plain = SensorStream(3).lines(10_000)
    kept = FaultySensors(3, gaps=0.2).lines(10_000)
    assert 7700 < len(kept) < 8300
    assert set(kept) < set(plain)


def test_spikes_move_some_values_far_and_leave_the_others() -> None:
    plain = [json.loads(line) for line in SensorStream(3).lines(10_000)]
    found = [json.loads(line) for line in FaultySensors(3, spikes=0.01).lines(10_000)]
    off = [abs(b["value"] - a["value"]) for a, b in zip(plain, found, strict=True)]
    spiked = [distance for distance in off if distance]
    assert 50 < len(spiked) < 170
    assert all(49.99 <= distance <= 150.01 for distance in spiked)
    assert all(a | {"value": 0} == b | {"value": 0} for a, b in zip(plain, found, strict=True))


@pytest.mark.parametrize("drift", [0.5, -2.0])
def test_drift_moves_every_value_with_the_clock_of_the_stream(drift: float) -> None:
    plain = [json.loads(line)["value"] for line in SensorStream(3).lines(5000)]
    found = [json.loads(line)["value"] for line in FaultySensors(3, drift=drift).lines(5000)]
    for at, (a, b) in enumerate(zip(plain, found, strict=True), 1):
        assert b - a == pytest.approx(drift * at / 1000, abs=0.006)


def test_all_missing_and_all_spiked_are_possible() -> None:
    assert FaultySensors(0, gaps=1).lines(500) == []
    assert len(FaultySensors(0, spikes=1).lines(500)) == 500
