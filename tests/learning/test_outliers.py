import random
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from math import inf, nan
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamd.anomalies.detector import KeyModel
from streamd.anomalies.limits import Limits
from streamd.anomalies.sorted_window import SortedWindow
from streamd.core.contracts import Step, StepContext
from streamd.core.errors import ConfigError
from streamd.core.now import Now
from streamd.learning.outliers import ONLY_SCALED, REMEMBERED, Outliers, _scaled
from streamd.steps.anomaly import Anomaly

NewStep = Callable[..., Step[Any]]
anomaly: Any = import_module("river.anomaly")
SMALL: dict[str, Any] = {"n_trees": 8, "height": 6}
TREES: dict[str, Any] = {"method": "half_space_trees", "fields": ["a", "b"], "params": SMALL}
LODA: dict[str, Any] = {"method": "loda", "fields": ["a", "b"], "params": {"n_random_cuts": 20}}
NAMES = ("anomaly", "anomaly_score", "anomaly_low", "anomaly_high")


@pytest.fixture
def now() -> Now:
    return Now(1_700_000_000.0, 1.0)


@pytest.fixture
def new_step(tmp_path: Path) -> NewStep:
    """Makes a step of the type `anomaly`."""

    def make(_: str, known: frozenset[str] | None = None, **options: Any) -> Step[Any]:
        return Anomaly(
            Anomaly.Config.model_validate(options), StepContext("anomaly[0]", "p", None, tmp_path, known)
        )

    return make


