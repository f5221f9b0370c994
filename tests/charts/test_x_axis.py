from streamd.charts.chart import Chart, ChartSeries
from streamd.charts.x_axis import caption, x_scale


def test_the_axis_reaches_over_the_positions_of_every_series() -> None:
    series = [ChartSeries("a", [1.0], [-5.0]), ChartSeries("b", [1.0, 2.0], [3.0, 50.0])]
    axis = x_scale(Chart(series), 4)
    assert (axis.low, axis.high) == (-5, 50)


def test_the_caption_of_times_has_their_day() -> None:
    chart = Chart([ChartSeries("a", [1.0], [1_796_083_200.0])], x_kind="time", x_label="at\x1b")
    assert caption(chart) == "at\\x1b, 2026-12-01 UTC"
    assert x_scale(chart, 1).ticks[0].text.startswith("00:00:00")
    assert caption(Chart([])) == ""
