import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.core.contracts import Step
from streamd.core.errors import ConfigError
from streamd.core.now import Now
from streamd.core.timestamp import from_epoch

NewStep = Callable[..., Step[Any]]
OPTIONS: list[dict[str, Any]] = [
    {"field": "n", "every": "1s"},
    {"field": "n", "every": "500ms", "horizon": ["500ms", "2s"], "key": ["t"], "watermark_delay": "1s"},
    {"field": "n", "every": "1s", "season": "3s", "time": "m", "key": ["by"], "max_keys": 1},
    {"field": "n", "every": "1s", "level": 0.5, "errors": 10, "forget_after": "3s", "max_future": "1s"},
]
REFUSALS: dict[str, Any] = {}
MINUTES = {"field": "v", "key": ["k"], "every": "1m", "time": "at"}
BEGAN_S = 1_700_000_040
"""The beginning of a minute."""
PREDICTION = ("forecast", "made_at", "target", "horizon_s", "predicted", "low", "high")
SCORE = ("actual", "error", "inside_band", "naive_error")


def at(s: float) -> Now:
    return Now(BEGAN_S + 1e6 + s, 50.0 + s)


def reading(minute: float, value: Any, key: str = "a") -> dict[str, Any]:
    return {"k": key, "v": value, "at": BEGAN_S + 60 * minute}


def made_of(step: Step[Any], records: list[dict[str, Any]], s: float = 0.0) -> list[dict[str, Any]]:
    """The records of forecasts; all others pass as they are."""
    done = step.process([record.copy() for record in records], at(s))
    assert [record for record in done.records if "forecast" not in record] == records
    made = [record for record in done.records if "forecast" in record]
    assert done.emitted == len(made)
    assert not done.rejects
    return [{name: its for name, its in one.items() if not name.startswith("@")} for one in made]


def test_when_an_interval_ends_its_prediction_is_scored_and_the_next_ones_are_made(new_step: NewStep) -> None:
    step = new_step("forecast", **MINUTES, half_life=1, damping=0)
    records = [reading(0, 4.0), reading(0.5, 6.0), reading(1.2, 9.0), reading(2.0, 1.0)]
    for record in records:
        record |= {"@source": "lab", "@peer": "p", "@received_at": from_epoch(record["at"] + 1)}
    done = step.process([record.copy() for record in records], at(0))
    metadata = [{name: one[name] for name in ("@source", "@peer", "@received_at")} for one in records]
    assert done.records == [
        records[0],
        records[1],
        {
            **metadata[2],
            "k": "a",
            "forecast": "prediction",
            "made_at": "2023-11-14T22:15:00.000000Z",
            "target": "2023-11-14T22:16:00.000000Z",
            "horizon_s": 60.0,
            "predicted": 5.0,
            "low": None,
            "high": None,
        },
        records[2],
        {
            **metadata[3],
            "k": "a",
            "forecast": "score",
            "made_at": "2023-11-14T22:15:00.000000Z",
            "target": "2023-11-14T22:16:00.000000Z",
            "horizon_s": 60.0,
            "predicted": 5.0,
            "low": None,
            "high": None,
            "actual": 9.0,
            "error": 4.0,
            "inside_band": None,
            "naive_error": 4.0,
        },
        {
            **metadata[3],
            "k": "a",
            "forecast": "prediction",
            "made_at": "2023-11-14T22:16:00.000000Z",
            "target": "2023-11-14T22:17:00.000000Z",
            "horizon_s": 60.0,
            "predicted": 7.0,
            "low": None,
            "high": None,
        },
        records[3],
    ]
    assert done.emitted == 3
    assert step.context.counters.numbers() == {"predictions": 2}


def test_the_band_comes_with_enough_errors_and_each_value_is_inside_or_outside(new_step: NewStep) -> None:
    rnd = random.Random(1)  # noqa: S311 - the same values in every run
    step = new_step("forecast", **MINUTES)
    made = made_of(step, [reading(n, rnd.gauss(20, 1)) for n in range(1000)])
    scores = [one for one in made if one["forecast"] == "score"]
    assert [one["inside_band"] for one in scores[:19]] == [None] * 19
    later = scores[19:]
    for one in later:
        assert one["inside_band"] == (one["low"] <= one["actual"] <= one["high"])
        assert one["error"] == one["actual"] - one["predicted"]
    inside = sum(one["inside_band"] for one in later)
    assert inside / len(later) == pytest.approx(0.95, abs=0.02)
    better = sum(abs(one["error"]) < abs(one["naive_error"]) for one in scores)
    assert step.context.counters.numbers() == {
        "predictions": 999,
        "inside": inside,
        "outside": len(later) - inside,
        "better": better,
    }


