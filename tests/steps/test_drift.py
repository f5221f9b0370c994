import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.core.contracts import Step
from streamd.core.errors import ConfigError
from streamd.core.now import Now

NewStep = Callable[..., Step[Any]]
OPTIONS: list[dict[str, Any]] = [
    {"value": "n", "key": ["t"], "min_samples": 10},
    {"value": "n > 3", "method": "cusum", "min_samples": 10, "min_scale": 0.1, "emit": "flag"},
    {"value": "n", "method": "page_hinkley", "min_samples": 10, "threshold": 1, "max_keys": 1, "key": ["by"]},
    {"value": "n + 1", "time": "m", "forget_after": "3s", "min_samples": 10},
]
REFUSALS: dict[str, Any] = {}
CUSUM = {"value": "v", "key": ["k"], "method": "cusum", "min_samples": 10}
QUIET = [1.0, 3.0] * 5
FIELDS = ("drift", "drift_at", "level_before", "level_after", "values_before", "values_after")


def at(s: float) -> Now:
    return Now(1_700_000_000.0 + s, 50.0 + s)


def made_of(step: Step[Any], values: Any, s: float = 0.0, key: str = "a") -> list[dict[str, Any]]:
    """The records of changes; all others pass as they are."""
    records = [{"k": key, "v": value} for value in values]
    done = step.process([record.copy() for record in records], at(s))
    assert [record for record in done.records if "drift" not in record] == records
    made = [record for record in done.records if "drift" in record]
    assert done.emitted == len(made)
    return made


def test_a_change_makes_a_record_with_the_levels_before_the_one_that_revealed_it(new_step: NewStep) -> None:
    step = new_step("drift", **CUSUM)
    records = [
        {"k": "a", "v": v, "@source": "lab", "@peer": "p", "@received_at": f"2026-01-31T08:00:{n:02d}Z"}
        for n, v in enumerate([*QUIET, 6.0, 6.0, 6.0, 6.0])
    ]
    done = step.process([record.copy() for record in records], at(0))
    assert done.records == [
        *records[:12],
        {
            "@source": "lab",
            "@peer": "p",
            "@received_at": "2026-01-31T08:00:12Z",
            "k": "a",
            "drift": "up",
            "drift_at": "2026-01-31T08:00:12.000000Z",
            "level_before": 2.0,
            "level_after": 6.0,
            "values_before": 10,
            "values_after": 3,
        },
        *records[12:],
    ]
    assert done.emitted == 1
    assert step.context.counters.numbers() == {"changes": 1}


def test_a_change_may_be_added_to_the_record_that_revealed_it(new_step: NewStep) -> None:
    step = new_step("drift", **CUSUM, emit="flag")
    done = step.process([{"k": "a", "v": v} for v in [*QUIET, -2.0, -2.0, -2.0, -2.0]], at(0))
    assert [record["drift"] for record in done.records] == [None] * 12 + ["down", None]
    assert done.records[12]["level_after"] == -2.0
    assert done.records[12]["drift_at"] == "2023-11-14T22:13:20.000000Z"
    assert set(done.records[12]) == {"k", "v", *FIELDS}
    assert set(done.records[13]) == {"k", "v", "drift"}
    assert done.emitted == 0


def test_each_key_has_a_level_of_its_own(new_step: NewStep) -> None:
    step = new_step("drift", **CUSUM)
    assert made_of(step, QUIET, key="a") == made_of(step, [v * 100 for v in QUIET], key="b") == []
    (change,) = made_of(step, [10.0] * 3, key="a")
    assert change["k"] == "a"
    assert made_of(step, [210.0] * 9, key="b") == []
    numbered = new_step("drift", **CUSUM | {"key": ["k", "m"]})
    done = numbered.process([{"k": 1, "m": "x", "v": v} for v in [*QUIET, 9.0, 9.0, 9.0]], at(0))
    (change,) = (record for record in done.records if "drift" in record)
    assert (change["k"], change["m"]) == (1, "x")