def rows(count: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """`b` follows `a`, so that (0.9, 0.1) is unusual though each value alone is not."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(count):
        a = rng.random()
        yield {"a": 20 + 10 * a, "b": 1000 * a + rng.gauss(0, 20)}


def see(step: Step[Any], records: list[dict[str, Any]], now: Now) -> list[tuple[Any, ...]]:
    done = step.process([record.copy() for record in records], now)
    return [tuple(record[name] for name in NAMES) for record in done.records]


@pytest.mark.parametrize(
    ("method", "new"),
    [
        ("half_space_trees", lambda: anomaly.HalfSpaceTrees(window_size=100, seed=1, **SMALL)),
        ("loda", lambda: anomaly.LODA(n_random_cuts=20, seed=1)),
    ],
)
def test_the_scores_are_those_of_river_alone_on_the_scaled_rows(method: str, new: Any) -> None:
    """The flag is true above the quantile of the last scores, each scored before it is learned."""
    params = SMALL if method == "half_space_trees" else {"n_random_cuts": 20}
    detector = Outliers(Limits(0.0, 0.0, 120, "all"), method, ["a", "b"], 100, 0.99, params)  # type: ignore[arg-type]
    model, alone = detector.new(), new()
    values = [tuple(row.values()) for row in rows(1500)]
    found = detector.see_all([model] * 1500, values, [0.0] * 1500)
    ranges = [SortedWindow(REMEMBERED), SortedWindow(REMEMBERED)]
    last = SortedWindow(REMEMBERED)
    fewest = max(120, 100 + ONLY_SCALED) if method == "half_space_trees" else 120
    for place, row in enumerate(values):
        x = dict(zip("ab", map(_scaled, row, ranges), strict=True))
        score = flag = None
        if place >= fewest:
            raw = alone.score_one(x)
            if len(last.values) >= 100:
                score, flag = raw, raw > last.quantile(0.99)
            last.add(raw)
        for value, its in zip(row, ranges, strict=True):
            its.add(value)
        if place >= ONLY_SCALED:
            alone.learn_one(x)
        assert (found.scores[place], found.flags[place]) == (score, flag)
    assert found.scores[: fewest + 100] == [None] * (fewest + 100)
    assert 3 < found.flags.count(True) < 75
    assert set(found.lows) == set(found.highs) == {None}


@pytest.mark.parametrize("options", [TREES, LODA])
def test_a_combination_is_unusual_though_each_value_alone_is_usual(
    new_step: NewStep, now: Now, options: dict[str, Any]
) -> None:
    step = new_step("anomaly", **options)
    seen = see(step, list(rows(1500)), now)
    assert {one[0] for one in seen[:500]} == {None}
    assert sum(one[0] is True for one in seen) < 40
    (far,) = see(step, [{"a": 60.0, "b": -3000.0}], now)
    assert far[0] is True
    if options is TREES:
        (odd,) = see(step, [{"a": 21.0, "b": 950.0}], now)
        assert odd[1] > sorted(one[1] for one in seen if one[1] is not None)[-60]
    assert step.context.counters.totals()["anomalies"] >= 1


@pytest.mark.parametrize("bad", [None, nan, inf, "7", True, 10**400, 1e200, [1]])
def test_a_record_without_a_finite_number_passes_without_a_score(
    new_step: NewStep, now: Now, bad: Any
) -> None:
    step = new_step("anomaly", **LODA | {"min_samples": 2, "threshold": 1.0})
    see(step, [*rows(60)], now)
    before = step.snapshot()
    assert see(step, [{"a": bad, "b": 1.0}, {"a": 21.0}, {"b": 1.0}], now) == [(None,) * 4] * 3
    assert step.snapshot() == before
    assert step.context.counters.numbers()["unscored"] == {"value": 3}


@pytest.mark.parametrize("options", [TREES, LODA])
def test_a_restart_in_the_middle_changes_no_score(
    new_step: NewStep, now: Now, options: dict[str, Any]
) -> None:
    options = options | {"min_samples": 300, "quantile": 0.99, "for": "1 of 3"}
    records = list(rows(1200))
    for place in (1000, 1001, 1002):
        records[place] = {"a": 90.0, "b": -5000.0 - place}
    whole, first, second = (new_step("anomaly", **options) for _ in range(3))
    expected = see(whole, records, now)
    before = see(first, records[:600], now)
    state = first.snapshot()
    assert state is not None
    again = Now(now.wall_s + 5, 7.0)
    second.restore(state, again)
    assert before + see(second, records[600:], again) == expected
    assert True in {one[0] for one in expected}


def test_a_state_of_another_version_of_river_or_with_another_model_is_refused(
    new_step: NewStep, now: Now
) -> None:
    step = new_step("anomaly", **LODA)
    see(step, [*rows(60)], now)
    state = step.snapshot()
    assert state is not None
    parts = msgspec.msgpack.decode(state, type=list)
    model = parts[4][""][0]
    for place, value, why in (
        (0, "0.1.0", "river 0.1.0 has stored the model"),
        (4, b"\x80\x05cos\nsystem\n.", "the stored model cannot be read"),
        (4, b"\x80\x05N.", "it is no model of LODA"),
        (1, [[1.0]], "it is no model of LODA of 2 fields"),
    ):
        changed = [value if n == place else part for n, part in enumerate(model)]
        parts[4][""][0] = changed
        with pytest.raises(ValueError, match=why):
            new_step("anomaly", **LODA).restore(msgspec.msgpack.encode(parts), now)


def test_with_learn_inside_an_unusual_record_is_not_learned(new_step: NewStep, now: Now) -> None:
    far = {"a": 500.0, "b": -9e5}
    for learn, repeats in (("inside", True), ("clipped", False)):
        step = new_step("anomaly", **TREES | {"learn": learn, "params": {**SMALL, "seed": 4}, "window": 60})
        see(step, [*rows(1000)], now)
        flags = [one[0] for one in see(step, [far] * 300, now)]
        assert flags[0] is True
        assert (flags[-1] is True) == repeats


def test_a_threshold_takes_the_place_of_the_quantile(new_step: NewStep, now: Now) -> None:
    step = new_step("anomaly", **TREES | {"threshold": 0.9, "min_samples": 10, "window": 50})
    seen = see(step, [*rows(400)], now)
    assert [one[1] is None for one in seen] == [True] * 100 + [False] * 300
    assert all(one[0] == (one[1] >= 0.9) for one in seen[100:])


def test_the_memory_is_bounded(new_step: NewStep, now: Now) -> None:
    step = new_step("anomaly", **TREES)
    see(step, [*rows(2500)], now)
    before = len(step.snapshot() or b"")
    see(step, [*rows(1000, seed=2)], now)
    assert len(step.snapshot() or b"") < before + 1000


def test_scaling_puts_usual_values_between_0_1_and_0_9_and_bounds_the_rest() -> None:
    its = SortedWindow(REMEMBERED, map(float, range(101)))
    assert _scaled(1.0, its) == pytest.approx(0.1)
    assert _scaled(99.0, its) == pytest.approx(0.9)
    assert _scaled(50.0, its) == pytest.approx(0.5)
    assert (_scaled(1e150, its), _scaled(-1e150, its)) == (2.0, -2.0)
    same = SortedWindow(REMEMBERED, [3.0] * 10)
    assert [_scaled(value, same) for value in (2.0, 3.0, 4.0)] == [0.0, 0.5, 1.0]
    assert _scaled(7.0, SortedWindow(REMEMBERED)) == 0.5
    assert KeyModel().last == 0


def test_a_field_that_the_step_adds_or_that_no_record_has_is_refused(new_step: NewStep) -> None:
    with pytest.raises(ConfigError, match="'anomaly_low' is also a field that this step adds"):
        new_step("anomaly", **TREES | {"fields": ["a", "anomaly_low"]})
    with pytest.raises(ConfigError, match="there is no field 'c'") as raised:
        new_step("anomaly", frozenset({"a", "b"}), **TREES | {"fields": ["a", "c"]})
    assert raised.value.keys == ("fields",)


def test_without_river_the_problem_names_the_extra_and_other_methods_need_none(
    new_step: NewStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "river"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "river", None)
    with pytest.raises(ConfigError, match=r"pip install 'streamd-daemon\[analytics\]'") as raised:
        new_step("anomaly", **TREES)
    assert raised.value.keys == ("method",)
    new_step("anomaly", field="a")