def test_several_horizons_of_several_keys_and_a_season(new_step: NewStep) -> None:
    step = new_step("forecast", **MINUTES, horizon=["1m", "1h"], season="1h")
    profile = [10.0 if n % 60 < 30 else 30.0 for n in range(240)]
    made = made_of(
        step, [reading(n, value + shift, key) for n, value in enumerate(profile) for key, shift in SHIFTS]
    )
    assert {(one["k"], one["horizon_s"]) for one in made} == {
        (key, s) for key, _ in SHIFTS for s in (60.0, 3600.0)
    }
    assert made[0]["target"] == from_epoch(BEGAN_S + 61 * 60)
    scores = [one for one in made if one["forecast"] == "score"]
    assert all(one["error"] == pytest.approx(0.0, abs=1e-9) for one in scores)
    assert len(scores) == 2 * (239 - 60) + 2 * (239 - 60 - 59)


SHIFTS = (("a", 0.0), ("b", 100.0))


def test_without_time_the_time_of_receipt_counts(new_step: NewStep) -> None:
    step = new_step("forecast", field="v", every="1m")
    records = [{"v": 5.0, "@received_at": from_epoch(BEGAN_S + 30 * n)} for n in range(4)]
    done = step.process(records, at(0))
    (made,) = [record for record in done.records if "forecast" in record]
    assert made["made_at"] == from_epoch(BEGAN_S + 60)
    assert made["@received_at"] == from_epoch(BEGAN_S + 60)


def test_hostile_values_and_times_pass_and_are_not_learned(new_step: NewStep) -> None:
    plain, hostile = new_step("forecast", **MINUTES), new_step("forecast", **MINUTES)
    good = [reading(n, float(n)) for n in range(5)]
    values: list[Any] = [None, "7", True, float("nan"), float("inf"), 10**400, -1e200, [1], {}]
    bad = [reading(1, value) for value in values]
    bad += [
        reading(1, 1.0) | {"at": when} for when in (None, "soon", True, 1e9 * 1e9, "9999-01-01T00:00:00Z")
    ]
    late = [reading(0, 1.0), reading(-(10**6), 1.0)]
    assert made_of(plain, good) == made_of(hostile, good[:2] + bad[:9] + late + bad[9:] + good[2:])
    counts = hostile.context.counters.numbers()
    assert (counts["unlearned"], counts["out_of_order"]) == (len(bad), len(late))
    assert hostile.process([{"k": "a"}], at(0)).records == [{"k": "a"}]


@pytest.mark.parametrize("big", [1e150, -1e150, 10**149, 5e-324])
@pytest.mark.parametrize("damping", [0.95, 1])
def test_extreme_values_make_finite_forecasts(new_step: NewStep, big: Any, damping: float) -> None:
    step = new_step("forecast", **MINUTES, horizon=["1m", "9000m"], damping=damping)
    made = made_of(step, [reading(n, big if n % 3 else 0) for n in range(200)])
    assert made
    assert all(abs(value) < 1e300 for one in made for value in one.values() if isinstance(value, float))


def test_a_record_ends_no_interval_of_another_key(new_step: NewStep) -> None:
    step = new_step("forecast", **MINUTES)
    assert made_of(step, [reading(0, 1.0, "a"), reading(5, 1.0, "b")]) == []
    assert [one["k"] for one in made_of(step, [reading(1, 1.0, "a"), reading(5.5, 1.0, "b")])] == ["a"]


def test_skipped_intervals_are_counted(new_step: NewStep) -> None:
    step = new_step("forecast", **MINUTES)
    made_of(step, [reading(n, 1.0) for n in (0, 1, 5, 6)])
    assert step.context.counters.numbers() == {"predictions": 3, "unverified": 1}


def test_further_keys_are_not_learned_and_silent_keys_are_forgotten(new_step: NewStep) -> None:
    step = new_step("forecast", **MINUTES, max_keys=1, forget_after="10s")
    assert made_of(step, [reading(0, 1.0, "a"), reading(0, 1.0, "b"), reading(1, 1.0, "b")]) == []
    assert step.context.counters.numbers() == {"unlearned": 2}
    made_of(step, [reading(0, 1.0, "b")], 30)
    assert len(made_of(step, [reading(n, 1.0, "b") for n in (0, 1)], 45)) == 1
    assert step.context.counters.numbers()["forgotten"] == 1


