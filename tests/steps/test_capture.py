import copy
import itertools
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from streamd import registry
from streamd.core.contracts import Processed, Step, StepContext
from streamd.core.errors import ConfigError
from streamd.core.now import Now
from streamd.steps.capture import MOST_AT_ONCE

NewStep = Callable[..., Step[Any]]
OPTIONS: list[dict[str, Any]] = [
    {"when": "n > 6", "key": ["t"], "before": "2s", "after": "1s"},
    {"when": "n > 2", "key": ["by"], "before": "3s", "after": "1s", "every": "2s", "max_records": 2},
    {"when": "n > 4", "fields": ["n"], "time": "n", "before": "3s", "after": "2s", "longest": "2s"},
    {"when": "n > 4", "key": ["t"], "before": "9s", "max_bytes": "1KiB", "max_keys": 2, "forget_after": "9s"},
]
REFUSALS: dict[str, Any] = {}
ADDED = ("capture", "capture_row", "capture_offset_s", "capture_flagged", "capture_complete")
ALARM: dict[str, Any] = {"when": "bad", "key": ["k"], "time": "at", "before": "5s", "after": "2s"}
START_S = 1_700_000_000
START = "2023-11-14T22:13:2"


def at(s: float) -> Now:
    return Now(float(START_S) + s, 50.0 + s)


def records(text: str, first_s: float = 0, key: str = "a") -> list[dict[str, Any]]:
    """A record for each character, a second apart; `!` is a flagged one, a blank none."""
    return [
        {"k": key, "at": START_S + first_s + n, "v": n, "bad": one == "!"}
        for n, one in enumerate(text)
        if one != " "
    ]


def numbers(step: Step[Any]) -> dict[str, Any]:
    return step.context.counters.numbers()


def rows_of(done: Processed) -> list[dict[str, Any]]:
    return [record for record in done.records if "capture" in record]


def seen(step: Step[Any], records: list[dict[str, Any]], s: float = 0) -> list[tuple[Any, ...]]:
    """The id of each captured record without its digest, its offset and whether it is flagged."""
    return [
        (row["capture"][17:19], row["capture_offset_s"], row["capture_flagged"])
        for row in rows_of(step.process(records, at(s)))
    ]


def test_all_records_pass_and_a_flagged_one_brings_those_before_and_behind_it(new_step: NewStep) -> None:
    step = new_step("capture", **ALARM)
    before = records("........")
    assert step.process(copy.deepcopy(before), at(0)).records == before
    (flagged,) = records("!", 8)
    done = step.process([flagged.copy()], at(8))
    assert done.records[0] == flagged
    assert done.emitted == len(done.records) - 1 == 6
    id_ = done.records[1]["capture"]
    assert id_.startswith("2023-11-14T22:13:28.000000Z-")
    expected = [
        record | dict(zip(ADDED, (id_, n, n - 5.0, n == 5, True), strict=True))
        for n, record in enumerate([*before[3:], flagged])
    ]
    assert done.records[1:] == expected
    after = records("...", 9)
    done = step.process(copy.deepcopy(after), at(9))
    assert done.records[:3] == after
    assert [(r["capture"], r["capture_row"], r["capture_offset_s"]) for r in done.records[3:]] == [
        (id_, 6, 1.0),
        (id_, 7, 2.0),
    ]
    assert numbers(step) == {"captures": 1, "captured": 8}


def test_captures_that_overlap_are_one_and_no_record_is_captured_twice(new_step: NewStep) -> None:
    step = new_step("capture", **ALARM)
    assert seen(step, records(".......!.!......!.....")) == [
        *[("27", s, s in {0, 2, 9}) for s in range(-5, 12)],
    ]
    assert seen(step, records("......!", 30)) == [("56", s - 5.0, s == 5) for s in range(6)]
    assert numbers(step) == {"captures": 2, "captured": 23}


def test_a_capture_that_would_last_longer_goes_on_as_another(new_step: NewStep) -> None:
    step = new_step("capture", **ALARM | {"longest": "3s"})
    assert [(one[0], one[1]) for one in seen(step, records("!!!!!!!!!"))] == [
        ("20", 0), ("20", 1), ("20", 2), ("20", 3), ("24", 0), ("24", 1), ("24", 2), ("24", 3), ("28", 0)
    ]  # fmt: skip


