import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from streamd.core.expression import Expression
from streamd.core.now import Now
from streamd.runtime import tap as tap_module
from streamd.runtime.tap import EXAMINED_PER_S, WINDOW_S, Tap, TapOptions, Unseen


class Seen:
    """A tap whose time the test moves."""

    def __init__(self, seed: int = 1, **wanted: Any) -> None:
        if isinstance(wanted.get("where"), str):
            wanted["where"] = Expression(wanted["where"])
        self.now = Now(1_700_000_000.0, 1000.0)
        self.tap = Tap("source:lab", TapOptions(**wanted), self.now, random.Random(seed))  # noqa: S311 - no secret
        self.read = 0
        self.examined = 0

    def pass_s(self, seconds: float) -> None:
        self.now = Now(self.now.wall_s + seconds, self.now.mono_s + seconds)

    def see(self, records: Sequence[dict[str, Any]], **options: Any) -> None:
        def record_at(place: int) -> dict[str, Any]:
            self.read += 1
            return records[place]

        def bare_at(place: int) -> dict[str, Any]:
            self.examined += 1
            return records[place]

        self.tap.see(len(records), record_at, self.now, bare_at=bare_at, **options)

    def take(self) -> tuple[list[Any], dict[str, int]]:
        """The records of the next portion, and what was skipped."""
        portion = self.tap.take(self.now)
        return [json.loads(event)["record"] for event in portion.events], dict(portion.skipped)

    def after(self, seconds: float = WINDOW_S) -> tuple[list[Any], dict[str, int]]:
        self.pass_s(seconds)
        return self.take()


def numbered(count: int, begin: int = 0) -> list[dict[str, Any]]:
    return [{"n": n} for n in range(begin, begin + count)]


def test_few_records_are_all_shown_after_a_second_in_their_order() -> None:
    seen = Seen()
    seen.see(numbered(3))
    assert seen.take() == ([], {})
    seen.pass_s(0.5)
    seen.see(numbered(4, 3))
    assert seen.after(0.5) == (numbered(7), {})
    assert seen.after() == ([], {})


def test_an_event_has_the_time_and_the_record() -> None:
    seen = Seen()
    seen.see([{"a": 1}])
    seen.pass_s(WINDOW_S)
    assert seen.tap.take(seen.now).events == [b'{"at_wall_s":1700000000.000000,"record":{"a":1}}']


def test_fields_of_the_condition_that_no_record_has_had_are_named() -> None:
    seen = Seen(where='vlaue > 1 and n >= 0 and contains(meta("peer"), "x")')
    seen.pass_s(WINDOW_S)
    assert seen.tap.take(seen.now).unseen is None  # no record came
    seen.see(numbered(3))
    seen.pass_s(WINDOW_S)
    assert seen.tap.take(seen.now).unseen == Unseen(["vlaue"], 3, ["n"])
    seen.see(numbered(3))
    seen.pass_s(WINDOW_S)
    assert seen.tap.take(seen.now).unseen is None  # it is known already
    seen.see([{"vlaue": None}])
    seen.see(numbered(1))
    seen.pass_s(WINDOW_S)
    assert seen.tap.take(seen.now).unseen is None


def test_a_condition_whose_fields_all_came_names_none() -> None:
    seen = Seen(where="n > 1 and other is None")
    seen.see([{"n": 1}, {"other": 1}])
    seen.pass_s(WINDOW_S)
    assert seen.tap.take(seen.now).unseen is None


def test_of_many_records_a_sample_of_the_rate_is_shown_and_the_rest_counts_as_skipped() -> None:
    seen = Seen(rate=10)
    for begin in range(0, 5000, 500):
        seen.see(numbered(500, begin))
    records, skipped = seen.after()
    numbers = [record["n"] for record in records]
    assert len(numbers) == 10
    assert numbers == sorted(set(numbers))
    assert skipped == {"rate": 4990}


def test_the_sample_is_fair_within_batches_and_over_the_second() -> None:
    counts: Counter[int] = Counter()
    for seed in range(2000):
        seen = Seen(seed, rate=5)
        for begin in (0, 10, 60):
            seen.see(numbered({0: 10, 10: 50, 60: 40}[begin], begin))
        counts.update(record["n"] for record in seen.after()[0])
    spread = sum((counts[n] - 100) ** 2 / 100 for n in range(100))
    assert spread < 150, "chi-square with 99 degrees of freedom"


def test_each_second_has_its_own_rate() -> None:
    seen = Seen(rate=2)
    shown = []
    for _ in range(3):
        seen.see(numbered(100))
        shown.append(seen.after())
    assert [len(records) for records, _ in shown] == [2, 2, 2]
    assert [skipped for _, skipped in shown] == [{"rate": 98}] * 3