@pytest.mark.parametrize("options", [{}, {"season": "10m", "watermark_delay": "2m", "horizon": ["1m", "7m"]}])
def test_a_restart_in_the_middle_changes_nothing(new_step: NewStep, options: dict[str, Any]) -> None:
    rnd = random.Random(4)  # noqa: S311
    through, restarted = (new_step("forecast", **MINUTES, **options) for _ in range(2))
    made = 0
    for n in range(60):
        batch = [
            reading(n + rnd.random() * 3, rnd.gauss(n % 10, 1), rnd.choice("ab"))
            for _ in range(rnd.randint(0, 4))
        ]
        if n % 7 == 3:
            state = restarted.snapshot()
            assert state is not None
            old, restarted = restarted, new_step("forecast", **MINUTES, **options)
            restarted.restore(state, at(n))
            assert restarted.snapshot() == state
            for name, count in old.context.counters.numbers().items():
                restarted.context.counters.add(name, count)  # type: ignore[arg-type]  # it has no parts
        found = made_of(through, batch, n)
        assert found == made_of(restarted, batch, n)
        made += len(found)
    assert made > 50
    assert through.context.counters.numbers() == restarted.context.counters.numbers()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": "90s"}, "90 s is no multiple of every, 60 s"),
        ({"horizon": ["1m", "60s"]}, "one is there twice"),
        ({"horizon": "0s"}, "no multiple"),
        ({"horizon": []}, "at least 1"),
        ({"horizon": 60}, 'write "60s"'),
        ({"horizon": "10001m"}, "at most 10000 intervals"),
        ({"every": "365d", "horizon": "4015d"}, "horizon: at most 3660d"),
        ({"every": "4000d"}, "every: at most 3660d"),
        ({"season": "90s"}, "no multiple of every"),
        ({"season": "1m"}, "less than twice"),
        ({"season": "10m", "buckets": 4}, "10 intervals cannot be divided into 4"),
        ({"buckets": 24}, "there is none"),
        ({"watermark_delay": "1001m"}, "at most 1000 times every"),
        ({"level": 0.99, "errors": 98}, "needs at least 99"),
        ({"every": "0s"}, "greater than 0"),
    ],
)
def test_options_without_a_meaning_are_refused(new_step: NewStep, options: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        new_step("forecast", **{"field": "v", "every": "1m"} | options)


def test_a_season_of_many_intervals_has_fewer_buckets(new_step: NewStep) -> None:
    for options, season in (
        ({"every": "5m", "season": "1d"}, (288, 1)),
        ({"every": "1m", "season": "1d"}, (288, 5)),
        ({"every": "5m", "season": "1w"}, (288, 7)),
        ({"every": "5m", "season": "1d", "buckets": 24}, (24, 12)),
    ):
        found = new_step("forecast", field="v", **options).config.seasons()
        assert (found.buckets, found.intervals) == season


def test_unknown_and_taken_names_are_refused(new_step: NewStep) -> None:
    known = frozenset({"v", "k"})
    step = new_step("forecast", known, field="v", every="1m", key=["k"])
    assert step.fields_after() == known | {*PREDICTION, *SCORE}
    for options in ({"field": "w"}, {"time": "w"}, {"key": ["w"]}):
        with pytest.raises(ConfigError, match="no field 'w'"):
            new_step("forecast", known, **{"field": "v", "every": "1m"} | options)
    with pytest.raises(ConfigError, match="'error' is a field of the records of forecasts"):
        new_step("forecast", field="v", every="1m", key=["error"])


@pytest.mark.parametrize(
    ("options", "most_bytes"), [({}, 3500), ({"season": "4h", "horizon": ["1m", "1h"]}, 11_500)]
)
def test_the_memory_of_a_key_is_bounded(new_step: NewStep, options: Any, most_bytes: int) -> None:
    keys = [f"sensor-{key}" for key in range(20)]

    def fill(step: Step[Any]) -> None:
        for n in range(500):
            step.process([reading(n, n % 7, key) for key in keys], at(n))

    step = new_step("forecast", **MINUTES, **options)
    fill(new_step("forecast", **MINUTES, **options))  # the caches of times are no part of a step
    tracemalloc.start()
    try:
        fill(step)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used / len(keys) < most_bytes


def test_a_key_that_sends_is_not_forgotten(new_step: NewStep) -> None:
    step = new_step("forecast", **MINUTES, forget_after="10s")
    made = [made_of(step, [reading(n, float(n))], 7.0 * n) for n in range(9)]
    assert [len(some) for some in made] == [0, 1] + [2] * 7
