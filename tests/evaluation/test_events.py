import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation.events import Outcome, judge, runs


def marks(text: str) -> list[bool]:
    return [mark == "#" for mark in text]


def judged(labels: str, flags: str, span: int = 3) -> tuple[int, int, int, tuple[int, ...]]:
    """Events, events found, false alarms, and delays."""
    found = judge(marks(labels), marks(flags), span)
    return found.events, found.found, found.false_alarms, found.delays


def test_an_event_is_a_longest_run_of_labels() -> None:
    assert runs(marks("")) == []
    assert runs(marks("..")) == []
    assert runs(marks("#")) == [range(1)]
    assert runs(marks("##.#..###")) == [range(2), range(3, 4), range(6, 9)]


@pytest.mark.parametrize(
    ("labels", "flags", "expected"),
    [
        pytest.param(".###..", ".#....", (1, 1, 0, (0,)), id="found at once"),
        pytest.param(
            ".#####", ".....#", (1, 1, 0, (4,)), id="a long event found late is found, with a delay"
        ),
        pytest.param(".##...", "...#..", (1, 0, 1, ()), id="an alarm after the event does not find it"),
        pytest.param("...##.", ".##...", (1, 0, 1, ()), id="an alarm before the event does not find it"),
        pytest.param("...##.", ".####.", (1, 1, 1, (0,)), id="one that begins before is false, and finds it"),
        pytest.param(
            "##....", "#####.", (1, 1, 1, (0,)), id="one that goes on after the event is false there"
        ),
        pytest.param("##.##.", ".###..", (2, 2, 1, (1, 0)), id="one alarm over two events finds both"),
        pytest.param(".####.", ".#.#..", (1, 1, 0, (0,)), id="an event counts once"),
        pytest.param("......", "#.##..", (0, 0, 2, ()), id="a false alarm lasts for the span"),
        pytest.param(
            "......", "######", (0, 0, 2, ()), id="a flag that is always on is an alarm for each span"
        ),
        pytest.param("######", "..####", (1, 1, 0, (2,)), id="only an event"),
        pytest.param("......", "......", (0, 0, 0, ()), id="nothing"),
        pytest.param("", "", (0, 0, 0, ()), id="no records"),
        pytest.param("#.#.#.", "..#...", (3, 1, 0, (0,)), id="neighbours are events of their own"),
        pytest.param("..#...", ".###..", (1, 1, 1, (0,)), id="a false alarm goes on behind an event"),
    ],
)
def test_events_found_and_false_alarms(
    labels: str, flags: str, expected: tuple[int, int, int, tuple[int, ...]]
) -> None:
    assert judged(labels, flags) == expected


def test_there_is_no_point_adjustment() -> None:
    """One flag in an event of 100 records: point adjustment would call all of them flagged."""
    labels = marks("." * 100 + "#" * 100)
    flags = [False] * 200
    flags[5] = flags[180] = True
    found = judge(labels, flags, 10)
    assert (found.flagged, found.rate, found.delays) == (2, 0.01, (80,))
    assert (found.recall, found.precision, round(found.f1, 3)) == (1.0, 0.5, 0.667)


def test_shares_without_alarms_or_events_are_unknown() -> None:
    silent = judge(marks(".##."), marks("...."), 1)
    assert (silent.precision, silent.recall, silent.f1, silent.delay_s(5)) == (None, 0.0, 0.0, None)
    normal = judge(marks("...."), marks(".#.."), 1)
    assert (normal.precision, normal.recall, normal.f1) == (0.0, None, 0.0)
    assert (Outcome().rate, Outcome().false_alarms_a_day(1.0)) == (0.0, 0.0)


def test_a_day_is_one_without_events() -> None:
    found = judge(marks("." * 100 + "#" * 50), marks("#" + "." * 149), 1)
    assert found.false_alarms_a_day(864.0) == 1.0


def test_the_delay_is_the_median_of_the_events_that_were_found() -> None:
    found = judge(marks("###.###.###.###"), marks("#.....#.#....##"), 1)
    assert found.delays == (0, 2, 0, 1)
    assert found.delay_s(10.0) == 5.0


def test_outcomes_of_keys_are_added() -> None:
    one, other = judge(marks(".##."), marks(".##."), 1), judge(marks("#..."), marks("..#."), 1)
    both = one + other
    assert (both.events, both.found, both.false_alarms) == (2, 1, 1)
    assert (both.records, both.normal, both.flagged) == (8, 5, 3)
    assert (both.precision, both.recall, both.rate) == (0.5, 0.5, 3 / 8)


def test_random_flags_find_long_events_and_pay_with_false_alarms() -> None:
    """The trap of long events: the recall says nothing without that of random flags."""
    draw = random.Random(1).random  # noqa: S311 - flags are no secrets
    labels = marks(("." * 900 + "#" * 100) * 20)
    found = judge(labels, [draw() < 0.1 for _ in labels], 1)
    assert found.recall == 1.0
    assert found.precision is not None
    assert found.precision < 0.03


BITS = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60)


@given(BITS, st.integers(1, 20))
def test_laws(pairs: list[tuple[bool, bool]], span: int) -> None:
    labels, flags = [label for label, _ in pairs], [flag for _, flag in pairs]
    found = judge(labels, flags, span)
    wrong = sum(flag and not label for label, flag in pairs)
    assert found.found <= found.events
    assert -(-wrong // span) <= found.false_alarms <= wrong
    assert (found.found > 0) == any(label and flag for label, flag in pairs)
    assert found.false_alarms >= judge(labels, flags, span + 1).false_alarms
    perfect = judge(labels, labels, span)
    assert (perfect.found, perfect.false_alarms) == (perfect.events, 0)
    assert set(perfect.delays) <= {0}
