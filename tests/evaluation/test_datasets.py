import zipfile
from pathlib import Path

import pytest

from tests.evaluation import datasets
from tests.evaluation.events import runs


def test_the_plant_has_the_faults_of_values_as_events_and_no_others() -> None:
    series = datasets.plant()
    kinds = {kind: series.kinds.count(kind) for kind in sorted(set(series.kinds))}
    assert kinds == {"": 24518, "error_value": 43, "fahrenheit": 258, "spike": 112}
    for record, kind in zip(series.records, series.kinds, strict=True):
        value = record["value"]
        if kind == "error_value":
            assert value == -999
        elif kind:
            assert not 15 <= value <= 35
        elif isinstance(value, float):
            assert 15 <= value <= 35
    assert series.judge(series.labels, series.second_half).events == 110


def test_the_clean_plant_lacks_the_events_of_the_first_season_only() -> None:
    series, clean = datasets.plant(), datasets.plant_with_a_clean_season()
    end_s = series.records[0]["at"] + 2400
    early = [label for record, label in zip(clean.records, clean.labels, strict=True) if record["at"] < end_s]
    assert len(early) > 2000
    assert not any(early)
    assert len(series.records) - len(clean.records) == sum(series.labels) - sum(clean.labels) > 20
    assert clean.judge(clean.labels, clean.second_half).events == 110


def test_the_water_flow_has_three_low_times_and_leaks_are_apart_from_them() -> None:
    flow = datasets.water_flow()
    assert len(flow.records) == 1268
    low = runs(flow.labels)
    assert len(low) == 3
    leaking = datasets.water_flow_with_leaks()
    leaks = [event for event in runs(leaking.labels) if leaking.kinds[event.start] == "leak"]
    assert len(leaks) == 21
    for event in leaks:
        assert len(event) == datasets.LEAK_HOURS
        before = [flow.records[place]["flow"] for place in event]
        after = [leaking.records[place]["flow"] for place in event]
        assert after == [value + datasets.LEAK for value in before]
        assert not any(flow.labels[event.start - 6 : event.stop + 6])
    assert [event for event in runs(leaking.labels) if event not in leaks] == low
    assert all(
        made["flow"] == real["flow"] or label
        for made, real, label in zip(leaking.records, flow.records, leaking.labels, strict=True)
    )


def test_shuttle_has_all_its_rows() -> None:
    series = datasets.shuttle()
    assert (len(series.records), sum(series.labels)) == (49_097, 3_511)
    assert series.records[0] == {
        "f1": 50, "f2": 21, "f3": 77, "f4": 0, "f5": 28, "f6": 0, "f7": 27, "f8": 48, "f9": 22, "at": 1.7e9,
    }  # fmt: skip


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "aeon-0-py3-none-any.whl"
    axes = [f"{place}_{axis}" for place in ("ankle", "leg", "trunk")
            for axis in ("horiz_fwd", "vert", "horiz_lateral")]  # fmt: skip
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(
            "aeon/datasets/data/KDD-TSAD_135/135_UCR_Anomaly_InternalBleeding16_TEST.csv",
            "timestamp,value,is_anomaly\n0,63.5,0\n1,-7,1\n",
        )
        made.writestr(
            "aeon/datasets/data/Daphnet_S06R02E0/S06R02E0.csv",
            f"timestamp,{','.join(axes)},is_anomaly\n1970-01-01 00:04:40.015{',7' * 9},0\n",
        )
    return path


def test_series_are_read_from_the_wheel_of_aeon(wheel: Path) -> None:
    bleeding = datasets.internal_bleeding(wheel)
    assert bleeding.records == [{"value": 63.5, "at": 1.7e9}, {"value": -7.0, "at": 1.7e9 + 1}]
    assert bleeding.labels == [False, True]
    daphnet = datasets.daphnet(wheel)
    assert daphnet.records[0] == {**dict.fromkeys(daphnet.fields, 7.0), "at": 280.015}
    assert len(daphnet.fields) == 9


def test_a_wheel_that_is_there_is_not_downloaded_and_one_that_is_not_is_a_reason(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert datasets.aeon_wheel(tmp_path) == wheel
    with pytest.raises(datasets.MissingData, match=r"pip could not download aeon=="):
        datasets.aeon_wheel(tmp_path / "other")
