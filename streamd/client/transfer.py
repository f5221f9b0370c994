"""Sends batches of lines over several connections in turn, at a limited rate if asked."""

import time
from collections.abc import Callable, Iterable, Sequence

from streamd.client.connection import Connection
from streamd.client.pace import Pace
from streamd.client.stop import Stop, Stopped

_FINISH_S = 1.0


def transfer(
    batches: Iterable[list[bytes]],
    connections: Sequence[Connection],
    stop: Stop,
    *,
    rate: float | None = None,
    count: int | None = None,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Send all lines of the batches, or the first `count` of them, at `rate` records a second.

    `progress` is called after each write. Raises `Stopped` and the errors of `Connection.send`.
    """
    pace = Pace(rate, time.monotonic()) if rate else None
    left, turn = count, 0
    for batch in batches:
        lines = batch if left is None else batch[:left]
        done = 0
        while done < len(lines):
            if stop.requested:
                raise Stopped
            piece = lines[done:] if done else lines
            if pace:
                due = pace.due(time.monotonic())
                if not due:
                    stop.sleep(pace.delay_s())
                    continue
                piece = piece[:due]
                pace.spend(len(piece))
            connections[turn].send(piece)
            turn = (turn + 1) % len(connections)
            done += len(piece)
            progress()
        if left is not None:
            left -= len(lines)
            if left == 0:
                return


def finish(connections: Sequence[Connection]) -> None:
    """End the sending side of every connection, and wait one second in all for the receivers to confirm."""
    until_s = time.monotonic() + _FINISH_S
    for connection in connections:
        connection.finish(until_s)
