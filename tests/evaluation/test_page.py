"""The figures of the page are those of the code: a test fails if the step changes and the page does not."""

import re

import pytest

from tests.evaluation import datasets, page
from tests.evaluation.page import PAGE, block, cells, options_of, with_block
from tests.evaluation.rows import Row, all_rows, of_constants, of_fixed_limits, of_options
from tests.evaluation.run import DRIFT, NOISE, blocks, drift_blocks, sources
from tests.evaluation.series import Series

TEXT = PAGE.read_text(encoding="utf-8")


def rows_of(name: str) -> list[tuple[str, ...]]:
    """The rows of a table of the page, as cells."""
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in block(TEXT, name)[2:]]


@pytest.mark.parametrize("name", ["flow", "leaks"])
def test_all_figures_of_the_water_flow_are_as_measured_now(name: str) -> None:
    series = sources(PAGE)[name]()
    for title, lines in blocks(name, series, list(all_rows(series))).items():
        assert block(TEXT, title) == lines, f"make evaluate EVALUATE='--only {name}'"


@pytest.fixture(scope="module")
def plant() -> Series:
    return datasets.plant()


def test_the_figures_of_the_plant_are_those_of_the_options_in_each_row(plant: Series) -> None:
    rows = [*of_constants(plant), of_fixed_limits(plant)]
    for detector, options, *_ in rows_of("plant")[3:]:
        rows.append(of_options(plant, detector, options_of(plant, detector, options)))
    assert len(rows) == 15
    for title, lines in blocks("plant", plant, rows).items():
        assert block(TEXT, title) == lines, "make evaluate EVALUATE='--only plant'"


def test_the_figures_of_the_plant_that_is_clean_at_first_are_those_of_its_rows() -> None:
    series = datasets.plant_with_a_clean_season()
    rows = [of_options(series, row[0], options_of(series, row[0], row[1])) for row in rows_of("clean")]
    assert len(rows) == 3
    assert blocks("clean", series, rows) == {"clean": block(TEXT, "clean")}


def test_the_shares_of_flagged_noise_are_as_measured_now() -> None:
    assert block(TEXT, "noise") == page.noise_table(), "make evaluate EVALUATE='--only noise'"


def test_the_figures_of_changes_are_as_measured_now() -> None:
    for title, lines in drift_blocks().items():
        assert block(TEXT, title) == lines, "make evaluate EVALUATE='--only drift'"


def test_every_table_is_filled() -> None:
    named = re.findall(r"<!-- figures: (.*) -->", TEXT)
    assert {re.sub(" by .*", "", name) for name in named} == {*sources(PAGE), NOISE, DRIFT}
    for name in named:
        assert len(block(TEXT, name)) >= 5, name


def test_every_picture_is_on_the_page_and_small() -> None:
    pictures = {path.name for path in PAGE.parent.glob("anomalies-*.svg")}
    assert set(re.findall(r"\]\((anomalies-[^)]*\.svg)\)", TEXT)) == pictures
    for name in pictures:
        assert (PAGE.parent / name).stat().st_size < 150_000, name


def test_a_block_is_replaced_and_the_rest_stays() -> None:
    text = "a\n<!-- figures: x -->\nold\n<!-- end: x -->\nb\n"
    assert block(text, "x") == ["old"]
    new = with_block(text, "x", ["| 1 |", "| 2 |"])
    assert new == "a\n<!-- figures: x -->\n\n| 1 |\n| 2 |\n\n<!-- end: x -->\nb\n"
    assert with_block(new, "x", ["old"]) == text.replace("old\n", "\nold\n\n")
    with pytest.raises(ValueError, match="no block 'y'"):
        with_block(text, "y", [])


def test_a_row_says_its_options_and_figures(plant: Series) -> None:
    options = {
        "field": "value",
        "method": "seasonal",
        **(plant.season or {}),
        "threshold": 3.0,
        "for": "2 of 3",
    }
    outcome = plant.judge(plant.labels, plant.second_half)
    told = cells(plant, Row("`seasonal`, chosen", outcome, options, outcome + outcome))
    assert told == (
        "`seasonal`, chosen", '`threshold = 3, for = "2 of 3"`', "110 of 110", "1.000", "1.000", "0 (0)",
        "0 s", "1.000, 1.000",
    )  # fmt: skip
    assert options_of(plant, told[0], told[1]) == options
    assert cells(plant, Row("none flagged", plant.judge([False] * 24_931, plant.second_half)))[3:] == (
        "-", "0.000", "0 (0)", "-", "-",
    )  # fmt: skip
    assert page.table(plant, [])[0].startswith("| detector | options |")