def test_captures_begin_not_more_often_than_every(new_step: NewStep) -> None:
    step = new_step("capture", **ALARM | {"every": "20s", "before": "1s", "after": "1s"})
    assert seen(step, records(".!........!.!........!..")) == [
        ("21", -1, False), ("21", 0, True), ("21", 1, False),
        ("41", -1, False), ("41", 0, True), ("41", 1, False),
    ]  # fmt: skip
    assert numbers(step)["not_captured"] == 2
    assert seen(step, records("!!", 60 - 22)) == []
    step = new_step("capture", **ALARM | {"every": "9s", "before": "5s", "after": "0s"})
    assert [one[2] for one in seen(step, records("!      !  !"))] == [True, True, True]


def test_each_key_has_captures_of_its_own_with_an_id_of_its_own(new_step: NewStep) -> None:
    step = new_step("capture", **ALARM)
    both = [*records("..!"), *records("..!", 0, "b"), *records("...", 0, "c")]
    rows = rows_of(step.process(both, at(0)))
    assert [(row["k"], row["capture_offset_s"]) for row in rows] == [
        ("a", -2), ("a", -1), ("a", 0), ("b", -2), ("b", -1), ("b", 0)
    ]  # fmt: skip
    assert len({row["capture"] for row in rows}) == 2


def test_the_id_depends_on_pipeline_name_key_and_time_alone(new_step: NewStep) -> None:
    def made(record: dict[str, Any], pipeline: str = "readings", **options: Any) -> Any:
        cls = registry.load("steps", "capture")
        context = StepContext("capture[7]", pipeline, None, new_step("capture", when="a").context.base_dir)
        return rows_of(cls(cls.Config(**ALARM | options), context).process([record], at(0)))[0]["capture"]

    (one,) = records("!")
    assert made(one) == made(one | {"v": 3}) == made(one | {"at": "2023-11-14T23:13:20+01:00"})
    assert len({made(one), made(one, "p"), made(one | {"k": "b"}), made(one | {"at": 0.0})}) == 4


def test_without_a_time_the_receipt_counts_and_without_a_key_all_records_belong_together(
    new_step: NewStep,
) -> None:
    step = new_step("capture", when="bad", before="2s", after="1s")
    received = [
        {"bad": s == 4, "@received_at": f"{START}{s}.500000Z", "@peer": "p", "@source": "s"} for s in range(7)
    ]
    rows = rows_of(step.process(received, at(99)))
    assert [row["@received_at"][17:19] for row in rows] == ["22", "23", "24", "25"]
    assert [row["capture_offset_s"] for row in rows] == [-2, -1, 0, 1]
    assert rows[0]["@peer"] == "p"
    assert seen(new_step("capture", when="bad"), [{"bad": True}], 7) == [("27", 0, True)]


def test_chosen_fields_are_captured_with_the_key_and_the_metadata(new_step: NewStep) -> None:
    step = new_step("capture", **ALARM | {"fields": ["v", "w"], "name": "why"})
    done = step.process(records(".!"), at(0))
    (row, _) = [record for record in done.records if "why" in record]
    assert row == {
        "@source": None, "@peer": None, "@received_at": None, "k": "a", "v": 0, "w": None,
        "why": done.records[2]["why"], "why_row": 0, "why_offset_s": -1.0, "why_flagged": False,
        "why_complete": True,
    }  # fmt: skip


def test_a_later_step_that_changes_a_record_changes_no_captured_one(new_step: NewStep) -> None:
    step = new_step("capture", **ALARM)
    (one,) = records(".")
    one["deep"] = {"list": [1]}
    for record in step.process([one], at(0)).records:
        record["v"] = record["deep"]["list"][0] = "changed"
    row, _ = rows_of(step.process(records("!", 1), at(1)))
    assert (row["v"], row["deep"]) == (0, {"list": [1]})


def test_late_records_are_captured_by_their_time(new_step: NewStep) -> None:
    step = new_step("capture", **ALARM)
    first, second, third, late, flagged, behind = records(".....!")[:4] + records("!", 4) + records(".", 5)
    order = [first, third, behind, flagged, second, late]
    rows = rows_of(step.process(order, at(0)))
    assert [row["capture_offset_s"] for row in rows] == [-4, -2, 1, 0, -3, -1]


