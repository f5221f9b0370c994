from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamd.windows.aggregates import CHUNK, Aggregates
from streamd.windows.language import parse
from streamd.windows.summaries import Summaries, new_aggregates

quick = settings(max_examples=60, deadline=None)
TEXTS = ["count()", "count(v)", "sum(v)", "mean(v)", "min(v)", "max(v)"]
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.just(-0.0)
ROWS = st.lists(st.none() | NUMBERS, max_size=3 * CHUNK)


def both(texts: list[str]) -> tuple[Aggregates, Summaries]:
    aggregates = {text: parse(text) for text in texts}
    together = new_aggregates(aggregates)
    assert isinstance(together, Summaries)
    return Aggregates(aggregates), together


@quick
@given(parts=st.lists(ROWS, min_size=1, max_size=3), texts=st.permutations(TEXTS), size=st.integers(1, 6))
def test_computed_together_they_are_what_each_is_alone(
    parts: list[list[Any]], texts: list[str], size: int
) -> None:
    texts = sorted(texts[:size], key=texts.index)
    if not {"sum(v)", "mean(v)", "min(v)", "max(v)"} & set(texts):
        texts = [*texts, "max(v)"]
    alone, together = both(texts)
    whole: list[Any] = [None, None]
    for rows in parts:
        results = []
        for place, aggregates in enumerate((alone, together)):
            kept = list(rows)
            states = aggregates.load(aggregates.dump(aggregates.fold_chunks(None, kept)))
            results.append(aggregates.result(states, kept))
            states = aggregates.folded(states, kept)
            assert aggregates.results(states) == aggregates.result(None, rows) == results[-1]
            whole[place] = states if whole[place] is None else aggregates.merge(whole[place], states)
        assert results[0] == results[1]
        assert [(name, type(value)) for name, value in results[0].items()] == [
            (name, type(value)) for name, value in results[1].items()
        ]
    assert alone.results(whole[0]) == together.results(whole[1])


@pytest.mark.parametrize(
    "texts",
    [["mean(v)", "stddev(v)"], ["mean(v)", "max(u)"], ["max(v)", "last(v)"], ["count(v)"], ["distinct(v)"]],
)
def test_other_aggregates_have_a_state_each(texts: list[str]) -> None:
    assert type(new_aggregates({text: parse(text) for text in texts})) is Aggregates


def test_a_count_of_records_needs_no_field() -> None:
    alone, together = both(["count()"])
    rows = [None] * 200
    assert alone.result(None, rows) == together.result(None, rows) == {"count()": 200}


@pytest.mark.parametrize("stored", [[1], [1, 1, [1.0, 0.0], None, None], [1, "x", [0, 0], 1, 1], 7])
def test_a_state_of_other_values_is_refused(stored: Any) -> None:
    _, together = both(["max(v)"])
    with pytest.raises((ValueError, TypeError)):
        together.load(stored)


@pytest.mark.parametrize("parts", [([None], [2]), ([2], [None]), ([None], [None]), ([1.5], [2])])
def test_states_of_nulls_are_merged_too(parts: tuple[list[Any], list[Any]]) -> None:
    for aggregates in both(TEXTS):
        states = aggregates.merge(*(aggregates.folded(None, rows) for rows in parts))
        assert aggregates.results(states) == aggregates.result(None, [*parts[0], *parts[1]])
