from collections.abc import Callable

import pytest

from streamd.admin.status_answer import StatusAnswer
from streamd.core.printable import cells
from streamd.top.columns import COLUMNS, GAP, cell, fitting, in_order
from streamd.top.flow_units import Counts, FlowUnit, flow_units


def unit(name: str, n: int = 0, **more: float) -> FlowUnit:
    return FlowUnit("sink", name, Counts(n, n), **more)  # type: ignore[arg-type]  # only rates


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 300])
def test_the_columns_fit_and_the_name_stays(width: int, status: Callable[..., StatusAnswer]) -> None:
    units = [*flow_units(status(), None), unit("数据" * 20, 123_456_789)]
    columns = fitting(units, width)
    assert columns[0][0].heading == "name"
    total = sum(w for _, w in columns) + GAP * (len(columns) - 1)
    assert total <= max(width, 35)
    assert {"in/s", "lost", "fill"} <= {column.heading for column, _ in columns}
    for one in units:
        assert all(cells(cell(column, one, w)) == w for column, w in columns)


def test_the_least_important_columns_give_way_first() -> None:
    wide = [column.heading for column, _ in fitting([unit("a")], 200)]
    assert wide == [column.heading for column in COLUMNS]
    narrow = [column.heading for column, _ in fitting([unit("a")], 80)]
    assert "lost/s" not in narrow
    assert narrow[:3] == ["name", "in/s", "out/s"]


def test_names_are_sorted_from_a_and_numbers_from_the_greatest() -> None:
    units = [unit("b", entered_per_s=1.0), unit("a", entered_per_s=3.0), unit("c")]

    def names(column: int | None, *, reverse: bool = False) -> str:
        return "".join(one.name for one in in_order(units, column, reverse=reverse))

    assert names(None) == "bac"
    assert names(0) == "abc"
    assert names(0, reverse=True) == "cba"
    assert names(1) == "abc"
    assert names(1, reverse=True) == "bac"  # a unit without a value stays last


@pytest.mark.parametrize("column", range(len(COLUMNS)))
def test_every_column_can_be_sorted(column: int, status: Callable[..., StatusAnswer]) -> None:
    units = flow_units(status(), None)
    assert sorted(u.name for u in in_order(units, column, reverse=False)) == sorted(u.name for u in units)


def test_a_hostile_name_is_escaped_in_its_cell() -> None:
    assert cell(COLUMNS[0], unit("a\x1b[2Jb"), 12) == "a\\x1b[2Jb   "
