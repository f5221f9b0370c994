"""Pathway: its engine in this process, from a Python connector into a callback."""

import sys
from typing import Any

import pathway as pw

from tests.bench.peers.window_records import WINDOW_S, Result, measured, records


class Reading(pw.Schema):  # type: ignore[misc]  # not installed beside streamd
    """A record."""

    at: float
    sensor: str
    value: float


class Given(pw.io.python.ConnectorSubject):  # type: ignore[misc]  # the same
    """Passes records to the engine."""

    def __init__(self, given: list[dict[str, Any]]) -> None:
        super().__init__()
        self._given = given

    def run(self) -> None:
        """Pass all."""
        for record in self._given:
            self.next(**record)


def run(given: list[dict[str, Any]]) -> dict[tuple[str, float], Result]:
    """The last results by key and start; it gives a result again whenever it changes."""
    made: dict[tuple[str, float], Result] = {}

    def changed(key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:
        del key, time
        if is_addition:
            made[row["sensor"], row["start"]] = row["count"], row["mean"], row["low"], row["high"]

    table = pw.io.python.read(Given(given), schema=Reading, autocommit_duration_ms=100)
    windows = table.windowby(table.at, window=pw.temporal.tumbling(duration=WINDOW_S), instance=table.sensor)
    result = windows.reduce(
        sensor=pw.this._pw_instance,
        start=pw.this._pw_window_start,
        count=pw.reducers.count(),
        mean=pw.reducers.avg(pw.this.value),
        low=pw.reducers.min(pw.this.value),
        high=pw.reducers.max(pw.this.value),
    )
    pw.io.subscribe(result, changed)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    return made


if __name__ == "__main__":
    count = int(sys.argv[1])
    given = records(count)
    measured(lambda: run(given), count)