@pytest.mark.parametrize("ahead_s", [6, 60, 299])
def test_a_capture_says_that_a_time_ahead_has_cost_it_records(new_step: NewStep, ahead_s: int) -> None:
    step = new_step("capture", **ALARM)
    rows = rows_of(step.process(records("xxxxxxxx") + records("x", 7 + ahead_s) + records("!x", 8), at(10)))
    assert len(rows) < len("xxxxx!x")
    assert not any(row["capture_complete"] for row in rows)
    assert "not_remembered" not in numbers(step)
    later = rows_of(step.process(records("xxxxxx!x", 400), at(410)))
    assert [row["capture_offset_s"] for row in later] == [-5, -4, -3, -2, -1, 0, 1]
    assert all(row["capture_complete"] for row in later)


def test_a_flagged_record_that_is_late_has_all_before_it_or_says_so(new_step: NewStep) -> None:
    for late_s in range(6):
        step = new_step("capture", **ALARM)
        step.process(records("xxxxxxxxx"), at(9))
        rows = rows_of(step.process(records("!", 8 - late_s), at(9)))
        before = [row for row in rows if row["capture_offset_s"] < 0]
        assert {row["capture_complete"] for row in rows} == {len(before) == min(5, 8 - late_s)}


def test_values_that_cannot_be_placed_or_stored_pass_and_are_counted(new_step: NewStep) -> None:
    step = new_step("capture", **ALARM)
    odd: list[Any] = [None, "never", float("nan"), float("inf"), 10**400, True, [], {}, 1e300, START_S + 301]
    done = step.process([{"k": "a", "at": value, "bad": True} for value in odd], at(0))
    assert (len(done.records), done.emitted, done.rejects) == (len(odd), 0, [])
    assert numbers(step) == {"not_captured": 10, "not_remembered": 10}
    done = step.process([{"k": "a", "at": START_S + 300, "bad": True}], at(0))
    assert done.emitted == 1
    values = [float("inf"), None, True, 2**64 - 1, -(2**63), "é\0", b"\xff", [1, {"a": [None]}]]
    done = step.process([{"k": "b", "at": START_S, "bad": False, "v": v} for v in values], at(0))
    huge = [{"k": "b", "at": START_S, "bad": False, "v": v} for v in (2**64, "\ud800", object(), {1j: 2})]
    assert len(step.process(huge, at(0)).records) == 4
    rows = rows_of(step.process([{"k": "b", "at": START_S, "bad": 1, "v": 0}], at(0)))
    assert [row["v"] for row in rows] == [*values, 0]
    assert {row["capture_complete"] for row in rows} == {False}
    assert numbers(step)["not_remembered"] == 14


def test_a_record_without_a_key_or_on_which_the_condition_fails_is_rejected(new_step: NewStep) -> None:
    step = new_step("capture", when="v > 1", key=["k"])
    done = step.process(
        [{"v": 1}, {"k": "a", "v": "x"}, {"k": "a", "v": 2}, {"k": [object()], "v": 1}], at(0)
    )
    assert [bad.reason for bad in done.rejects] == ["key:missing", "key:type", "expr:type"]
    assert len(done.records) == 2
    assert done.emitted == 1
    done = step.process([{"v": 1}, {"k": "a", "v": 2}], at(0))
    assert [bad.reason for bad in done.rejects] == ["key:missing"]
    assert len(rows_of(done)) == 1


def test_beyond_max_records_the_first_of_the_key_is_forgotten_and_the_capture_says_so(
    new_step: NewStep,
) -> None:
    step = new_step("capture", **ALARM | {"max_records": 3})
    step.process(records("......", 0, "b"), at(0))
    rows = rows_of(step.process(records(".....!"), at(0)))
    assert [row["capture_offset_s"] for row in rows] == [-3, -2, -1, 0]
    assert not any(row["capture_complete"] for row in rows)
    assert numbers(step)["not_remembered"] == 5
    rows = rows_of(step.process(records("...!", 29), at(0)))
    assert [(row["capture_offset_s"], row["capture_complete"]) for row in rows] == [
        (s, True) for s in range(-3, 1)
    ]


def test_beyond_max_bytes_the_oldest_of_all_keys_are_forgotten(new_step: NewStep) -> None:
    step = new_step("capture", **ALARM | {"max_bytes": "1KiB", "before": "100s"})
    for s in range(20):
        for key in "abc":
            step.process(records(".", s, key), at(s))
    kept = [
        len(rows_of(step.process([record | {"bad": True}], at(20))))
        for key in "abc"
        for record in records(".", 20, key)
    ]
    assert sum(kept) - 3 == 60 - numbers(step)["not_remembered"]
    assert max(kept) - min(kept) <= 1
    assert 3 < sum(kept) < 20
    big = records(".", 21, "d") + records("!", 22, "d")
    big[0]["v"] = "x" * 2000
    rows = rows_of(step.process(big, at(22)))
    assert not any(len(str(row["v"])) > 99 for row in rows)
    assert not rows[-1]["capture_complete"]


