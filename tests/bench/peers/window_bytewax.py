"""Bytewax: a dataflow with one worker in this process, from a list into a list."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import EventClock, TumblingWindower, fold_window
from bytewax.testing import TestingSink, TestingSource, run_main

from tests.bench.peers.window_records import BEGAN_AT_S, WINDOW_S, Result, measured, records

BATCH = 512
BEGAN = datetime.fromtimestamp(BEGAN_AT_S, UTC)

State = tuple[int, float, float, float]
"""Count, sum, least and greatest value."""


def add(state: State | None, record: dict[str, Any]) -> State:
    """The state with one more record."""
    value = record["value"]
    if state is None:
        return 1, value, value, value
    return state[0] + 1, state[1] + value, min(state[2], value), max(state[3], value)


def merge(first: State, second: State) -> State:
    """The state of two windows that became one; a tumbling window never does."""
    return first[0] + second[0], first[1] + second[1], min(first[2], second[2]), max(first[3], second[3])


def run(given: list[dict[str, Any]]) -> dict[tuple[str, float], Result]:
    """The results by key and start."""
    # Its watermark goes on with the wall clock, which would make records late while it is slower than they
    # are: the clock that it is given stands still.
    clock = EventClock(
        ts_getter=lambda record: datetime.fromtimestamp(record["at"], UTC),
        wait_for_system_duration=timedelta(0),
        now_getter=lambda: BEGAN,
    )
    windower = TumblingWindower(length=timedelta(seconds=WINDOW_S), align_to=BEGAN)
    made: list[tuple[str, tuple[int, State]]] = []
    flow = Dataflow("windows")
    keyed = op.key_on("key", op.input("in", flow, TestingSource(given, batch_size=BATCH)), _key)
    folded = fold_window("fold", keyed, clock, windower, lambda: None, add, merge)
    op.output("out", folded.down, TestingSink(made))
    run_main(flow)
    return {
        (key, BEGAN_AT_S + window * WINDOW_S): (count, total / count, low, high)
        for key, (window, (count, total, low, high)) in made
    }


def _key(record: dict[str, Any]) -> str:
    return str(record["sensor"])


if __name__ == "__main__":
    count = int(sys.argv[1])
    given = records(count)
    measured(lambda: run(given), count)
