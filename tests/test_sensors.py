import json
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.sensors import SensorStream


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
