"""A daemon that reads a growing file and is killed."""

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def append(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write the records as lines of JSON to the end of the file."""
    with path.open("a") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def kill_thrice(
    start: Callable[..., Any],
    pace: Callable[[float], None],
    config: str,
    path: Path,
    records: list[dict[str, Any]],
    states: int,
) -> int:
    """Start and kill a daemon three times while the file grows. Returns the number of records written.

    It is killed at any moment after so many states are stored for the first time.
    """
    rng = random.Random(8)  # noqa: S311 - no secret
    written = 0
    for _ in range(3):
        append(path, records[written : written + 150])
        written += 150
        daemon = start(config)
        for _ in range(rng.randrange(3, 9)):
            append(path, records[written : written + 20])
            written += 20
            pace(0.05)
        daemon.wait_rows(states, "state", "state.db")
        daemon.process.kill()
        daemon.process.wait()
    return written
