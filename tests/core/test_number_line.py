from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.number_line import Gap, LineRules, NumberLine


class Sender:
    def __init__(self, first: int, window: int = 8, **rules: Any) -> None:
        self.rules = LineRules(window, **{"wrap": None, "max_jump": None, "restart_at": None} | rules)
        self.line = NumberLine(first)
        self.gaps: list[Gap] = []

    def see(self, *numbers: int) -> list[str]:
        return [self.rules.see(self.line, number, self.gaps)[0] for number in numbers]


def test_numbers_in_order_are_next() -> None:
    sender = Sender(5)
    assert sender.see(6, 7, 8) == ["next"] * 3
    assert sender.line.pending == 0


def test_what_comes_late_or_twice() -> None:
    sender = Sender(10)
    assert sender.see(13, 12, 12, 13, 11, 11) == [
        "gap",
        "late",
        "duplicate",
        "duplicate",
        "late",
        "duplicate",
    ]
    assert sender.line.pending == 0
    assert sender.gaps == []


def test_a_number_before_the_first_is_late_and_none_is_missing_before_the_first() -> None:
    sender = Sender(10)
    assert sender.see(8, 8, 9) == ["late", "duplicate", "late"]
    assert sender.see(*range(11, 40)) == ["next"] * 29
    assert sender.gaps == []


def test_missing_numbers_are_reported_in_ranges_when_the_window_has_passed_them() -> None:
    sender = Sender(0)
    sender.see(1, 4, 6, 7)
    assert sender.gaps == []
    sender.see(*range(8, 11))
    assert sender.gaps == [Gap(2, 2, 1)]
    sender.see(*range(11, 15))
    assert sender.gaps == [Gap(2, 2, 1), Gap(3, 3, 1), Gap(5, 5, 1)]


def test_a_step_beyond_the_window_reports_what_can_no_longer_come() -> None:
    sender = Sender(0)
    assert sender.rules.see(sender.line, 100, sender.gaps) == ("gap", 99)
    assert sender.gaps == [Gap(1, 92, 92)]
    sender.rules.give_up(sender.line, sender.gaps)
    assert sender.gaps == [Gap(1, 92, 92), Gap(93, 99, 7)]


def test_giving_up_spares_the_newest_and_says_nothing_twice() -> None:
    sender = Sender(0)
    sender.see(2, 4, 5)
    sender.rules.give_up(sender.line, sender.gaps, newest=3)
    assert sender.gaps == [Gap(1, 1, 1)]
    sender.rules.give_up(sender.line, sender.gaps)
    assert sender.gaps == [Gap(1, 1, 1), Gap(3, 3, 1)]
    sender.rules.give_up(sender.line, sender.gaps)
    sender.see(*range(6, 60))
    assert len(sender.gaps) == 2


def test_a_reported_number_that_comes_after_all_is_taken_back_once() -> None:
    sender = Sender(0)
    sender.see(3)
    sender.rules.give_up(sender.line, sender.gaps)
    assert sender.see(2, 2) == ["late", "duplicate"]
    assert sender.gaps == [Gap(1, 2, 2), Gap(2, 2, -1)]
    assert sender.line.lost & sender.line.seen == 0


def test_one_stray_number_is_far_and_changes_nothing() -> None:
    sender = Sender(1000, max_jump=100)
    assert sender.see(5, 1001, 9999, 1002, 6, 1003, 1004) == [
        "far",
        "next",
        "far",
        "next",
        "far",
        "next",
        "next",
    ]
    assert sender.gaps == []


def test_two_numbers_that_follow_each_other_far_away_are_a_restart() -> None:
    sender = Sender(1000)
    sender.see(1002)
    assert sender.see(5, 7) == ["far", "restart"]
    assert sender.gaps == [Gap(1001, 1001, 1)]
    assert sender.see(6, 8) == ["late", "next"]
    assert sender.line.pending == 0


def test_a_far_number_before_others_is_no_first_half_of_a_restart() -> None:
    assert Sender(1000).see(5, 1001, 6, 7) == ["far", "next", "far", "restart"]


