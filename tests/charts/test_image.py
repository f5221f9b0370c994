import math
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from streamd.charts.chart import Chart, ChartSeries, Form, Limit
from streamd.charts.image import check, save
from streamd.core.errors import ConfigError, EnvironmentFault

HOSTILE = "_$\\frac{<script>&\x1b[31m\x00\ud800\ufffe数"


def chart_of(form: Form, label: str) -> Chart:
    series = [ChartSeries(label, [1.0, None, 3.0, 2.0]), ChartSeries("b", [4.0, 1.0, math.nan, 2.0])]
    if form == "bars":
        return Chart(series, categories=[label, "b", "c", "d"], form="bars", title=label)
    return Chart(
        series, x=[1, 2, 3, 4], form=form, title=label, x_label=label, y_label=label, limits=[Limit(label, 5)]
    )


@pytest.mark.parametrize("label", ["in", HOSTILE])
def test_every_form_is_written_as_png_and_svg(label: str, tmp_path: Path) -> None:
    charts = [chart_of("lines", label), chart_of("areas", label), chart_of("bars", label)]
    save(charts, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG\r\n")
    save(charts, tmp_path / "c.SVG")
    svg = ET.fromstring((tmp_path / "c.SVG").read_text())  # noqa: S314 - our own file; it raises if hostile text breaks it
    shown = "".join(svg.itertext())
    assert ("_$\\frac{<script>&\\x1b[" in shown) == (label == HOSTILE)
    assert not svg.findall(".//{*}script")


def test_the_same_chart_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        save([chart_of("lines", "in")], tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize("values", [[1e308, -1e308], [5e-324], [], [None, None], [math.inf, 1], [2.0**63]])
def test_extreme_and_missing_values_are_drawn(values: list[float | None], tmp_path: Path) -> None:
    save([Chart([ChartSeries("a", values)], x=range(len(values)))], tmp_path / "c.svg")
    assert (tmp_path / "c.svg").stat().st_size > 1000


def test_a_point_without_neighbours_is_a_dot(tmp_path: Path) -> None:
    save([Chart([ChartSeries("a", [None, 2, None, 2, 3])], x=range(5))], tmp_path / "dots.svg")
    save([Chart([ChartSeries("a", [None, None, None, 2, 3])], x=range(5))], tmp_path / "line.svg")

    def dots(name: str) -> int:
        return (tmp_path / name).read_text().count("<use ")

    assert dots("dots.svg") == dots("line.svg") + 1


def test_another_suffix_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"chart.pdf: a chart is written as .png or .svg"):
        check(Path("chart.pdf"))


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # so that its import fails
    with pytest.raises(EnvironmentFault, match=r"pip install 'streamd-daemon\[plots\]'"):
        save([chart_of("lines", "in")], Path("/nowhere/c.png"))
