"""Baselines of the steps: loops as one writes them by hand for the work of one configuration of a step.

A loop takes the records of a batch and its time (seconds), and returns the records that pass. It may change
the records. It does only the work of its configuration: it checks no other types and counts nothing.
"""

import csv
import json
import re
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import blake2b
from importlib import import_module
from math import sqrt
from typing import Any

from streamd.core.batch import Record

Loop = Callable[[list[Record], float], list[Record]]

ROOMS = "".join(["sensor,room\n", *(f"s-{number:04},room {number % 40}\n" for number in range(1, 1001))])
"""A table of the room of each sensor, as CSV."""
FUNCTION = """
def one(record):
    record["level"] = "high" if record["value"] > 30 else "normal"
    return record
"""
"""A user's function."""
MODEL = """
from river import linear_model, preprocessing
def build():
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()
"""
"""A user's model of river."""
LEAST_VALUE = 18
LOW, HIGH = -40, 60
WITHIN_S = 10.0
PER_S = 10.0
ONE_IN = 10
CAPTURED_ABOVE, REMEMBERED_S = 1e6, 10.0
HALF_LIFE, MIN_SAMPLES, THRESHOLD = 50.0, 30, 4.0
REFERENCE, SUM, SLACK, CLIP = 10, 100.0, 0.5, 4.0


def filters() -> Loop:
    """The records with a value above 18 that are ok."""
    return lambda records, _: [record for record in records if record["value"] > LEAST_VALUE and record["ok"]]


def sets() -> Loop:
    """Copies of the records with the value in °F."""
    return lambda records, _: [
        {**record, "value": record["value"] * 1.8 + 32, "unit": "F"} for record in records
    ]


def drops() -> Loop:
    """The records without two fields."""

    def loop(records: list[Record], _: float) -> list[Record]:
        for record in records:
            record.pop("ok", None)
            record.pop("site", None)
        return records

    return loop


def selects() -> Loop:
    """New records of three fields and the metadata."""
    return lambda records, _: [
        {
            "ts": record["ts"],
            "sensor": record["sensor"],
            "value": record["value"],
            "@source": record["@source"],
            "@peer": record["@peer"],
            "@received_at": record["@received_at"],
        }
        for record in records
    ]


def renames() -> Loop:
    """The records with two other names."""

    def loop(records: list[Record], _: float) -> list[Record]:
        for record in records:
            record["device"] = record.pop("sensor")
            record["celsius"] = record.pop("value")
        return records

    return loop


def flattens() -> Loop:
    """New records with the fields of the nested object."""

    def loop(records: list[Record], _: float) -> list[Record]:
        made = []
        for record in records:
            flat: Record = {}
            for name, value in record.items():
                if isinstance(value, dict):
                    for inner, inner_value in value.items():
                        flat[f"{name}.{inner}"] = inner_value
                else:
                    flat[name] = value
            made.append(flat)
        return made

    return loop


def splits() -> Loop:
    """A new record for each of the values."""
    return lambda records, _: [
        {**record, "values": value} for record in records for value in record["values"]
    ]


def merges() -> Loop:
    """The records, with the last position of their sensor."""
    last: dict[str, tuple[float, float]] = {}

    def loop(records: list[Record], _: float) -> list[Record]:
        for record in records:
            if "lat" in record:
                last[record["sensor"]] = record["lat"], record["lon"]
            elif (found := last.get(record["sensor"])) is not None:
                record["lat"], record["lon"] = found
        return records

    return loop


def parses() -> Loop:
    """Copies of the records with the fields of the JSON text."""

    def loop(records: list[Record], _: float) -> list[Record]:
        return [{**record, **json.loads(record["message"])} for record in records]

    return loop


def parses_time() -> Loop:
    """The records with the time in UTC, as the canonical text."""

    def loop(records: list[Record], _: float) -> list[Record]:
        for record in records:
            at = datetime.fromisoformat(record["ts"]).astimezone(UTC)
            record["ts"] = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return records

    return loop


def converts() -> Loop:
    """Copies of the records with the value in °F, rounded."""
    return lambda records, _: [
        {**record, "value": round(record["value"] * 1.8 + 32, 2)} for record in records
    ]


def looks_up() -> Loop:
    """The records with the room of their sensor."""
    rooms = dict(csv.reader(ROOMS.splitlines()[1:]))

    def loop(records: list[Record], _: float) -> list[Record]:
        for record in records:
            record["room"] = rooms.get(record["sensor"])
        return records

    return loop


def calls() -> Loop:
    """Copies of the records, changed by the function."""
    scope: dict[str, Any] = {}
    exec(FUNCTION, scope)  # noqa: S102 - the text above
    function = scope["one"]
    return lambda records, _: [function(record.copy()) for record in records]


def redacts() -> Loop:
    """The records with two kinds of personal data masked in the text."""
    email = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
    address = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")

    def loop(records: list[Record], _: float) -> list[Record]:
        for record in records:
            record["message"] = address.sub("***", email.sub("***", record["message"]))
        return records

    return loop


def dedupes() -> Loop:
    """The first record of each sensor and number within ten seconds."""
    seen: OrderedDict[tuple[str, int], float] = OrderedDict()

    def loop(records: list[Record], at_s: float) -> list[Record]:
        while seen and next(iter(seen.values())) <= at_s - WITHIN_S:
            seen.popitem(last=False)
        chosen = []
        for record in records:
            key = record["sensor"], record["seq"]
            if key not in seen:
                seen[key] = at_s
                chosen.append(record)
        return chosen

    return loop


