"""Sends prepared lines as datagrams at a steady rate, from several sockets in turn.

Run it as a separate process: `python -m streamd.bench.prepared_datagrams PORT FILE SOCKETS RATE`. Each socket
is a sender of its own for the receiver. It prints the rate that it has reached, and its CPU seconds, as JSON.
"""

import json
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path

_PAUSE_S = 0.001


def send(port: int, lines: Sequence[bytes], sockets: int, rate: int) -> dict[str, float]:
    """Send each line once, `rate` of them a second."""
    with ExitStack() as stack:
        senders = [stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(sockets)]
        for sender in senders:
            sender.connect(("127.0.0.1", port))
        turns = cycle(sender.send for sender in senders)
        cpu_before_s, began_s, done = time.process_time(), time.monotonic(), 0
        while done < len(lines):
            due = min(len(lines), int((time.monotonic() - began_s) * rate) + 1)
            for line in lines[done:due]:
                next(turns)(line)
            done = due
            time.sleep(_PAUSE_S)
        took_s = time.monotonic() - began_s
    return {"rate": len(lines) / took_s, "cpu_s": time.process_time() - cpu_before_s}


if __name__ == "__main__":
    port, file, sockets, rate = sys.argv[1:]
    result = send(int(port), Path(file).read_bytes().splitlines(), int(sockets), int(rate))
    print(json.dumps(result))  # noqa: T201 - the result, for the parent
