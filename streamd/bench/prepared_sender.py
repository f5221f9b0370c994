"""A sender that costs next to nothing: bytes that lie ready in a file, handed to the kernel in large pieces.

Run as a process of its own: `python -m streamd.bench.prepared_sender PORT FILE CONNECTIONS`. Each connection
sends an equal part of the file's lines, from a thread of its own that sleeps in the kernel while the receiver
is behind. It prints when it began (wall clock) and its CPU seconds from then on, as JSON.
"""

import json
import socket
import sys
import time
from itertools import pairwise
from pathlib import Path
from threading import Barrier, Thread


def parts(data: bytes, count: int) -> list[memoryview]:
    """`data`, whole lines, cut behind line ends into `count` parts of about one size."""
    cuts = [0]
    for number in range(1, count):
        cuts.append(data.find(b"\n", max(cuts[-1], len(data) * number // count)) + 1 or len(data))
    cuts.append(len(data))
    view = memoryview(data)
    return [view[start:end] for start, end in pairwise(cuts)]


def send(port: int, data: bytes, connections: int) -> dict[str, float]:
    """Send all of it; the connections are made before the clock starts."""
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
        connected.recv(1)  # until the receiver has read all and closes


if __name__ == "__main__":
    result = send(int(sys.argv[1]), Path(sys.argv[2]).read_bytes(), int(sys.argv[3]))
    print(json.dumps(result))  # noqa: T201 - its result, for the parent
