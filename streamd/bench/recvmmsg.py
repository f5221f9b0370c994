"""Baseline: a bare `recvmmsg` loop that counts datagrams and looks at none.

Run as a process of its own: `python -m streamd.bench.recvmmsg COUNT`. It prints its port; it ends after
COUNT datagrams, or 2 s after the last one, and prints what it counted and its CPU seconds.
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
    """A socket with the receive buffer the daemon's source asks for, got the same way."""
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
    """Datagrams counted, and the CPU seconds of doing so."""
    recvmmsg = ctypes.PyDLL(None, use_errno=True).recvmmsg
    room = ctypes.create_string_buffer(SLOT_BYTES)
    vector = IoVec(ctypes.addressof(room), SLOT_BYTES)  # one for all: nobody reads what is in it
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
    print(json.dumps(count(listening, int(sys.argv[1]))))  # noqa: T201 - this is its result
