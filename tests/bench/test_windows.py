from dataclasses import replace
from pathlib import Path

import pytest

from streamd.bench import windows
from streamd.bench.plan import Plan
from streamd.bench.row import BenchError
from streamd.bench.window_by_hand import ByHand

PLAN = replace(Plan.quick(lambda _: None, Path()), window_records=3_000)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "TURNS", 1)
    monkeypatch.setattr(windows, "PART", 700)
    monkeypatch.setattr(windows, "MOST_KEYS", 40)


def test_the_step_and_the_loop_make_the_same_rows_of_every_layout() -> None:
    dicts, columns = windows.measure(PLAN)
    for row, name in ((dicts, "dicts"), (columns, "columns")):
        cases = row.details["cases"]
        assert len(cases) == len(windows.LAYOUTS)
        assert all(case[name] > 0 < case["by_hand"] for case in cases)
        assert (row.value, row.baseline) == (cases[1][name], cases[1]["by_hand"])
        assert row.reached is None
    assert (dicts.name, columns.name) == ("window", "window_columns")


def test_records_lie_as_the_layout_says() -> None:
    for layout in windows.LAYOUTS[:2]:
        made = [record for records, _ in windows.parts(3_000, layout) for record in records]
        keys = {record["sensor"] for record in made}
        minutes = (made[-1]["ts"] - made[0]["ts"]) / windows.SIZE_S
        assert round(len(made) / len(keys) / minutes, -1) == layout.per_window


def test_other_rows_are_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ByHand, "_row", lambda *_: {"mean": 0.0})
    with pytest.raises(BenchError, match="different rows"):
        windows.measure(PLAN)


def test_the_loop_knows_late_records_and_windows_out_of_order() -> None:
    loop = ByHand(60, 5, texts=False)
    rows = [(61, 1.0), (59, 2.0), (62, 4.0), (66, 8.0), (58, 99.0), (400, 16.0)]
    made = loop.add([{"sensor": "a", "ts": at, "value": value} for at, value in rows])
    assert [(row["window_start"][11:19], row["n"], row["mean"] * row["n"]) for row in made] == [
        ("00:00:00", 1, 2.0),
        ("00:01:00", 3, 13.0),
    ]
