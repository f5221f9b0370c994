"""Functions for the python step; each takes a record and returns it, several, or `streamd.DROP`."""  # noqa: INP001 - no package, it stands beside a configuration

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