@pytest.mark.parametrize("value", ["quality is None", "quality != 'good'"])
def test_the_share_of_records_that_fail_a_rule_is_followed(new_step: NewStep, value: str) -> None:
    rnd = random.Random(1)  # noqa: S311 - the same values in every run
    step = new_step("drift", value=value)
    records = [
        {"quality": None if rnd.random() < (0.02 if n < 3000 else 0.15) else "good"} for n in range(4000)
    ]
    if value.endswith("'good'"):
        for record in records:
            record["quality"] = record["quality"] or "bad"
    done = step.process(records, at(0))
    ((place, change),) = ((n, record) for n, record in enumerate(done.records) if "drift" in record)
    assert 3000 < place < 3200
    assert change["drift"] == "up"
    assert change["level_before"] == pytest.approx(0.02, abs=0.01)
    assert change["level_after"] == pytest.approx(0.15, abs=0.08)
    assert change["values_before"] + change["values_after"] == place + 1


def test_values_that_are_no_numbers_pass_and_are_not_learned(new_step: NewStep) -> None:
    plain, hostile = new_step("drift", **CUSUM), new_step("drift", **CUSUM)
    strange: list[Any] = [None, "7", float("nan"), float("inf"), -float("inf"), 10**400, 1e200, [1], {}]
    assert made_of(plain, [*QUIET, 9.0, 9.0, 9.0]) == made_of(hostile, [*QUIET, 9.0, *strange, 9.0, 9.0])
    assert hostile.process([{"k": "a"}], at(0)).records == [{"k": "a"}]
    assert hostile.context.counters.numbers() == {"changes": 1, "unlearned": len(strange) + 1}
    failing = new_step("drift", **CUSUM | {"value": "10 / v"})
    assert made_of(failing, [0, 1, "a", 2]) == []
    assert failing.context.counters.numbers() == {"unlearned": 2}


@pytest.mark.parametrize("method", ["adwin", "cusum", "page_hinkley"])
@pytest.mark.parametrize("big", [1e150, -1e150, 10**150, 5e-324])
def test_extreme_values_raise_nothing_and_levels_are_finite(new_step: NewStep, method: str, big: Any) -> None:
    step = new_step("drift", value="v", method=method, min_samples=10)
    for values in ([big] * 40, [0.0, big] * 100, [1.0, 2.0] * 50, [big] * 100, [True, False] * 40):
        for record in step.process([{"v": v} for v in values], at(0)).records:
            if "drift" in record:
                assert all(abs(record[name]) < 1e300 for name in FIELDS[2:])


def test_with_a_time_records_out_of_order_or_without_a_time_are_not_learned(new_step: NewStep) -> None:
    step = new_step("drift", **CUSUM, time="at", max_future="1h")
    start = 1_600_000_000
    records = [{"k": "a", "v": v, "at": start + n} for n, v in enumerate(QUIET)]
    others = [
        {"k": "a", "v": 99.0, "at": start - 5},
        {"k": "a", "v": 99.0, "at": "soon"},
        {"k": "a", "v": 99.0},
        {"k": "a", "v": 99.0, "at": "2023-11-14T23:13:21Z"},
        {"k": "a", "v": 99.0, "at": "0099-12-31T23:59:59Z"},
    ]
    changed = [{"k": "a", "v": 9.0, "at": start + 9} for _ in range(3)]
    done = step.process([*records, *others, *changed], at(0))
    (change,) = (record for record in done.records if "drift" in record)
    assert change["drift_at"] == "2020-09-13T12:26:49.000000Z"
    assert (change["level_after"], change["values_after"]) == (9.0, 3)
    assert step.context.counters.numbers() == {"changes": 1, "out_of_order": 1, "unlearned": 4}


