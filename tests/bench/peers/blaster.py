"""Sends prepared bytes as fast as they are taken, the same for every system."""

import itertools
import socket
import threading
import time
from pathlib import Path

from streamd.sensors import SensorStream

CONNECTIONS = 4
_CHUNK_BYTES = 256 * 1024


def json_lines(count: int) -> list[bytes]:
    """Readings of nine fields, about 140 bytes each."""
    lines = SensorStream().lines(count)
    return [
        b'%b,"rack":"r-%02d","level":%d}' % (line[:-1], number % 40, number % 5)
        for number, line in enumerate(lines)
    ]


def syslog_lines(count: int) -> list[bytes]:
    """The same readings as messages of RFC 5424, about 150 bytes each."""
    return [
        b"<134>1 2026-01-31T08:%02d:%02d.%06dZ edge-%02d sensor %d reading"
        b' [meta seq="%d"] value %d.%02d C, all well'
        % (n // 60_000_000 % 60, n // 1_000_000 % 60, n % 1_000_000, n % 40, 1000 + n % 7, n, n % 35, n % 100)
        for n in range(count)
    ]


class Blaster:
    """The prepared bytes: a block for each connection, made before the clock starts."""

    def __init__(self, lines: list[bytes], port: int) -> None:
        self._port = port
        self._lines = lines

    def tcp(self) -> float:
        """Send all over `CONNECTIONS` connections at once. The time of the first byte, monotonic."""
        blocks = [b"\n".join(self._lines[part::CONNECTIONS]) + b"\n" for part in range(CONNECTIONS)]
        connections = [socket.create_connection(("127.0.0.1", self._port)) for _ in blocks]
        senders = [
            threading.Thread(target=_send, args=pair) for pair in zip(connections, blocks, strict=True)
        ]
        began_s = time.monotonic()
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        return began_s

    def udp(self) -> float:
        """Send a datagram for each line; wait while over 100 KB are queued, so that none is lost."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("127.0.0.1", self._port))
            began_s = time.monotonic()
            for start in range(0, len(self._lines), 32):
                while _queued_bytes(self._port) > 100_000:
                    time.sleep(0.0005)
                for line in self._lines[start : start + 32]:
                    sock.send(line)
        return began_s


def _send(connection: socket.socket, block: bytes) -> None:
    view = memoryview(block)
    with connection:
        for start in itertools.count(0, _CHUNK_BYTES):
            if start >= len(block):
                break
            connection.sendall(view[start : start + _CHUNK_BYTES])


def _queued_bytes(port: int) -> int:
    """What waits in the kernel for the UDP socket on this port; -1 if there is none."""
    wanted = f":{port:04X}"
    for line in Path("/proc/self/net/udp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(wanted):
            return int(fields[4].partition(":")[2], 16)
    return -1


def is_bound(port: int) -> bool:
    """Whether a UDP socket listens there."""
    return _queued_bytes(port) >= 0