def test_the_first_number_of_a_sender_is_a_restart_at_once() -> None:
    sender = Sender(0, restart_at=0)
    assert sender.see(1, 2, 0, 1) == ["next", "next", "restart", "next"]
    assert sender.see(*range(2, 20), 0) == [*["next"] * 18, "restart"]
    assert sender.see(0) == ["duplicate"]
    assert Sender(5, restart_at=3).see(3) == ["late"]


def test_numbers_begin_anew_at_the_wrap() -> None:
    sender = Sender(65534, wrap=65536)
    assert sender.see(65535, 0, 3, 65535, 1) == ["next", "next", "gap", "duplicate", "late"]
    assert sender.see(*range(4, 12)) == ["next"] * 8
    assert sender.gaps == [Gap(2, 2, 1)]


def test_a_gap_across_the_wrap_names_numbers_below_it() -> None:
    sender = Sender(250, wrap=256, window=4)
    assert sender.rules.see(sender.line, 5, sender.gaps) == ("gap", 10)
    assert sender.gaps == [Gap(251, 1, 7)]
    sender.rules.give_up(sender.line, sender.gaps)
    assert sender.gaps[1] == Gap(2, 4, 3)


def test_numbers_that_are_given_up_before_the_wrap_are_not_negative() -> None:
    sender = Sender(250, wrap=256)
    sender.see(2)
    sender.rules.give_up(sender.line, sender.gaps)
    assert sender.gaps == [Gap(251, 1, 7)]


def test_half_of_the_wrap_is_ahead_and_more_is_behind() -> None:
    assert Sender(0, wrap=256).see(128) == ["gap"]
    assert Sender(0, wrap=256).see(129) == ["far"]
    assert Sender(0, wrap=256, restart_at=0).see(*range(1, 256), 0) == ["next"] * 256


@pytest.mark.parametrize("number", [2**63 - 1, 2**62])
def test_a_step_of_any_size_costs_no_memory(number: int) -> None:
    sender = Sender(-(2**63))
    assert sender.see(number) == ["gap"]
    assert sum(gap.missing for gap in sender.gaps) + sender.line.pending.bit_count() == number + 2**63 - 1
    assert sender.line.seen.bit_length() <= 8


@given(
    drops=st.sets(st.integers(1, 59), max_size=40),
    swaps=st.lists(st.integers(1, 50), max_size=30),
    doubles=st.sets(st.integers(1, 60), max_size=10),
    wraps=st.booleans(),
    start=st.integers(0, 63),
)
def test_with_disorder_within_the_window_exactly_the_lost_numbers_are_missing(
    drops: set[int], swaps: list[int], doubles: set[int], wraps: bool, start: int
) -> None:
    sent = [n for n in range(1, 61) if n not in drops]
    arrived = [n for n in sent for _ in range(1 + (n in doubles))]
    for place in swaps:  # neighbours change places, so no number moves far if each is moved once
        if place + 1 < len(arrived) and place % 2 == 0:
            arrived[place], arrived[place + 1] = arrived[place + 1], arrived[place]
    wrap = 64 if wraps else None
    shift = [start + n if wrap is None else (start + n) % wrap for n in range(61)]
    sender = Sender(start, window=30, wrap=wrap)
    places = sender.see(*(shift[n] for n in arrived))
    assert places.count("duplicate") == len(arrived) - len(sent)
    assert (
        not {"far", "restart"} & set(places)
        or max((b - a for a, b in zip([0, *sent], sent, strict=False)), default=0) > 30
    )
    sender.rules.give_up(sender.line, sender.gaps)
    lost = {n for n in drops if n < max(arrived, default=0)}
    if not {"far", "restart"} & set(places):
        assert sum(gap.missing for gap in sender.gaps) == len(lost)
        numbers = [gap.first if wrap is None else gap.first % wrap for gap in sender.gaps]
        assert {shift[n] for n in lost} >= set(numbers)