def test_further_keys_are_not_learned_and_silent_keys_are_forgotten(new_step: NewStep) -> None:
    step = new_step("drift", **CUSUM, max_keys=1, forget_after="10s")
    assert made_of(step, QUIET, 0, "a") == made_of(step, [*QUIET, 9.0, 9.0, 9.0], 1, "b") == []
    assert step.context.counters.numbers() == {"unlearned": 13}
    assert made_of(step, [*QUIET, 9.0, 9.0, 9.0], 30, "b") == []
    assert len(made_of(step, [*QUIET, 9.0, 9.0, 9.0], 45, "b")) == 1
    assert step.context.counters.numbers()["forgotten"] == 1


@pytest.mark.parametrize("method", ["adwin", "cusum", "page_hinkley"])
@pytest.mark.parametrize("value", ["v", "v > 1"])
def test_a_restart_in_the_middle_changes_nothing(new_step: NewStep, method: str, value: str) -> None:
    rnd = random.Random(4)  # noqa: S311 - the same values in every run
    options = {"value": value, "method": method, "min_samples": 20, "key": ["k"], "min_scale": 0.1}
    through, restarted = new_step("drift", **options), new_step("drift", **options)
    changes = 0
    for n in range(60):
        batch = [{"k": rnd.choice("ab"), "v": rnd.gauss(n // 20 * 2, 1)} for _ in range(20)]
        if n % 7 == 3:
            state = restarted.snapshot()
            assert state is not None
            restarted = new_step("drift", **options)
            restarted.restore(state, at(n))
            assert restarted.snapshot() == state
        copies = [record.copy() for record in batch]
        done = through.process(batch, at(n))
        assert done.records == restarted.process(copies, at(n)).records
        changes += done.emitted
    assert changes >= 2


def test_a_state_of_another_method_is_refused(new_step: NewStep) -> None:
    step = new_step("drift", **CUSUM)
    made_of(step, [1.0])
    state = step.snapshot()
    assert state is not None
    with pytest.raises(ValueError, match="cusum"):
        new_step("drift", value="v").restore(state, at(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 5}, "'threshold' belongs to cusum and page_hinkley, not to adwin"),
        ({"method": "cusum", "confidence": 0.1}, "'confidence' belongs to adwin"),
        ({"method": "cusum", "clip": 0.5}, "clip is not greater than slack"),
        ({"confidence": 1}, "less than 1"),
        ({"min_samples": 5}, "greater than or equal to 10"),
        ({"value": "v +"}, "value"),
    ],
)
def test_options_without_a_meaning_are_refused(new_step: NewStep, options: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        new_step("drift", **{"value": "v"} | options)


def test_unknown_and_taken_names_are_refused(new_step: NewStep) -> None:
    known = frozenset({"v", "k"})
    assert new_step("drift", known, value="v", key=["k"]).fields_after() == known | set(FIELDS)
    for options in ({"value": "w"}, {"value": "v", "time": "w"}, {"value": "v", "key": ["w"]}):
        with pytest.raises(ConfigError, match="no field 'w'"):
            new_step("drift", known, **options)
    with pytest.raises(ConfigError, match="'drift' is a field of the records of changes"):
        new_step("drift", value="v", key=["drift"])


@pytest.mark.parametrize(("method", "most_bytes"), [("cusum", 700), ("page_hinkley", 700), ("adwin", 1800)])
def test_the_memory_of_a_key_is_bounded(new_step: NewStep, method: str, most_bytes: int) -> None:
    step = new_step("drift", value="v", key=["k"], method=method)
    keys, rnd = 300, random.Random(1)  # noqa: S311 - the same values in every run
    batches = [[{"k": f"sensor-{key}", "v": rnd.gauss(0, 1)} for key in range(keys)] for _ in range(30)]
    tracemalloc.start()
    try:
        for n in range(600):
            step.process(batches[n % 30], at(n))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used / keys < most_bytes


def test_a_key_that_sends_is_not_forgotten(new_step: NewStep) -> None:
    step = new_step("drift", **CUSUM, forget_after="10s")
    for n, value in enumerate([*QUIET, 9.0, 9.0]):
        assert made_of(step, [value], 7.0 * n) == []
    assert len(made_of(step, [9.0], 84.0)) == 1
    assert step.context.counters.numbers() == {"changes": 1}