def throttles() -> Loop:
    """At most one record of each sensor in ten seconds."""
    passed: dict[str, float] = {}

    def loop(records: list[Record], at_s: float) -> list[Record]:
        chosen = []
        for record in records:
            last_s = passed.get(record["sensor"])
            if last_s is None or last_s <= at_s - PER_S:
                passed[record["sensor"]] = at_s
                chosen.append(record)
        return chosen

    return loop


def samples() -> Loop:
    """All records of a tenth of the sensors, chosen by a hash."""
    below = -(-(256**8) // ONE_IN)

    def loop(records: list[Record], _: float) -> list[Record]:
        return [
            record
            for record in records
            if int.from_bytes(blake2b(record["sensor"].encode(), digest_size=8).digest(), "big") < below
        ]

    return loop


def counts_gaps() -> Loop:
    """The records; numbers that are missing are counted."""
    last: dict[str, int] = {}
    missing = 0

    def loop(records: list[Record], _: float) -> list[Record]:
        nonlocal missing
        for record in records:
            sensor, number = record["sensor"], record["n"]
            before = last.get(sensor)
            if before is not None and number > before + 1:
                missing += number - before - 1
            last[sensor] = number
        return records

    return loop


def scores() -> Loop:
    """The records with the score of their value by the moving mean and variance of its sensor."""
    models: dict[str, list[float]] = {}
    least = 1.0 - 0.5 ** (1.0 / HALF_LIFE)

    def loop(records: list[Record], _: float) -> list[Record]:
        for record in records:
            sensor, value = record["sensor"], record["value"]
            model = models.get(sensor)
            if model is None:
                model = models[sensor] = [0, 0.0, 0.0]
            count, mean, variance = model
            deviation = value - mean
            flag = score = low = high = None
            if count >= MIN_SAMPLES and variance > 0.0:
                reach = sqrt(variance) * THRESHOLD
                low, high = mean - reach, mean + reach
                score, flag = deviation / reach * THRESHOLD, not low <= value <= high
                if flag:
                    deviation = reach if deviation > 0 else -reach
            weight = max(least, 1.0 / (count + 1))
            step = weight * deviation
            model[:] = count + 1, mean + step, (1.0 - weight) * (variance + deviation * step)
            record["anomaly"], record["anomaly_score"] = flag, score
            record["anomaly_low"], record["anomaly_high"] = low, high
        return records

    return loop


def finds_changes() -> Loop:
    """The records; the sums of both directions are kept for the value of each sensor, as CUSUM does."""
    models: dict[str, list[float]] = {}

    def loop(records: list[Record], _: float) -> list[Record]:
        for record in records:
            sensor, value = record["sensor"], record["value"]
            model = models.get(sensor)
            if model is None:
                model = models[sensor] = [0, 0.0, 0.0, 0.0, 0.0]
            count, mean, squares, up, down = model
            if count < REFERENCE:
                deviation = value - mean
                mean += deviation / (count + 1)
                model[:3] = count + 1, mean, squares + deviation * (value - mean)
                continue
            step = (value - mean) / sqrt(squares / count)
            step = min(max(step, -CLIP), CLIP)
            up, down = max(0.0, up + step - SLACK), max(0.0, down - step - SLACK)
            if up > SUM or down > SUM:
                model[:] = 0, 0.0, 0.0, 0.0, 0.0
            else:
                model[3:] = up, down
        return records

    return loop


def learns() -> Loop:
    """The records with the prediction of a model of river, which learns from each."""
    names: dict[str, Any] = {}
    exec(MODEL, names)  # noqa: S102 - a constant
    model, accuracy = names["build"](), import_module("river.metrics").Accuracy()

    def loop(records: list[Record], _: float) -> list[Record]:
        for record in records:
            x = {"value": record["value"], "seq": record["seq"]}
            predicted = record["prediction"] = model.predict_one(x)
            model.learn_one(x, record["ok"])
            accuracy.update(record["ok"], predicted)
        return records

    return loop


def expects() -> Loop:
    """The records; the time of each sensor's last record is kept."""
    last_s: dict[str, float] = {}

    def loop(records: list[Record], at_s: float) -> list[Record]:
        for record in records:
            last_s[record["sensor"]] = at_s
        return records

    return loop


def remembers() -> Loop:
    """The records; copies of those of the last ten seconds are kept for each sensor."""
    last: defaultdict[str, deque[tuple[float, Record]]] = defaultdict(deque)

    def loop(records: list[Record], at_s: float) -> list[Record]:
        for record in records:
            if record["value"] > CAPTURED_ABOVE:
                raise ValueError("no record of the case is flagged")
            its = last[record["sensor"]]
            while its and its[0][0] < at_s - REMEMBERED_S:
                its.popleft()
            its.append((at_s, record.copy()))
        return records

    return loop


def validates() -> Loop:
    """The records without those that break one of three rules."""

    def loop(records: list[Record], _: float) -> list[Record]:
        chosen, bad = [], []
        for record in records:
            value = record.get("value")
            if record.get("sensor") is None:
                bad.append((record, "sensor is null"))
            elif not isinstance(value, float) or not LOW <= value <= HIGH:
                bad.append((record, "value is out of range"))
            elif record.get("unit") not in ("C", "F"):
                bad.append((record, "unit is unknown"))
            else:
                chosen.append(record)
        return chosen

    return loop
