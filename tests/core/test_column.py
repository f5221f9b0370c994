"""A column is what a list with a value for each row would be."""

from hypothesis import given
from hypothesis import strategies as st

from streamd.core.column import Column

COUNT = 6
VALUES = st.one_of(
    st.integers(0, 3).map(lambda value: [value] * COUNT),
    st.lists(st.integers(0, 3), min_size=COUNT, max_size=COUNT),
)


def column(values: list[int], *, shared: bool) -> Column[int]:
    return Column(values[0]) if shared and len(set(values)) == 1 else Column.each(list(values), 0)


COLUMNS = st.tuples(VALUES, st.booleans()).map(lambda given: (column(given[0], shared=given[1]), given[0]))


@given(COLUMNS, st.integers(0, COUNT), st.integers(0, COUNT))
def test_rows_parts_and_chosen_rows_are_those_of_the_list(
    given: tuple[Column[int], list[int]], start: int, stop: int
) -> None:
    made, values = given
    assert [made[row] for row in range(COUNT)] == list(made.of(COUNT)) == values
    assert list(made.part(start, stop).of(len(values[start:stop]))) == values[start:stop]
    assert made.part(start, stop).same == [*values[start:stop], values[0]][0]
    rows = list(range(start, COUNT, 2))
    assert list(made.take(rows).of(len(rows))) == [values[row] for row in rows]
    assert list(made.map(str).of(COUNT)) == list(map(str, values))


@given(st.lists(COLUMNS, min_size=1, max_size=4))
def test_merged_columns_are_the_lists_one_behind_the_other(
    parts: list[tuple[Column[int], list[int]]],
) -> None:
    values = [value for _, each in parts for value in each]
    merged = Column.merge([(made, COUNT) for made, _ in parts])
    assert list(merged.of(len(values))) == values
    assert merged.same == values[0]


@given(COLUMNS, COLUMNS)
def test_a_column_that_is_extended_has_the_rows_of_both(
    one: tuple[Column[int], list[int]], other: tuple[Column[int], list[int]]
) -> None:
    extended = one[0].extended(COUNT, other[0], COUNT)
    assert list(extended.of(2 * COUNT)) == one[1] + other[1]


def test_rows_that_share_a_value_stay_one_value() -> None:
    same = Column("x")
    assert same.extended(3, Column(same.same), 2) is same
    assert same.part(1, 2) is same.take([0]) is same


def test_no_rows_have_the_value_they_are_given() -> None:
    assert Column.each([], 5.0).same == 5.0
