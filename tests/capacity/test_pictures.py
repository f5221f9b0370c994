"""The charts of a course."""

from pathlib import Path

from streamd.capacity.pictures import charts_of
from streamd.capacity.prediction import predict
from streamd.capacity.scenario import Scenario, parse_stall
from streamd.charts import image
from streamd.charts.screen import Screen
from streamd.charts.terminal import text
from tests.capacity.figures import figures, line, sink, source

STALL = Scenario(for_s=60, stalls=(parse_stall("records=30s"),))


def test_a_loss_is_drawn_with_buffers_and_delay() -> None:
    charts = charts_of(predict(figures(), STALL))
    assert [chart.title for chart in charts] == [
        "Buffers", "Longest delay of what arrives then", "Lost so far",
    ]  # fmt: skip
    (udp, records) = charts[0].series
    assert (udp.label, records.label) == ("source udp", "sink records")
    assert max(value or 0 for value in udp.values) == 100
    assert charts[2].series[0].values[-1] == predict(figures(), STALL).lost
    for chart in charts:
        assert all(len(row) <= 70 for row in text(chart, Screen(70, 12)))


def test_waiting_senders_are_drawn_instead_of_a_loss() -> None:
    charts = charts_of(predict(figures(line((source(when_full="block"),))), STALL))
    assert "Waiting at the senders" in [chart.title for chart in charts]
    assert "Lost so far" not in [chart.title for chart in charts]


def test_more_buffers_than_a_chart_shows_leave_out_the_emptiest() -> None:
    sinks = tuple(sink(f"s{n}") for n in range(20))
    (buffers, *_) = charts_of(predict(figures(line(sinks=sinks)), Scenario(stalls=(parse_stall("s19=5s"),))))
    assert len(buffers.series) == 12
    assert buffers.series[0].label == "sink s19"


def test_the_charts_can_be_written_as_a_picture(tmp_path: Path) -> None:
    image.save(charts_of(predict(figures(), STALL)), tmp_path / "course.png")
    assert (tmp_path / "course.png").read_bytes().startswith(b"\x89PNG")
