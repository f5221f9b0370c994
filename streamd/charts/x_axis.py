"""The x axis that every form but bars has."""

from streamd.charts import scale
from streamd.charts.chart import Chart, x_values
from streamd.core.printable import escape


def x_scale(chart: Chart, ticks: int) -> scale.Scale:
    """The scale of all positions, with at most about so many ticks."""
    if chart.x_kind == "time":
        return scale.of_times(x_values(chart), ticks)
    return scale.of_numbers(x_values(chart), ticks, round_ends=False)


def caption(chart: Chart) -> str:
    """The label, and of times their zone and day. Empty if there is none."""
    note = scale.time_note(x_values(chart)) if chart.x_kind == "time" else ""
    return ", ".join(filter(None, (escape(chart.x_label), note)))
