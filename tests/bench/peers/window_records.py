"""The records of the comparison of windows, and what each system has to make of them.

Every system runs in a process of its own, as `python window_NAME.py COUNT`. It makes the records first, in
memory, so the clock measures the windows alone: the mean, least and greatest value and the number of records
of each of 10,000 keys in each minute of the records' own time. The end of the input closes the last windows.
"""

import json
import resource
import time
from collections.abc import Callable
from typing import Any

KEYS = 10_000
WINDOW_S = 60.0
BEGAN_AT_S = 1_769_846_400.0
"""2026-01-31T08:00:00Z."""
RECORDS_A_SECOND = 10_000
"""By the time in the records: each key has 60 of them in a window."""

Result = tuple[int, float, float, float]
"""The number of records, and their mean, least and greatest value."""


def records(count: int) -> list[dict[str, Any]]:
    """Readings of all keys in turn, each a dict with the time in seconds since 1970, the key and a value."""
    names = [f"s-{number:05}" for number in range(KEYS)]
    return [
        {
            "at": BEGAN_AT_S + number / RECORDS_A_SECOND,
            "sensor": names[number % KEYS],
            "value": 15.0 + number * 7 % 2000 / 100,
        }
        for number in range(count)
    ]


def by_hand(count: int) -> dict[tuple[str, float], Result]:
    """The results by key and start of the window."""
    found: dict[tuple[str, float], list[float]] = {}
    for record in records(count):
        key = record["sensor"], record["at"] // WINDOW_S * WINDOW_S
        found.setdefault(key, []).append(record["value"])
    return {
        key: (len(values), sum(values) / len(values), min(values), max(values))
        for key, values in found.items()
    }


def measured(run: Callable[[], dict[tuple[str, float], Result]], count: int) -> None:
    """Run the system once, and print its CPU and wall seconds as JSON. A wrong result ends the process."""
    wall_s, cpu_s = time.monotonic(), time.process_time()
    found = run()
    wall_s, cpu_s = time.monotonic() - wall_s, time.process_time() - cpu_s
    wanted = by_hand(count)
    wrong = [key for key, result in wanted.items() if not _equal(found.get(key), result)]
    if wrong or len(found) != len(wanted):
        raise SystemExit(
            f"{len(found)} windows instead of {len(wanted)}, {len(wrong)} of them missing or wrong"
        )
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu_s": cpu_s, "wall_s": wall_s, "windows": len(found), "peak_mib": peak_mib}))


def _equal(found: Result | None, wanted: Result) -> bool:
    return found is not None and all(abs(a - b) < 1e-9 for a, b in zip(found, wanted, strict=True))
