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
    {"field": "n", "key": ["t"], "min_samples": 2},
    {"field": "n", "method": "hampel", "window": 5, "key": ["by"], "max_keys": 1, "forget_after": "3s"},
    {"field": "n", "method": "quantile", "window": 5, "min_samples": 3, "for": "2 of 3"},
    {"field": "n", "method": "seasonal", "season": "4s", "buckets": 2, "min_samples": 2, "min_width": 1},
    {"method": "loda", "fields": ["n"], "params": {"n_random_cuts": 2}, "min_samples": 2, "threshold": 1},
]
REFUSALS: dict[str, Any] = {}
QUIET = {"min_samples": 4, "method": "ewma", "half_life": 1000, "field": "v", "key": ["k"]}
NAMES = ("anomaly", "anomaly_score", "anomaly_low", "anomaly_high")


def at(s: float) -> Now:
    return Now(1_700_000_000.0 + s, 50.0 + s)


def found(step: Step[Any], values: Any, s: float = 0.0, key: str = "a") -> list[Any]:
    done = step.process([{"k": key, "v": value} for value in values], at(s))
    return [tuple(record[name] for name in NAMES) for record in done.records]


def flags(step: Step[Any], values: Any, s: float = 0.0, key: str = "a") -> str:
    return "".join({None: "-", False: ".", True: "!"}[one[0]] for one in found(step, values, s, key))


def test_all_records_pass_with_flag_score_and_band(new_step: NewStep) -> None:
    step = new_step("anomaly", **QUIET)
    *warming, high, low = found(step, [1, 3.0, 1.0, 3.0, 7.0, 2.0])
    assert warming == [(None,) * 4] * 4
    assert high == (True, 5.0, -2.0, 6.0)
    assert low[0] is False
    assert step.context.counters.numbers() == {"anomalies": 1}


def test_each_key_has_a_model_of_its_own(new_step: NewStep) -> None:
    step = new_step("anomaly", **QUIET)
    assert flags(step, [1, 3, 1, 3], key="a") == "----"
    assert flags(step, [100, 300, 100, 300, 200], key="b") == "----."
    assert flags(step, [200, 2], key="a") == "!."


def test_values_that_are_no_numbers_pass_without_a_score_and_are_not_learned(new_step: NewStep) -> None:
    step = new_step("anomaly", **QUIET)
    assert (
        flags(step, [1, 3, None, "7", True, float("nan"), float("inf"), 10**400, 1e200, 1, 3, 2])
        == "-" * 11 + "."
    )
    assert step.process([{"k": "a"}], at(0)).records == [{"k": "a", **dict.fromkeys(NAMES)}]
    assert step.context.counters.numbers() == {"unscored": {"value": 8}}


def test_equal_values_have_no_score_unless_there_is_a_least_width(new_step: NewStep) -> None:
    assert flags(new_step("anomaly", **QUIET), [5, 5, 5, 5, 5, 9]) == "------"
    wide = new_step("anomaly", **QUIET, min_width=2)
    assert found(wide, [5, 5, 5, 5, 6, 9])[4:] == [
        (False, 2.0, 3.0, 7.0),
        (True, pytest.approx(7.6), *[pytest.approx(x) for x in (3.2, 7.2)]),
    ]


def test_a_flag_may_need_several_unusual_values(new_step: NewStep) -> None:
    step = new_step("anomaly", **QUIET, **{"for": "2 of 3", "learn": "inside"})
    assert flags(step, [1, 3, 1, 3, 9, 2, 9, 9, 2, 2, 9]) == "----..!!..."


@pytest.mark.parametrize(("learn", "mean"), [("all", 21.6), ("clipped", 2.8), ("inside", 2.0)])
def test_an_unusual_value_is_learned_as_far_as_the_option_says(
    new_step: NewStep, learn: str, mean: float
) -> None:
    step = new_step("anomaly", **QUIET, learn=learn, name="odd")
    (*_, last) = step.process([{"k": "a", "v": v} for v in (1, 3, 1, 3, 100, 2)], at(0)).records
    assert (last["odd_low"] + last["odd_high"]) / 2 == pytest.approx(mean)


def test_further_keys_pass_unscored_and_silent_keys_are_forgotten(new_step: NewStep) -> None:
    step = new_step("anomaly", **QUIET, max_keys=1, forget_after="10s")
    assert flags(step, [1, 3, 1, 3, 2], 0, "a") == "----."
    assert flags(step, [2, 2], 1, "b") == "--"
    assert flags(step, [2], 9, "a") == "."
    assert flags(step, [1, 3, 1, 3, 2], 30, "b") == "-----"
    assert flags(step, [1, 3, 1, 3, 2], 45, "b") == "----."
    assert step.context.counters.numbers() == {"forgotten": 1, "unscored": {"keys": 7}}


