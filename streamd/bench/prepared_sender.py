"""A sender with almost no CPU cost: it passes prepared bytes of a file to the kernel in large pieces.

Run it as a separate process: `python -m streamd.bench.prepared_sender PORT FILE CONNECTIONS`. Each connection
sends an equal part of the file's lines from its own thread, which sleeps in the kernel while the receiver is
behind. It prints the wall time of its start and its CPU seconds since then, as JSON.
"""

import json
import socket
import sys
import time
from itertools import pairwise
from pathlib import Path
from threading import Barrier, Thread

from streamd.sensors import SensorStream

_LINES_AT_ONCE = 100_000


def prepare(file: Path, count: int) -> None:
    """Write `count` lines of the generated stream to the file."""
    stream = SensorStream()
    with file.open("wb") as out:
        for done in range(0, count, _LINES_AT_ONCE):
            out.writelines(line + b"\n" for line in stream.lines(min(_LINES_AT_ONCE, count - done)))


def parts(data: bytes, count: int) -> list[memoryview]:
    """`data`, which is whole lines, cut after line ends into `count` parts of about the same size."""
    cuts = [0]
    for number in range(1, count):
        cuts.append(data.find(b"\n", max(cuts[-1], len(data) * number // count)) + 1 or len(data))
    cuts.append(len(data))
    view = memoryview(data)
    return [view[start:end] for start, end in pairwise(cuts)]


def send(port: int, data: bytes, connections: int) -> dict[str, float]:
    """Send all data. The connections are made before the clock starts."""
    begin = Barrier(connections + 1)
    threads = []
    for part in parts(data, connections):
        connected = socket.create_connection(("127.0.0.1", port))
        threads.append(Thread(target=_send_one, args=(connected, part, begin)))
        threads[-1].start()
    cpu_before_s = time.process_time()
    started_at = time.time()
    begin.wait()
    for thread in threads:
        thread.join()
    return {"started_at": started_at, "cpu_s": time.process_time() - cpu_before_s}


def _send_one(connected: socket.socket, part: memoryview, begin: Barrier) -> None:
    with connected:
        begin.wait()
        connected.sendall(part)
        connected.shutdown(socket.SHUT_WR)
        connected.recv(1)  # waits until the receiver has read everything and closes


if __name__ == "__main__":
    result = send(int(sys.argv[1]), Path(sys.argv[2]).read_bytes(), int(sys.argv[3]))
    print(json.dumps(result))  # noqa: T201 - the result, for the parent
