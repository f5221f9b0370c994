"""Senders that overload a daemon until the process is ended.

Run it as a separate process: `python -m streamd.bench.attackers PORT IDLE`. It opens `IDLE` connections that
never send and prints a line. Then it sends endless frames, a flood of datagrams from one address, and random
bytes to both listeners. No frame of it is a valid record.
"""

import contextlib
import random
import resource
import socket
import sys
import time

TURN_S = 0.01
FLOOD = 200
"""Datagrams in a turn. Up to 20,000 a second."""
SLOW = 20
"""Connections that send a frame byte by byte."""
_NOISE_BYTES = 500
_GREEDY, _SLOW, _IDLE = "127.0.0.2", "127.0.0.3", "127.0.0.4"


def connect(port: int, address: str) -> socket.socket:
    """A connection from the sender `address`."""
    return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(address, 0))


def trickle(sock: socket.socket, port: int) -> socket.socket:
    """Send one more byte. Returns the connection, or a new one if it was closed."""
    try:
        sock.send(b"a")
    except OSError:
        sock.close()
        return connect(port, _SLOW)
    return sock


def main(port: int, idle: int) -> None:
    """Attack without end."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    chance = random.Random(1)  # noqa: S311 - the same noise in every run
    silent = [connect(port, _IDLE) for _ in range(idle)]
    slow = [connect(port, _SLOW) for _ in range(SLOW)]
    datagrams = socket.socket(type=socket.SOCK_DGRAM)
    datagrams.bind((_GREEDY, 0))
    datagrams.connect(("127.0.0.1", port))
    sys.stdout.write(f"{len(silent)} connections are open\n")
    sys.stdout.flush()
    due_s = time.monotonic()
    while True:
        for _ in range(FLOOD):
            datagrams.send(b"more, more")
        datagrams.send(chance.randbytes(_NOISE_BYTES))
        slow = [trickle(sock, port) for sock in slow]
        with contextlib.suppress(OSError), connect(port, _GREEDY) as noise:
            noise.sendall(chance.randbytes(_NOISE_BYTES))
        due_s = max(due_s + TURN_S, time.monotonic() - TURN_S)
        time.sleep(max(0.0, due_s - time.monotonic()))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