def test_the_half_of_the_keys_that_was_silent_longer_is_forgotten(new_step: NewStep) -> None:
    step = new_step("capture", **ALARM | {"max_keys": 4, "before": "100s", "forget_after": "100s"})
    for s, key in enumerate("abcda"):
        step.process(records(".", s, key), at(s))
    for s, key in enumerate("ef"):
        step.process(records(".", 5 + s, key), at(5 + s))
    assert numbers(step) == {"forgotten": 3}
    sizes = {key: rows_of(step.process(records("!", 8, key), at(8))) for key in "aefb"}
    assert {key: len(rows) for key, rows in sizes.items()} == {"a": 3, "e": 2, "f": 2, "b": 1}
    assert sizes["a"][0]["capture_complete"]
    assert not sizes["b"][0]["capture_complete"]
    step.process(records(".", 250, "x"), at(250))
    step.process(records(".", 400, "x"), at(400))
    assert len(rows_of(step.process(records("!", 401, "x"), at(401)))) == 2


def test_many_captured_records_come_in_parts(new_step: NewStep) -> None:
    step = new_step("capture", **ALARM | {"before": "1h"})
    total = 3 * MOST_AT_ONCE
    every = [{"k": "a", "at": START_S + n / 100, "bad": False} for n in range(total)]
    for first in range(0, total, 1000):
        step.process(every[first : first + 1000], at(0))
    made = rows_of(step.process([{"k": "a", "at": START_S + total / 100, "bad": True}], at(1)))
    assert len(made) == MOST_AT_ONCE
    assert step.next_deadline() == at(1).mono_s
    state = step.snapshot()
    assert state is not None
    for place in (step, new_step("capture", **ALARM | {"before": "1h"})):
        rows = list(made)
        if place is not step:
            place.restore(state, at(5))
            assert place.next_deadline() == at(5).mono_s
        rows += rows_of(place.process(records(".", total / 100 + 1), at(1)))
        while place.next_deadline() is not None:
            more = place.tick(at(6)).records
            assert 0 < len(more) <= MOST_AT_ONCE
            rows += more
        assert [row["capture_row"] for row in rows] == list(range(10_000 + 2))
        assert place.tick(at(9)).records == []


def expected(stream: list[tuple[str, int, bool]], before: int, after: int) -> set[tuple[str, int, int]]:
    """The key, place and first flagged time of each captured record."""
    found = set()
    for key in "ab":
        its = [(place, s, bad) for place, (k, s, bad) in enumerate(stream) if k == key]
        spans: list[list[int]] = []
        for _, s, bad in its:
            if bad and spans and s - before <= spans[-1][1]:
                spans[-1][1] = s + after
            elif bad:
                spans.append([s - before, s + after, s])
        found |= {
            (key, place, first) for place, s, _ in its for low, high, first in spans if low <= s <= high
        }
    return found


@settings(max_examples=150, deadline=None)
@given(
    stream=st.lists(
        st.tuples(st.sampled_from("aab"), st.sampled_from([0, 1, 1, 2, 9]), st.sampled_from([0, 0, 0, 1])),
        max_size=60,
    ),
    before=st.integers(0, 8),
    after=st.integers(0, 4),
    cuts=st.lists(st.integers(0, 60), max_size=3),
)
def test_the_spans_around_flagged_records_are_captured_whatever_the_batches_and_restarts(
    stream: Any, before: int, after: int, cuts: list[int]
) -> None:
    cls = registry.load("steps", "capture")
    options = ALARM | {"before": f"{before}s", "after": f"{after}s"}

    def new() -> Any:
        return cls(cls.Config(**options), StepContext("capture[0]", "p", None, None))  # type: ignore[arg-type]

    times = list(itertools.accumulate(gap for _, gap, _ in stream))
    whole = [(key, s, bool(bad)) for (key, _, bad), s in zip(stream, times, strict=True)]
    step = new()
    rows = []
    ends = sorted({min(cut, len(whole)) for cut in cuts} | {len(whole)})
    for first, end in itertools.pairwise([0, *ends]):
        batch = [
            {"k": key, "at": START_S + s, "bad": bad, "n": n}
            for n, (key, s, bad) in enumerate(whole[first:end], first)
        ]
        rows += rows_of(step.process(batch, at(times[end - 1] if end else 0)))
        state = step.snapshot()
        if state is not None:
            step = new()
            step.restore(state, at(times[end - 1]))
            assert step.snapshot() == state
    offset = START_S
    found = {(row["k"], row["n"], round(row["at"] - row["capture_offset_s"]) - offset) for row in rows}
    assert found == expected(whole, before, after)
    assert len(rows) == len(found)
    numbers: dict[str, list[int]] = {}
    for row in rows:
        numbers.setdefault(row["capture"], []).append(row["capture_row"])
    assert all(its == list(range(len(its))) for its in numbers.values())


