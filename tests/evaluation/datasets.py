"""The labelled series. The files come with the wheels of river and aeon; none of them is kept here."""

import csv
import gzip
import importlib.util
import io
import random
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from streamd.plant import PERIOD_S, Plant
from tests.evaluation.series import Series

AEON = "aeon==1.6.0"
_NUMBERS = 1.7e9
"""When a series without times begins."""
PLANT_HOURS, PLANT_SENSORS = 6, 12
_UNUSUAL = ("spike", "error_value", "fahrenheit")
"""The faults of the plant that show in a value. The others are no matter of this step."""


class MissingData(Exception):  # noqa: N818 - the reason of a series without a table
    """Why a data set cannot be read."""


def plant() -> Series:
    """Six hours of the generated plant: the values of twelve sensors with spikes and wrong units."""
    made = Plant(0, PLANT_SENSORS, minutes=60 * PLANT_HOURS)
    timed = made.timed_lines(sys.maxsize)
    kinds: dict[tuple[str, int], str] = {}
    for fault in made.faults(len(timed)):
        if fault.kind in _UNUSUAL:
            kinds |= {(fault.sensor, fault.seq + n): fault.kind for n in range(fault.readings)}
    began_s = made.start.timestamp()
    records, kind_of = [], []
    for after_s, line in timed:
        record = msgspec.json.decode(line)
        records.append({"sensor": record["sensor"], "value": record["value"], "at": began_s + after_s})
        kind_of.append(kinds.get((record["sensor"], record["seq"]), ""))
    return Series(
        "Generated plant", records, [bool(kind) for kind in kind_of], ("value",), PERIOD_S, has_time=True,
        span=30, key="sensor", season={"season": "40m", "buckets": 24}, kinds=kind_of,
    )  # fmt: skip


def plant_with_a_clean_season() -> Series:
    """As `plant`, without the unusual values of the first 40 minutes, which `seasonal` learns as they are."""
    series = plant()
    end_s = series.records[0]["at"] + 2400
    kept = [
        place
        for place, record in enumerate(series.records)
        if record["at"] >= end_s or not series.labels[place]
    ]
    return replace(
        series,
        name="Generated plant, clean at first",
        records=[series.records[place] for place in kept],
        labels=[series.labels[place] for place in kept],
        kinds=[series.kinds[place] for place in kept],
    )


LOW_FLOW = 95.0
"""Litres a second. The normal flow is 99 to 110."""


def water_flow() -> Series:
    """The flow through a branch of a water main, by the hour for two months, with three times of low flow.

    River's file has no labels; its documentation tells of three low times and a small peak. The low ones are
    labelled here by their value, so fixed limits are at an advantage. The peak is not labelled.
    """
    rows = csv.DictReader(_in_river("water-flow.csv").decode().splitlines())
    records = [
        {"flow": float(row["Water flow [l/s]"]), "at": datetime.fromisoformat(row["Time"]).timestamp()}
        for row in rows
    ]
    labels = [record["flow"] < LOW_FLOW for record in records]
    return Series(
        "Water flow", records, labels, ("flow",), 3600.0, has_time=True, span=6, season={"season": "1d"}
    )


LEAK, LEAK_HOURS = 2.0, 6
"""Litres a second that a planted leak adds, and how long it lasts."""
LEAKS_APART_HOURS = (30, 70)


def water_flow_with_leaks() -> Series:
    """As `water_flow`, with planted leaks: 2 l/s more for six hours, every 30 to 70 hours.

    That is about half of the difference between day and night, so most leaks are below the highest normal
    flow. No leak is near a time of low flow.
    """
    series = water_flow()
    draw = random.Random("leaks")  # noqa: S311 - leaks are no secrets
    records, labels = [dict(record) for record in series.records], list(series.labels)
    place = draw.randint(*LEAKS_APART_HOURS)
    while place + LEAK_HOURS < len(records):
        if not any(series.labels[max(0, place - LEAK_HOURS) : place + 2 * LEAK_HOURS]):
            for record in records[place : place + LEAK_HOURS]:
                record["flow"] += LEAK
            labels[place : place + LEAK_HOURS] = [True] * LEAK_HOURS
        place += LEAK_HOURS + draw.randint(*LEAKS_APART_HOURS)
    kinds = [
        "" if not label else "low" if low else "leak"
        for label, low in zip(labels, series.labels, strict=True)
    ]
    return replace(series, name="Water flow with planted leaks", records=records, labels=labels, kinds=kinds)


def shuttle() -> Series:
    """Nine readings of a space shuttle, in random order: there is no time, and an event is mostly one row."""
    rows = csv.DictReader(gzip.decompress(_in_river("shuttle.csv.gz")).decode().splitlines())
    fields = tuple(f"f{n}" for n in range(1, 10))
    records: list[dict[str, Any]] = []
    labels = []
    for place, row in enumerate(rows):
        records.append({**{name: int(row[name]) for name in fields}, "at": _NUMBERS + place})
        labels.append(row["anomaly"] == "1")
    return Series("Shuttle", records, labels, fields, 1.0, has_time=False, span=1)


def internal_bleeding(wheel: Path) -> Series:
    """The series 135 of the UCR anomaly archive: a pulse, in which one beat is changed."""
    text = _in_wheel(wheel, "KDD-TSAD_135/135_UCR_Anomaly_InternalBleeding16_TEST.csv")
    records, labels = _columns(text, ("value",))
    for place, record in enumerate(records):
        record["at"] = _NUMBERS + place
    return Series(
        "InternalBleeding16", records, labels, ("value",), 1.0, has_time=False, span=183,
        season={"season": "183s", "buckets": 61},
    )  # fmt: skip


def daphnet(wheel: Path) -> Series:
    """Three accelerometers on a walking patient, 64 times a second for 110 s. Aeon's file has no event."""
    text = _in_wheel(wheel, "Daphnet_S06R02E0/S06R02E0.csv")
    axes = ("horiz_fwd", "vert", "horiz_lateral")
    fields = tuple(f"{place}_{axis}" for place in ("ankle", "leg", "trunk") for axis in axes)
    records, labels = _columns(text, fields)
    for record, row in zip(records, csv.DictReader(io.StringIO(text)), strict=True):
        record["at"] = datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC).timestamp()
    return Series("Daphnet S06R02E0", records, labels, fields, 1 / 64, has_time=True, span=64)


def aeon_wheel(folder: Path) -> Path:
    """The wheel of aeon in `folder`, downloaded if it is not there. Raises `MissingData`."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (found := sorted(folder.glob("aeon-*.whl"))):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*pip, "--no-deps", "--only-binary=:all:", "--dest", folder, AEON],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        found = sorted(folder.glob("aeon-*.whl"))
        if done.returncode or not found:
            print(done.stderr, file=sys.stderr)
            raise MissingData(f"pip could not download {AEON}")
    return found[-1]


def _in_wheel(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as zipped:
        return zipped.read(f"aeon/datasets/data/{name}").decode()


def _columns(text: str, fields: Iterable[str]) -> tuple[list[dict[str, Any]], list[bool]]:
    rows = list(csv.DictReader(io.StringIO(text)))
    records = [{name: float(row[name]) for name in fields} for row in rows]
    return records, [row["is_anomaly"] == "1" for row in rows]


def _in_river(name: str) -> bytes:
    """A file of river's package, which is not imported: that takes a second."""
    spec = importlib.util.find_spec("river")
    if spec is None or spec.origin is None:
        raise MissingData("river is not installed: pip install 'streamd-daemon[analytics]'")
    return (Path(spec.origin).parent / "datasets" / name).read_bytes()