def test_a_season_is_measured_by_the_time_of_the_record(new_step: NewStep) -> None:
    step = new_step(
        "anomaly", field="v", method="seasonal", season="1h", buckets=4, min_samples=2, min_width=1, time="at"
    )
    values = [(900.0 * n, [10, 20, 30, 0][n % 4]) for n in range(12)]
    done = step.process([{"v": v, "at": 1_699_999_200 + s} for s, v in values], at(9_200))
    assert [record["anomaly"] for record in done.records] == [None] * 6 + [False] * 6
    late = {"v": 30, "at": "2023-11-14T22:00:00Z"}
    bad = {"v": 10, "at": "never"}
    ahead = [{"v": 30, "at": 1_700_009_200 + s} for s in (300, 301)]
    done = step.process([late, bad, *ahead], at(9_200))
    assert [record["anomaly"] for record in done.records] == [True, None, True, None]
    assert step.context.counters.numbers() == {"anomalies": 2, "unscored": {"value": 2}}


@pytest.mark.parametrize("options", OPTIONS)
def test_a_restart_in_the_middle_changes_no_score(new_step: NewStep, options: dict[str, Any]) -> None:
    rnd = random.Random(3)  # noqa: S311 - the same values in every run
    batches = [
        [
            {
                "n": rnd.gauss(0, 1),
                "t": rnd.choice("ab"),
                "by": "x",
                "@received_at": f"2026-01-31T08:00:{n:02d}Z",
            }
            for _ in range(5)
        ]
        for n in range(20)
    ]
    through, restarted = new_step("anomaly", **options), new_step("anomaly", **options)
    for n, batch in enumerate(batches):
        if n == 10:
            state = restarted.snapshot()
            assert state is not None
            restarted = new_step("anomaly", **options)
            restarted.restore(state, at(n / 10))
        copies = [record.copy() for record in batch]
        assert through.process(batch, at(n / 10)).records == restarted.process(copies, at(n / 10)).records


def test_a_state_of_another_method_is_refused(new_step: NewStep) -> None:
    step = new_step("anomaly", **QUIET)
    found(step, [1])
    state = step.snapshot()
    assert state is not None
    with pytest.raises(ValueError, match="ewma"):
        new_step("anomaly", field="v", method="hampel").restore(state, at(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 9}, "'window' belongs to hampel, quantile and half_space_trees, not to ewma"),
        ({"method": "seasonal"}, "needs a season"),
        ({"method": "hampel", "season": "1d"}, "'season' belongs to seasonal"),
        ({"method": "quantile", "quantiles": [0.6, 0.9]}, "one below and one above"),
        ({"method": "seasonal", "season": "1d", "max_future": "1m"}, "max_future belongs to time"),
        ({"method": "hampel", "window": 9, "min_samples": 10}, "at most the window, 9"),
        ({"for": "6 of 5"}, "no more can be unusual"),
        ({"threshold": 0}, "greater than 0"),
        ({"field": "@peer"}, "metadata"),
    ],
)
def test_options_without_a_meaning_are_refused(new_step: NewStep, options: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        new_step("anomaly", **{"field": "v"} | options)


def test_unknown_and_taken_names_are_refused(new_step: NewStep) -> None:
    known = frozenset({"v", "k"})
    assert new_step("anomaly", known, field="v").fields_after() == known | set(NAMES)
    with pytest.raises(ConfigError, match="there is no field 'w'"):
        new_step("anomaly", known, field="w")
    with pytest.raises(ConfigError, match="choose another"):
        new_step("anomaly", field="odd_low", name="odd")


@pytest.mark.parametrize(
    ("options", "most_bytes"),
    [({}, 450), ({"method": "hampel"}, 1150), ({"method": "quantile", "window": 100}, 2400)],
)
def test_the_memory_of_a_key_is_bounded(new_step: NewStep, options: Any, most_bytes: int) -> None:
    step = new_step("anomaly", field="v", key=["k"], **options)
    keys = 500
    tracemalloc.start()
    try:
        for n in range(120):
            step.process([{"k": f"sensor-{key}", "v": key + n / 7} for key in range(keys)], at(n))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used / keys < most_bytes