@pytest.mark.parametrize("options", OPTIONS)
def test_a_restart_in_the_middle_changes_no_capture(new_step: NewStep, options: dict[str, Any]) -> None:
    rnd = random.Random(3)  # noqa: S311 - the same values in every run
    batches = [
        [
            {
                "n": rnd.randrange(9),
                "t": rnd.choice("abcdefgh"),
                "by": "x",
                "@received_at": f"{START}{n % 10}Z",
            }
            for _ in range(5)
        ]
        for n in range(20)
    ]
    through, restarted = new_step("capture", **options), new_step("capture", **options)
    for n, batch in enumerate(batches):
        if n == 10:
            state = restarted.snapshot()
            assert state is not None
            restarted = new_step("capture", **options)
            restarted.restore(state, at(n / 10))
        copies = [record.copy() for record in batch]
        assert through.process(batch, at(n / 10)).records == restarted.process(copies, at(n / 10)).records


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"when": "v >"}, "when"),
        ({"after": "2h"}, "longest is not shorter than after"),
        ({"before": "8d"}, "forget_after is not shorter than before"),
        ({"every": "8d"}, "forget_after is not shorter than every"),
        ({"max_future": "1s"}, "max_future belongs to time"),
        ({"max_bytes": "1B"}, "1024"),
        ({"fields": []}, "at least 1"),
        ({"name": "@x"}, "metadata"),
    ],
)
def test_options_without_a_meaning_are_refused(new_step: NewStep, options: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        new_step("capture", **{"when": "v"} | options)


def test_unknown_and_taken_names_are_refused(new_step: NewStep) -> None:
    known = frozenset({"v", "k"})
    assert new_step("capture", known, when="v").fields_after() == known | set(ADDED)
    unknown: list[dict[str, Any]] = [{"fields": ["w"]}, {"time": "w"}, {"when": "w"}, {"key": ["w"]}]
    for options in unknown:
        with pytest.raises(ConfigError, match="'w'"):
            new_step("capture", known, **{"when": "v"} | options)
    taken: list[dict[str, Any]] = [{"name": "k"}, {"fields": ["why_row"], "name": "why"}]
    for options in taken:
        with pytest.raises(ConfigError, match="choose another"):
            new_step("capture", known if "k" in options.values() else None, **{"when": "v"} | options)


@pytest.mark.parametrize("part", [b"\x91\x00\x90", b"\x91\x92\x00\x91"])
def test_a_state_whose_parts_do_not_fit_together_is_refused(new_step: NewStep, part: bytes) -> None:
    step = new_step("capture", **ALARM)
    step.process(records("."), at(0))
    state = step.snapshot()
    assert state is not None
    assert part in state
    with pytest.raises(ValueError, match="order of the records"):
        new_step("capture", **ALARM).restore(state.replace(part, part.replace(b"\x00", b"\x01")), at(0))


def test_the_memory_of_a_record_is_bounded(new_step: NewStep) -> None:
    step = new_step("capture", when="v > 1e9", key=["k"], max_records=100)
    keys = 100
    tracemalloc.start()
    try:
        for n in range(150):
            batch = [
                {"k": f"sensor-{key}", "v": key + n / 7, "unit": "C", "@received_at": f"{START}0.{n:06d}Z"}
                for key in range(keys)
            ]
            step.process(batch, at(n))
        del batch
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used / keys / 100 < 180


def test_the_memory_of_a_key_is_bounded(new_step: NewStep) -> None:
    keys = [{"k": f"sensor-{key}", "v": 1.0} for key in range(5000)]
    step = new_step("capture", when="v > 1e9", key=["k"], max_keys=10_000)
    tracemalloc.start()
    try:
        step.process(keys, at(0))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used / len(keys) < 500
