"""The course of a scenario as charts: occupancy, delay and loss over time."""

from streamd.capacity.prediction import CapacityPrediction
from streamd.capacity.simulation import Track
from streamd.charts.chart import MOST_SERIES, Chart, ChartSeries, Limit

_PERCENT = 100.0


def charts_of(found: CapacityPrediction) -> list[Chart]:
    """Occupancy, delay and loss over the scenario. A chart without anything but zeros is left out."""
    course = found.course
    tracks = sorted(course.tracks, key=lambda track: -track.share)[:MOST_SERIES]
    charts = [
        Chart(
            [ChartSeries(f"{one.kind} {one.name}", _percent(one)) for one in tracks],
            x=course.at_s,
            title="Buffers",
            x_label="seconds",
            y_label="% of the buffer",
            limits=[Limit("full", _PERCENT)],
        )
    ]
    waiting = [
        path.outside for path in course.worst() if path.outside.kind == "senders" and path.outside.peak
    ]
    if waiting:
        charts.append(
            Chart(
                [ChartSeries(f"senders of {one.name}", one.held) for one in waiting[:MOST_SERIES]],
                x=course.at_s,
                title="Waiting at the senders",
                x_label="seconds",
                y_label="frames",
            )
        )
    if any(course.delay_s):
        charts.append(
            Chart(
                [ChartSeries("delay", course.delay_s)],
                x=course.at_s,
                title="Longest delay of what arrives then",
                x_label="seconds",
                y_label="seconds",
            )
        )
    if course.losses:
        charts.append(
            Chart(
                [ChartSeries(path.source, path.lost) for path in course.worst()][:MOST_SERIES],
                x=course.at_s,
                title="Lost so far",
                x_label="seconds",
                y_label="records",
                form="areas",
            )
        )
    return charts


def _percent(track: Track) -> list[float]:
    return [_PERCENT * held / track.most for held in track.held]
