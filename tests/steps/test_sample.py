from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamd.core.contracts import DROP, Step
from streamd.core.errors import BadData, ConfigError
from streamd.core.now import Now

NewStep = Callable[..., Step[Any]]
OPTIONS: list[dict[str, Any]] = [{"rate": 0.3}, {"one_in": 3}, {"one_in": 2, "key": ["t", "n"]}]
REFUSALS: dict[str, Any] = {}


def chosen(step: Step[Any], ids: range | list[int], now: Now) -> list[int]:
    return [record["id"] for record in step.process([{"id": n} for n in ids], now).records]


def test_one_in_n_passes_at_even_distances_beginning_with_the_first(new_step: NewStep, now: Now) -> None:
    step = new_step("sample", one_in=10)
    assert chosen(step, range(35), now) == [0, 10, 20, 30]
    assert chosen(step, range(35, 52), now) == [40, 50]
    assert step.context.counters.numbers() == {"not_sampled": 46}


@pytest.mark.parametrize(
    ("rate", "ids"),
    [(0.3, [0, 4, 7, 10, 14, 17]), (0.1, [0, 10]), (0.999, [0, *range(2, 20)]), (0.5, [*range(0, 20, 2)])],
)
def test_a_rate_passes_its_share_at_even_distances(
    new_step: NewStep, now: Now, rate: float, ids: list[int]
) -> None:
    assert chosen(new_step("sample", rate=rate), range(20), now) == ids


def test_the_count_goes_on_after_a_restart(new_step: NewStep, now: Now) -> None:
    step = new_step("sample", one_in=10)
    chosen(step, range(13), now)
    again = new_step("sample", one_in=10)
    again.restore(step.snapshot() or b"", now)
    assert chosen(again, range(13, 32), now) == [20, 30]


@pytest.mark.parametrize("count", [-1, 10, 10**9])
def test_a_count_that_cannot_be_is_refused(new_step: NewStep, now: Now, count: int) -> None:
    step = new_step("sample", one_in=10)
    step._count = count  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="out of range"):
        new_step("sample", one_in=10).restore(step.snapshot() or b"", now)


def test_all_records_of_a_key_pass_or_none_and_everywhere_the_same(new_step: NewStep, now: Now) -> None:
    step = new_step("sample", rate=0.25, key=["id"])
    assert not step.is_stateful
    first = chosen(step, range(2000), now)
    assert chosen(step, range(2000), now) == first
    assert 400 < len(first) < 600
    # These must never change: other machines and other versions have to make the same choice.
    assert first[:10] == [2, 3, 6, 7, 8, 9, 10, 17, 27, 29]
    texts = new_step("sample", rate=0.25, key=["s"]).process([{"s": f"s-{n}"} for n in range(16)], now)
    assert [record["s"] for record in texts.records] == ["s-0", "s-1", "s-2", "s-13", "s-15"]


def test_a_larger_rate_passes_the_same_keys_and_more(new_step: NewStep, now: Now) -> None:
    sets = [set(chosen(new_step("sample", rate=r, key=["id"]), range(3000), now)) for r in (0.1, 0.5, 0.9)]
    assert sets[0] < sets[1] < sets[2]
    halves = [
        set(chosen(new_step("sample", key=["id"], **o), range(99), now))
        for o in ({"rate": 0.5}, {"one_in": 2})
    ]
    assert halves[0] == halves[1]


def test_a_record_without_a_key_is_rejected(new_step: NewStep, now: Now) -> None:
    step = new_step("sample", rate=0.5, key=["id"])
    assert [bad.reason for bad in step.process([{}], now).rejects] == ["key:missing"]
    with pytest.raises(BadData, match="key:missing"):
        step.process_one({}, now)


def test_one_record_alone(new_step: NewStep, now: Now) -> None:
    step = new_step("sample", one_in=2)
    assert [step.process_one({"id": n}, now) for n in range(3)] == [{"id": 0}, DROP, {"id": 2}]


def test_names_are_checked_against_the_schema(new_step: NewStep) -> None:
    with pytest.raises(ConfigError, match=r"^there is no field 'senser'") as refused:
        new_step("sample", frozenset({"sensor"}), key=["senser"], rate=0.5)
    assert refused.value.keys == ("key", 0)
    assert new_step("sample", frozenset({"sensor"}), rate=0.5).fields_after() == frozenset({"sensor"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either rate or one_in"),
        ({"rate": 0.5, "one_in": 2}, "either rate or one_in"),
        ({"rate": 0.0}, "greater than 0"),
        ({"rate": 1.0}, "less than 1"),
        ({"rate": float("nan")}, "rate"),
        ({"one_in": 1}, "greater than or equal to 2"),
    ],
)
def test_a_wrong_configuration_is_refused(new_step: NewStep, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        new_step("sample", **options)


@given(rate=st.floats(1e-6, 0.999999), count=st.integers(1, 300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_the_share_is_exact_at_every_moment(new_step: NewStep, now: Now, rate: float, count: int) -> None:
    passed = len(chosen(new_step("sample", rate=rate), range(count), now))
    exact = Fraction(repr(rate)) * count
    assert abs(passed - exact) < 1
