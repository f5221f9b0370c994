import random
from typing import Any

import pytest

from streamd.windows.language import parse

RANDOM = random.Random(5)  # noqa: S311 - the same in every run
VALUES = [RANDOM.gauss(0, 1) for _ in range(20_000)]


def folded(text: str, values: list[Any], parts: int = 1) -> Any:
    one = parse(text)
    whole = one.empty()
    for part in range(parts):
        state = one.empty()
        for start in range(part * 64, len(values), parts * 64):
            state = one.fold(state, values[start : start + 64], ())
        kept = one.dump(state)
        whole = one.merge(whole, one.load(kept))
        assert one.dump(state) == kept  # it has not changed
    return one.result(whole)


@pytest.mark.parametrize("parts", [1, 7])
@pytest.mark.parametrize("rank", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_a_quantile_is_within_the_stated_error_of_its_rank(rank: float, parts: int) -> None:
    value = folded(f"quantile(v, {rank})", VALUES, parts)
    assert abs(sum(v <= value for v in VALUES) / len(VALUES) - rank) < 0.017
    assert folded(f"quantile(v, {rank})", [3, 1, 2], parts) == {0.0: 1, 0.01: 1, 0.5: 2}.get(rank, 3)


@pytest.mark.parametrize("parts", [1, 7])
@pytest.mark.parametrize("different", [1, 100, 5_000, 20_000])
def test_a_distinct_count_is_within_the_stated_error(different: int, parts: int) -> None:
    values = [f"value {n % different}" for n in range(20_000)]
    assert abs(folded("distinct(v)", values, parts) - different) <= 0.05 * different


@pytest.mark.parametrize("parts", [1, 7])
def test_the_most_frequent_values_are_exact_while_they_are_few(parts: int) -> None:
    values = [value for value, count in (("a", 500), (7, 300), (7.5, 200), (True, 100)) for _ in range(count)]
    RANDOM.shuffle(values)
    assert folded("top_k(v, 3)", values, parts) == [
        {"value": "a", "count": 500}, {"value": 7, "count": 300}, {"value": 7.5, "count": 200},
    ]  # fmt: skip


def test_equal_numbers_are_one_value_and_texts_and_booleans_are_others() -> None:
    values = [1, 1.0, "1", True, "true", "é", "é"]
    assert folded("distinct(v)", values) == 5
    assert len(folded("top_k(v, 9)", values)) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quantile(v)", "quantile is written quantile(field, q)"),
        ("quantile(v, 99)", "a number from 0 to 1"),
        ("quantile(v, half)", "a number from 0 to 1"),
        ("top_k(v, 0)", "a whole number from 1 to 100"),
        ("top_k(v, 101)", "a whole number from 1 to 100"),
        ("distinct()", "distinct is written distinct(field)"),
        ("percentile(v, 0.9)", "did you mean quantile(field, q)?"),
        ("avg(v)", "did you mean mean(field)?"),
        ("cuont(v)", "did you mean count([field])?"),
        ("mean", "'mean' is no aggregate; write one like 'mean(value)'"),
        ("sum(a + b)", "'a + b' is no field"),
        ("sum(@peer)", "metadata"),
        ("mean(a, b)", "mean is written mean(field)"),
    ],
)
def test_a_wrong_aggregate_is_refused_with_a_suggestion(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        parse(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "field"), [("mean( a.b )", "a.b"), ('max(field("a, b"))', "a, b"), ("count ( )", None)]
)
def test_the_name_of_a_field_is_one_key(text: str, field: str | None) -> None:
    assert parse(text).field == field


def test_without_the_package_the_refusal_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, *arguments: Any) -> Any:
        raise ImportError(name, arguments)

    monkeypatch.setattr("streamd.windows.sketches.import_module", missing)
    with pytest.raises(ValueError, match=r"distinct needs .* pip install 'streamd-daemon\[analytics\]'"):
        parse("distinct(v)")
    assert parse("mean(v)").field == "v"
