from pathlib import Path

from tests.evaluation import datasets, pictures
from tests.evaluation.page import PAGE
from tests.evaluation.rows import of_constants, of_options


def test_the_pictures_of_the_leaks_are_drawn_and_the_same_each_time(tmp_path: Path) -> None:
    series = datasets.water_flow_with_leaks()
    options = {"field": "flow", "method": "seasonal", **(series.season or {})}
    rows = [
        *of_constants(series),
        of_options(series, "`seasonal`, defaults", options),
        of_options(series, "`seasonal`, learns inside", {**options, "learn": "inside"}),
    ]
    drawn = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        pictures.draw("leaks", series, rows, tmp_path / name)
        drawn.append({path.name: path.read_text() for path in (tmp_path / name).iterdir()})
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {"anomalies-leaks.svg", "anomalies-leaks-shares.svg"}
    assert all((PAGE.parent / name).exists() for name in drawn[0])
    for text in ("band", "value", "labelled", "flagged", "seasonal, defaults", "days"):
        assert f">{text}</text>" in drawn[0]["anomalies-leaks.svg"]
    assert ">none flagged</text>" in drawn[0]["anomalies-leaks-shares.svg"]


def test_few_events_have_no_picture_of_shares(tmp_path: Path) -> None:
    series = datasets.water_flow()
    pictures.draw("flow", series, of_constants(series), tmp_path)
    assert list(tmp_path.iterdir()) == []
