"""streamd's step `window`, called in this process with batches of records."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from streamd.core.batch import Record
from streamd.core.contracts import StepContext
from streamd.core.now import Now
from streamd.steps.window import Window
from tests.bench.peers.window_records import BEGAN_AT_S, Result, measured, records

BATCH = 512
OPTIONS: dict[str, Any] = {
    "size": "60s",
    "key": ["sensor"],
    "time": "at",
    "watermark_delay": "0s",
    "aggregate": {"count": "count()", "mean": "mean(value)", "low": "min(value)", "high": "max(value)"},
}


def run(given: list[dict[str, Any]]) -> dict[tuple[str, float], Result]:
    """The results by key and start."""
    step = Window(Window.Config(**OPTIONS), StepContext("window", "bench", None, Path()))
    step.open()
    made: list[Record] = []
    for first in range(0, len(given), BATCH):
        batch = given[first : first + BATCH]
        made += step.process(batch, Now(batch[-1]["at"], batch[-1]["at"] - BEGAN_AT_S)).records
    while (due_s := step.next_deadline()) is not None:  # no more records come, so every key is idle
        made += step.tick(Now(BEGAN_AT_S + due_s, due_s)).records
    return {
        (record["sensor"], datetime.fromisoformat(record["window_start"]).timestamp()): (
            record["count"], record["mean"], record["low"], record["high"]
        )
        for record in made
    }  # fmt: skip


if __name__ == "__main__":
    count = int(sys.argv[1])
    given = records(count)
    measured(lambda: run(given), count)
