import json
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.plant import FAULTS, MINUTES, PERIOD_S, SENSORS, Plant, SensorFault

EVERYTHING = 10**6


def whole(
    seed: int = 0, sensors: int = SENSORS, minutes: int = MINUTES
) -> tuple[list[Any], list[SensorFault]]:
    """The readings of a whole stream, and its faults."""
    plant = Plant(seed, sensors, minutes=minutes)
    readings = [json.loads(line) for line in plant.lines(EVERYTHING)]
    return readings, plant.faults(len(readings))


def found_in(readings: list[Any]) -> dict[str, list[tuple[int, str, int]]]:
    """The faults that can be seen in the readings alone: line, sensor and number of each."""
    found: dict[str, list[tuple[int, str, int]]] = defaultdict(list)
    seen: dict[str, dict[int, int]] = defaultdict(dict)
    for line, reading in enumerate(readings, 1):
        sensor, seq = reading["sensor"], reading["seq"]
        for kind in kinds_of(reading, seen[sensor]):
            found[kind].append((line, sensor, seq))
        seen[sensor].setdefault(seq, line)
    for sensor, lines in seen.items():
        for missing in set(range(1, max(lines))) - set(lines):
            line = lines[next(n for n in range(missing, max(lines) + 1) if n in lines)]
            found["gap"].append((line, sensor, missing))
    return found


def kinds_of(reading: dict[str, Any], before: dict[int, int]) -> list[str]:
    """The faults that a reading shows, given the numbers that came before it."""
    seq, value, unit = reading["seq"], reading["value"], reading["unit"]
    if seq in before:
        return ["duplicate"]
    is_number = not isinstance(value, str) and value != -999
    signs = {
        "out_of_order": seq < max(before, default=0),
        "text": isinstance(value, str),
        "error_value": value == -999,
        "fahrenheit": unit == "F",
        "spike": is_number and unit == "C" and not 15 <= value <= 35,
        "clock_reset": reading["ts"].startswith("1970-"),
    }
    return [kind for kind, shown in signs.items() if shown]


@pytest.mark.parametrize(
    ("seed", "sensors", "minutes"), [(0, 12, 60), (1, 12, 60), (2, 1, 600), (3, 150, 30)]
)
def test_the_list_of_faults_is_what_the_readings_show(seed: int, sensors: int, minutes: int) -> None:
    readings, faults = whole(seed, sensors, minutes)
    found = found_in(readings)
    for kind in ("duplicate", "out_of_order", "spike", "error_value", "text"):
        assert found[kind] == [(f.line, f.sensor, f.seq) for f in faults if f.kind == kind], kind
    for kind in ("gap", "fahrenheit", "clock_reset"):
        listed = {(f.sensor, f.seq + n) for f in faults if f.kind == kind for n in range(f.readings)}
        assert {(sensor, seq) for _, sensor, seq in found[kind]} == listed, kind
    assert {line for line, *_ in found["gap"]} == {f.line for f in faults if f.kind == "gap"}
    lines = {
        (line, sensor, seq) for kind in ("fahrenheit", "clock_reset") for line, sensor, seq in found[kind]
    }
    assert lines >= {(f.line, f.sensor, f.seq) for f in faults if f.kind in ("fahrenheit", "clock_reset")}


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize("seed", range(4))
def test_skewed_clocks_and_silences_are_those_of_the_list(seed: int) -> None:
    plant = Plant(seed)
    sent = [(at_s, json.loads(line)) for at_s, line in plant.timed_lines(EVERYTHING)]
    faults = plant.faults(len(sent))
    skews = {f.sensor: f.amount for f in faults if f.kind == "skew"}
    late = {f.line for f in faults if f.kind in ("duplicate", "out_of_order", "clock_reset")}
    reset = {(f.sensor, f.seq + n) for f in faults if f.kind == "clock_reset" for n in range(3)}
    silent = {(f.sensor, f.seq): f for f in faults if f.kind == "silence"}
    before: dict[str, tuple[int, float]] = {}
    for line, (at_s, reading) in enumerate(sent, 1):
        sensor, seq = reading["sensor"], reading["seq"]
        if line in late or (sensor, seq) in reset:
            continue
        skew_s = seconds(reading["ts"]) - plant.start.timestamp() - at_s
        assert skew_s == pytest.approx(skews.get(sensor, 0.0), abs=0.002)
        last_seq, last_s = before.get(sensor, (seq - 1, at_s - PERIOD_S))
        before[sensor] = seq, at_s
        turns = round((at_s - last_s) / PERIOD_S) - (seq - last_seq)
        fault = silent.pop((sensor, seq), None)
        assert turns == (fault.readings if fault else 0)
        if fault:
            assert (fault.line, 240 <= PERIOD_S * fault.readings <= 480) == (line, True)
    assert silent == {}
    assert all(20 <= abs(skew_s or 0) <= 90 for skew_s in skews.values())


def test_lines_and_missing_readings_add_up() -> None:
    plant = Plant(0)
    sent = len(plant.lines(EVERYTHING))
    books = plant.books(sent)
    assert list(books) == list(FAULTS)
    assert all(faults > 0 for faults, _ in books.values())
    made = SENSORS * MINUTES * 60 // PERIOD_S
    assert sent == made - books["gap"][1] - books["silence"][1] + books["duplicate"][1]
    assert Counter(f.kind for f in plant.faults(sent)) == {
        kind: faults for kind, (faults, _) in books.items()
    }
    assert plant.lines(1) == []


@given(st.integers(0, 2**40), st.lists(st.integers(0, 400), max_size=6))
def test_how_the_lines_are_fetched_does_not_change_them(seed: int, counts: list[int]) -> None:
    pieces, at_once = Plant(seed, 5, minutes=20), Plant(seed, 5, minutes=20)
    fetched = [line for count in counts for line in pieces.lines(count)]
    assert fetched == at_once.lines(sum(counts))
    assert pieces.faults(len(fetched)) == at_once.faults(len(fetched))


@given(st.integers(0, 2**40), st.integers(0, 600))
def test_the_faults_of_a_part_are_those_that_its_lines_show(seed: int, sent: int) -> None:
    part, all_of_it = Plant(seed, 3, minutes=30), Plant(seed, 3, minutes=30)
    part.lines(sent)
    everything = all_of_it.faults(len(all_of_it.lines(EVERYTHING)))
    assert part.faults(sent) == [fault for fault in everything if fault.line <= sent]


def test_faults_of_a_sensor_are_far_from_each_other_and_from_both_ends() -> None:
    for seed in range(5):
        _, faults = whole(seed)
        for name in {fault.sensor for fault in faults}:
            free = 13
            for fault in sorted(
                (f for f in faults if f.sensor == name and f.kind != "skew"), key=lambda f: f.seq
            ):
                assert fault.seq > free
                made = 0 if fault.kind == "silence" else fault.readings
                free = fault.seq - 1 + made + 13


def test_seed_and_start_choose_the_stream() -> None:
    assert Plant(1).lines(50) != Plant(2).lines(50)
    first = json.loads(Plant(start=datetime(1999, 12, 31, 23, 59, 50, tzinfo=UTC)).lines(1)[0])
    assert (first["ts"], first["sensor"], first["seq"]) == ("1999-12-31T23:59:50.000Z", "s-01", 1)
    assert list(first) == ["ts", "sensor", "seq", "value", "unit"]
