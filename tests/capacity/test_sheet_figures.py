import pytest

from streamd.capacity.figures import UnknownCapacityError
from streamd.capacity.sheet_figures import DECLARED, SheetFigure, completed, parse_figure
from streamd.core.errors import ConfigError


def measured(**values: float) -> dict[str, SheetFigure]:
    return {name: SheetFigure(value, "measured", "x") for name, value in values.items()}


def test_what_is_given_goes_before_what_was_measured_and_that_before_what_is_assumed() -> None:
    found = completed(
        measured(single_cpu_s_per_million=2.0, process_cores=1.1),
        [parse_figure("process_cores=1.5"), parse_figure("record_bytes=1_000")],
    )
    assert list(found) == [one.name for one in DECLARED]
    assert found["single_cpu_s_per_million"] == SheetFigure(2.0, "measured", "x")
    assert found["process_cores"] == SheetFigure(1.5, "given")
    assert found["head_room"] == SheetFigure(
        0.3, "assumed", "for peaks, and for the load of a machine that ends"
    )
    assert found["parquet_row_bytes"] == SheetFigure(1000.0, "assumed", "as long as the record")


def test_a_cost_that_is_not_known_is_taken_from_the_part_that_was_measured() -> None:
    single = completed(measured(single_cpu_s_per_million=2.0), [])
    assert single["edge_cpu_s_per_million"].value == single["worker_cpu_s_per_million"].value == 2.0
    assert single["edge_cpu_s_per_million"].origin == "assumed"
    assert single["sqlite_rows_per_s"].value == pytest.approx(500_000)
    edge = completed(measured(edge_cpu_s_per_million=3.0), [])
    assert edge["single_cpu_s_per_million"].value == edge["worker_cpu_s_per_million"].value == 3.0
    both = completed(measured(edge_cpu_s_per_million=3.0, worker_cpu_s_per_million=4.0), [])
    assert both["single_cpu_s_per_million"].value == 4.0


def test_without_any_cost_there_is_no_sheet() -> None:
    with pytest.raises(UnknownCapacityError, match="give --figure single_cpu_s_per_million=VALUE"):
        completed(measured(record_bytes=100), [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("machine_cores", "--figure machine_cores: not NAME=VALUE, like machine_cores=32"),
        ("machine_core=3", 'no figure machine_core (did you mean "machine_cores"?); there are head_room,'),
        ("machine_cores=3.5", "not a whole number from 1 to 4096 (cores of a machine)"),
        ("machine_cores=0", "not a whole number from 1 to 4096"),
        ("head_room=30%", "--figure head_room=30%: not a number from 0 to 0.95"),
        ("head_room=1", "not a number from 0 to 0.95"),
        ("head_room=-1", "not a number from 0 to 0.95"),
        ("record_bytes=nan", "not a number from 1 to 1e+09"),
        ("record_bytes=inf", "not a number from 1 to 1e+09"),
        ("record_bytes=", "not a number from 1 to 1e+09"),
        ("record_bytes=1e99", "not a number from 1 to 1e+09"),
        ("record_bytes=\u0661", "not a number from 1 to 1e+09"),
    ],
)  # fmt: skip
def test_wrong_figures_are_refused_with_what_would_do(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_figure(text)
    assert said in str(refused.value)


@pytest.mark.parametrize("one", DECLARED, ids=lambda one: one.name)
def test_an_assumed_value_could_be_given(one: object) -> None:
    found = completed(measured(single_cpu_s_per_million=2.0), [])
    name = one.name  # type: ignore[attr-defined]
    assert parse_figure(f"{name}={found[name].value}")[1].value == found[name].value
    assert found[name].why


def test_a_figure_comes_after_those_that_it_is_computed_from() -> None:
    completed(measured(single_cpu_s_per_million=2.0), [])  # else a KeyError
