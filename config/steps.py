"""A function and a class for the python step, called with records."""  # noqa: INP001 - a file next to a configuration, no package

from typing import Any

import streamd


def calibrate(record: dict[str, Any]) -> Any:
    """Convert degrees Fahrenheit to degrees Celsius. Readings of the sensor `test` are filtered out."""
    if record.get("sensor") == "test":
        return streamd.DROP
    if "fahrenheit" not in record:
        raise streamd.Reject("no_reading")
    record["celsius"] = round((record.pop("fahrenheit") - 32) / 1.8, 2)
    return record


class Outliers:
    """Marks readings more than `z` standard deviations off the mean so far. `__init__` could load a model."""

    def __init__(self, z: float, after: int = 10) -> None:
        self.z = z
        self.after = after
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0

    def __call__(self, record: dict[str, Any]) -> Any:
        """Update Welford's running mean and variance. The first `after` readings are never outliers."""
        value = record["celsius"]
        deviation = (self.squares / self.count) ** 0.5 if self.count >= self.after else float("inf")
        record["outlier"] = abs(value - self.mean) > self.z * deviation
        self.count += 1
        step = value - self.mean
        self.mean += step / self.count
        self.squares += step * (value - self.mean)
        return record