def test_a_shown_record_is_a_copy_of_what_it_was() -> None:
    seen = Seen()
    record: dict[str, Any] = {"a": {"b": [1]}}
    seen.see([record])
    record["a"]["b"].append(2)
    record["c"] = 3
    assert seen.after()[0] == [{"a": {"b": [1]}}]


def test_the_wait_is_until_the_second_is_over() -> None:
    seen = Seen()
    seen.pass_s(0.25)
    seen.see(numbered(1))
    assert seen.tap.wait_s(seen.now) == pytest.approx(WINDOW_S - 0.25)
    seen.pass_s(WINDOW_S)
    assert seen.tap.wait_s(seen.now) == 0


def test_a_slow_reader_gets_the_newest_second_and_is_told_how_many_it_missed() -> None:
    seen = Seen(rate=10)
    for second in range(50):
        seen.see(numbered(20, 100 * second))
        seen.pass_s(WINDOW_S)
    seen.see(numbered(1, 9000))
    records, skipped = seen.take()
    assert len(records) == 10
    assert all(4900 <= record["n"] < 4920 for record in records)
    assert skipped == {"rate": 50 * 10, "slow": 49 * 10}
    assert seen.after()[0] == [{"n": 9000}]
    assert (seen.tap.shown, seen.tap.skipped) == (11, 990)


def test_a_reader_that_comes_late_gets_the_second_that_waits_and_then_the_next_one() -> None:
    seen = Seen()
    seen.see(numbered(1))
    seen.pass_s(WINDOW_S)
    seen.see(numbered(1, 1))
    seen.pass_s(3 * WINDOW_S)
    assert seen.take() == ([{"n": 0}], {})
    assert seen.tap.wait_s(seen.now) == 0
    assert seen.take() == ([{"n": 1}], {})


def test_memory_is_bounded_by_what_the_records_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap_module, "MAX_BYTES", 5000)
    seen = Seen(rate=100)
    seen.see([{"n": n, "text": "x" * 900} for n in range(100)])
    records, skipped = seen.after()
    assert len(records) == 5
    assert skipped == {"size": 95}
    seen.see(numbered(3))
    assert seen.after() == (numbered(3), {}), "the next second has all the room again"


def test_records_replaced_in_the_sample_give_their_room_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap_module, "MAX_BYTES", 5000)
    seen = Seen(rate=5)
    seen.see([{"n": n, "text": "x" * 900} for n in range(10_000)])
    records, skipped = seen.after()
    assert len(records) == 5
    assert skipped == {"rate": 9995}


def test_only_chosen_records_are_read() -> None:
    seen = Seen(rate=10)
    for _ in range(100):
        seen.see(numbered(1000))
    assert seen.read < 300


def test_only_records_that_fulfil_the_condition_are_shown_or_skipped() -> None:
    seen = Seen(where="n % 2 == 0", rate=3)
    seen.see(numbered(20))
    records, skipped = seen.after()
    assert len(records) == 3
    assert all(record["n"] % 2 == 0 for record in records)
    assert skipped == {"rate": 7}


def test_a_record_on_which_the_condition_fails_is_skipped_with_the_reason() -> None:
    seen = Seen(where="n > 1")
    seen.see([{"n": "text"}, {"n": 2}, {}])
    seen.pass_s(WINDOW_S)
    portion = seen.tap.take(seen.now)
    assert len(portion.events) == 1
    assert portion.skipped == {"failed": 1}
    assert portion.why.startswith("expr:type")
    assert seen.after() == ([], {})
    assert seen.tap.take(seen.now).why == ""


def test_a_condition_is_tried_on_a_bounded_number_of_records_a_second() -> None:
    seen = Seen(where="n >= 0", rate=1000)
    for _ in range(20):
        seen.see(numbered(5000))
        seen.pass_s(0.05)
    assert seen.examined <= 2 * EXAMINED_PER_S
    records, skipped = seen.after(0.1)
    assert len(records) + sum(skipped.values()) == 20 * 5000
    assert skipped["unexamined"] == 20 * 5000 - seen.examined


def test_the_examined_records_are_spread_over_the_batch() -> None:
    seen = Seen(where="n >= 0", rate=1000)
    seen.see(numbered(EXAMINED_PER_S))
    seen.pass_s(0.1)
    seen.see(numbered(10_000, 50_000))
    records, _ = seen.after(0.95)
    late = [record["n"] for record in records if record["n"] >= 50_000]
    assert EXAMINED_PER_S // 10 - 2 <= seen.examined - EXAMINED_PER_S <= EXAMINED_PER_S // 10
    assert late
    assert max(late) > 55_000


