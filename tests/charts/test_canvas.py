import pytest

from streamd.charts.canvas import MARKS, Canvas, colour_of, mark_of, painted, shade_of
from streamd.charts.chart import MOST_SERIES


def canvas(width: int = 8, height: int = 4, *, colour: bool = False, unicode: bool = True) -> Canvas:
    return Canvas(width, height, colour=colour, unicode=unicode)


def test_a_line_connects_its_points() -> None:
    field = canvas()
    field.lines([(0, 0), (1, 1)], 0, marks=True)
    assert list(field.rows()) == ["      **", "    **", "  **", "**"]


def test_a_line_of_dots_has_four_rows_and_two_columns_in_a_character() -> None:
    field = canvas(2, 1)
    field.lines([(0, 0), (1, 1)], 0, marks=False)
    assert list(field.rows()) == ["⡠⠊"]
    field = canvas(3, 1)
    field.lines([(0, 1), (1, 1)], 0, marks=False)
    assert list(field.rows()) == ["⠉⠉⠉"]


def test_nothing_connects_over_a_gap() -> None:
    field = canvas(9, 1)
    field.lines([(0, 0), (0.25, 0), None, (0.75, 0), (1, 0)], 0, marks=True)
    assert list(field.rows()) == ["***   ***"]


def test_one_point_is_larger_than_a_dot() -> None:
    field = canvas(1, 1)
    field.lines([(0, 1)], 0, marks=False)
    assert list(field.rows()) == ["⠛"]


def test_many_points_in_a_column_show_their_extremes() -> None:
    field = canvas(1, 4)
    field.lines([(0, 0.5)] + [(0, n / 100) for n in range(101)] + [(0, 0.5)], 0, marks=True)
    assert list(field.rows()) == ["*"] * 4


def test_the_order_within_a_column_is_kept_at_its_ends() -> None:
    field = canvas(3, 3)
    field.lines([(0, 0), (0, 1), (1, 1)], 0, marks=True)  # up, then right at the top
    assert list(field.rows()) == ["***", "*", "*"]


def test_areas_fill_from_below() -> None:
    field = canvas(3, 4)
    field.areas([[0.5, 1.0], [0.25, 0.25], []])
    assert list(field.rows()) == ["▓", "▓", "█", "██"]
    field = canvas(2, 2, unicode=False)
    field.areas([[0.5, 1.0], [1.0, 1.0]])
    assert list(field.rows()) == ["=#", "##"]


def test_areas_with_colours_have_eighths_of_rows() -> None:
    field = canvas(1, 2, colour=True)
    field.areas([[0.25, 1.0]])
    assert list(field.rows()) == [
        painted("█", (colour_of(1),)),
        painted("▄", (colour_of(0), colour_of(1) + 10)),
    ]


def test_a_level_is_behind_the_lines() -> None:
    field = canvas(4, 1)
    field.level(0, (2,))
    field.lines([(0, 0), (0.4, 0)], 0, marks=True)
    assert list(field.rows()) == ["**╌╌"]


def test_without_colours_no_control_sequence_is_written() -> None:
    field = canvas(4, 2)
    field.level(0.5, (2,))
    field.lines([(0, 0), (1, 1)], 3, marks=False)
    assert "\x1b" not in "".join(field.rows())


def test_every_series_differs_from_the_others() -> None:
    numbers = range(MOST_SERIES)
    assert len({colour_of(number) for number in numbers}) == MOST_SERIES
    assert len({mark_of(number) for number in numbers}) == MOST_SERIES
    assert len({shade_of(number, MOST_SERIES, unicode=True) for number in numbers}) == MOST_SERIES
    assert " " not in MARKS


@pytest.mark.parametrize("number", range(MOST_SERIES))
def test_the_background_of_a_colour_is_a_background(number: int) -> None:
    assert colour_of(number) + 10 in (*range(40, 48), *range(100, 108))
