"""Baseline: a bare `recvmmsg` loop that counts datagrams without reading their content.

Run it as a separate process: `python -m streamd.bench.recvmmsg COUNT`. It prints its port, ends after COUNT
datagrams or 2 s after the last one, and prints the number counted and its CPU seconds.
"""

import ctypes
import json
import select
import socket
import sys
import time

from streamd.net.recvmmsg import BATCH, SLOT_BYTES, IoVec, MMsgHdr

RECEIVE_BUFFER_BYTES = 8 * 2**20
SO_RCVBUFFORCE = 33
_QUIET_S = 2.0
_FIRST_S = 30.0


def bound() -> socket.socket:
    """A socket with the same receive buffer as the daemon's source."""
    receiving = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiving.bind(("127.0.0.1", 0))
    for option in (socket.SO_RCVBUF, SO_RCVBUFFORCE):
        if receiving.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < RECEIVE_BUFFER_BYTES:
            try:
                receiving.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER_BYTES)
            except PermissionError:
                break
    return receiving


def count(receiving: socket.socket, wanted: int) -> dict[str, float]:
    """The number of datagrams counted, and the CPU seconds used."""
    recvmmsg = ctypes.PyDLL(None, use_errno=True).recvmmsg
    room = ctypes.create_string_buffer(SLOT_BYTES)
    vector = IoVec(ctypes.addressof(room), SLOT_BYTES)  # shared by all entries, because no content is read
    headers = (MMsgHdr * BATCH)()
    for entry in headers:
        entry.header.iov, entry.header.iov_length = ctypes.pointer(vector), 1
    descriptor = receiving.fileno()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    counted, patience_s = 0, _FIRST_S
    started_s = time.process_time()
    while counted < wanted and poll.poll(patience_s * 1000):
        counted += max(0, recvmmsg(descriptor, headers, BATCH, socket.MSG_DONTWAIT, None))
        patience_s = _QUIET_S
    return {"counted": counted, "cpu_s": time.process_time() - started_s}


if __name__ == "__main__":
    listening = bound()
    print(listening.getsockname()[1], flush=True)  # noqa: T201 - the parent process reads it
    print(json.dumps(count(listening, int(sys.argv[1]))))  # noqa: T201 - the result, for the parent