def test_each_record_of_a_batch_has_the_same_chance_to_be_examined_and_is_examined_once() -> None:
    counts: Counter[int] = Counter()
    now = Now(1_700_000_000.0, 1000.0)
    for seed in range(1000):
        rng = random.Random(seed)  # noqa: S311 - no secret
        tap = Tap("source:lab", TapOptions(where=Expression("n >= 0")), now, rng)
        tap.see(1, lambda _place: {"n": -1}, now, price=EXAMINED_PER_S - 70)
        places: list[int] = []

        def record_at(place: int, places: list[int] = places) -> dict[str, Any]:
            places.append(place)
            return {"n": -1}

        tap.see(100, record_at, now)
        assert len(places) == len(set(places)) == 70
        counts.update(places)
    assert set(counts) == set(range(100))
    assert all(600 < count < 800 for count in counts.values())


def test_a_quiet_time_saves_no_more_than_a_second_of_examining() -> None:
    seen = Seen(where="n >= 0")
    seen.pass_s(100)
    seen.see(numbered(3 * EXAMINED_PER_S))
    assert seen.examined == EXAMINED_PER_S


def test_records_that_are_dear_to_examine_are_examined_less() -> None:
    seen = Seen(where="n >= 0")
    seen.see(numbered(5000), price=10)
    assert seen.examined == EXAMINED_PER_S // 10


def test_once_shows_the_first_records_at_once_and_ends() -> None:
    seen = Seen(once=5, rate=1000)
    woken: list[bool] = []
    seen.tap.on_ready = lambda: woken.append(True)
    seen.see(numbered(3))
    assert not woken
    seen.see(numbered(100, 3))
    assert woken == [True]
    assert seen.tap.wait_s(seen.now) == 0
    assert seen.take() == (numbered(5), {})
    assert seen.tap.ended == "once"
    seen.see(numbered(10))
    assert seen.after() == ([], {})
    assert seen.read == 5, "nothing is read after the end"


def test_once_with_a_condition_shows_the_first_that_fulfil_it() -> None:
    seen = Seen(once=3, rate=1000, where="n % 10 == 0")
    seen.see(numbered(1000, 1))
    assert seen.take() == ([{"n": 10}, {"n": 20}, {"n": 30}], {})
    assert seen.examined == 30, "the rest of the batch is not looked at"


def test_once_goes_on_over_the_seconds_up_to_its_number() -> None:
    seen = Seen(once=7, rate=3)
    shown: list[Any] = []
    skipped: Counter[str] = Counter()
    for second in range(4):
        seen.see(numbered(5, 10 * second))
        records, more = seen.after()
        shown += records
        skipped.update(more)
    assert [record["n"] for record in shown] == [0, 1, 2, 10, 11, 12, 20]
    assert skipped == {"rate": 4}
    assert seen.tap.ended == "once"


def test_once_replaces_nothing_that_a_slow_reader_has_not_taken() -> None:
    seen = Seen(once=4, rate=2)
    for second in range(5):
        seen.see(numbered(3, 10 * second))
        seen.pass_s(WINDOW_S)
    records, skipped = seen.take()
    assert [record["n"] for record in records] == [0, 1]
    assert skipped == {"rate": 1, "slow": 12}
    seen.see(numbered(2, 90))
    assert seen.take()[0] == [{"n": 90}, {"n": 91}]
    assert seen.tap.ended == "once"


def test_what_was_seen_before_the_end_can_still_be_taken() -> None:
    seen = Seen()
    seen.see(numbered(2))
    seen.pass_s(WINDOW_S)
    seen.see(numbered(2, 2))
    seen.tap.end("removed", seen.now)
    seen.see(numbered(5, 50))
    assert seen.read == 4
    assert seen.after(10) == (numbered(4), {})
    assert seen.tap.ended == "removed"
    seen.tap.end("stopping", seen.now)
    assert seen.tap.ended == "removed", "the first reason stays"


@pytest.mark.parametrize("seed", range(5))
def test_every_record_is_shown_or_counted_as_skipped(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - no secret
    seen = Seen(seed, rate=rng.choice([1, 3, 50]))
    passed = shown = 0
    skipped: Counter[str] = Counter()
    for _ in range(300):
        count = rng.choice([0, 1, 2, 40])
        passed += count
        seen.see(numbered(count))
        seen.pass_s(rng.choice([0.0, 0.01, 0.3, 2.0]))
        if rng.random() < 0.5:
            records, more = seen.take()
            shown += len(records)
            skipped.update(more)
    seen.tap.end("stopping", seen.now)
    records, more = seen.take()
    assert passed == shown + len(records) + skipped.total() + sum(more.values())
    assert seen.tap.shown == shown + len(records)
