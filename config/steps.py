"""Functions and a class for the python step, called with records."""  # noqa: INP001 - no package, it stands beside a configuration

from typing import Any

import streamd


def calibrate(record: dict[str, Any]) -> Any:
    """Degrees Fahrenheit in, degrees Celsius out; a sensor under test is left out."""
    if record.get("sensor") == "test":
        return streamd.DROP
    if "fahrenheit" not in record:
        raise streamd.Reject("no_reading")
    record["celsius"] = round((record.pop("fahrenheit") - 32) / 1.8, 2)
    return record


class Outliers:
    """Marks readings more than `z` standard deviations off the mean so far; a place to load a model, too."""

    def __init__(self, z: float, after: int = 10) -> None:
        self.z = z
        self.after = after
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0

    def __call__(self, record: dict[str, Any]) -> Any:
        """Welford's running mean and variance; nothing is an outlier before `after` readings."""
        value = record["celsius"]
        deviation = (self.squares / self.count) ** 0.5 if self.count >= self.after else float("inf")
        record["outlier"] = abs(value - self.mean) > self.z * deviation
        self.count += 1
        step = value - self.mean
        self.mean += step / self.count
        self.squares += step * (value - self.mean)
        return record
