"""A loop written by hand: a dict of the open windows of each key."""

import sys
from typing import Any

from tests.bench.peers.window_records import WINDOW_S, Result, measured, records


def run(given: list[dict[str, Any]]) -> dict[tuple[str, float], Result]:
    """The results by key and start. A record of a later window closes the one before."""
    opened: dict[str, list[float]] = {}
    made: dict[tuple[str, float], Result] = {}
    for record in given:
        sensor, value = record["sensor"], record["value"]
        start_s = record["at"] // WINDOW_S * WINDOW_S
        window = opened.get(sensor)
        if window is None or start_s > window[0]:
            if window is not None:
                made[sensor, window[0]] = int(window[1]), window[2] / window[1], window[3], window[4]
            opened[sensor] = [start_s, 1, value, value, value]
        elif start_s == window[0]:
            window[1] += 1
            window[2] += value
            if value < window[3]:
                window[3] = value
            elif value > window[4]:
                window[4] = value
    for sensor, window in opened.items():
        made[sensor, window[0]] = int(window[1]), window[2] / window[1], window[3], window[4]
    return made


if __name__ == "__main__":
    count = int(sys.argv[1])
    given = records(count)
    measured(lambda: run(given), count)
