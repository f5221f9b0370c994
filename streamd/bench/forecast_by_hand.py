"""The baseline of the step `forecast`: a loop as one writes it by hand for one configuration."""

from collections.abc import Callable
from typing import Any

from streamd.core.batch import Record
from streamd.core.timestamp import from_epoch

EVERY_S = 10.0
BEGAN_WALL_S = 1_769_846_400.0
"""When the time of a loop is 0. It is a multiple of `EVERY_S`."""
LEVEL_WEIGHT = 1.0 - 0.5 ** (1.0 / 2.0)
TREND_WEIGHT = LEVEL_WEIGHT * (1.0 - 0.5 ** (1.0 / 50.0))
DAMPING = 0.95


def forecasts() -> Callable[[list[Record], float], list[Record]]:
    """The records, and for each interval of a sensor its error and a forecast by level and damped trend."""
    models: dict[str, list[Any]] = {}

    def loop(records: list[Record], at_s: float) -> list[Record]:
        passed = []
        index = at_s // EVERY_S
        for record in records:
            sensor = record["sensor"]
            model = models.get(sensor)
            if model is None:
                model = models[sensor] = [index, 0.0, 0, None, 0.0, 0.0]
            if model[0] != index:
                passed += _ended(model, record)
                model[:3] = index, 0.0, 0
            model[1] += record["value"]
            model[2] += 1
            passed.append(record)
        return passed

    return loop


def _ended(model: list[Any], record: Record) -> list[Record]:
    index, total, count, level, trend, last = model
    actual = total / count
    names = {name: record[name] for name in ("@source", "@peer", "@received_at", "sensor")}
    end_s = BEGAN_WALL_S + (index + 1) * EVERY_S
    made = []
    if level is None:
        level = actual
    else:
        predicted = level + DAMPING * trend
        error = actual - predicted
        score = {"actual": actual, "error": error, "inside_band": None, "naive_error": actual - last}
        made.append(names | _made("score", end_s - EVERY_S, predicted) | score)
        level, trend = predicted + LEVEL_WEIGHT * error, DAMPING * trend + TREND_WEIGHT * error
    made.append(names | _made("prediction", end_s, level + DAMPING * trend))
    model[3:] = level, trend, actual
    return made


def _made(kind: str, made_at_s: float, predicted: float) -> Record:
    return {
        "forecast": kind,
        "made_at": from_epoch(made_at_s),
        "target": from_epoch(made_at_s + EVERY_S),
        "horizon_s": EVERY_S,
        "predicted": predicted,
        "low": None,
        "high": None,
    }
