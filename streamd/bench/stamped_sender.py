"""A paced sender that stores the time of each record.

Run it as a separate process: `python -m streamd.bench.stamped_sender PORT RATE COUNT FILE`. FILE gets one
double for each record: the time just before its write on the monotonic clock, which all processes share.
"""

import sys
import time
from array import array
from pathlib import Path

from streamd.client.connection import TcpConnection
from streamd.client.stop import Stop
from streamd.client.transfer import finish, transfer
from streamd.core.settings import Address
from streamd.sensors import SensorStream


class StampedConnection(TcpConnection):
    """A TCP connection that keeps the time of each record."""

    def __init__(self, to: Address, stop: Stop) -> None:
        super().__init__(to, stop)
        self.sent_at_s = array("d")

    def send(self, lines: list[bytes]) -> None:
        self.sent_at_s.extend([time.monotonic()] * len(lines))
        super().send(lines)


def main(port: int, rate: float, count: int, file: Path) -> None:
    """Send `count` records of the sensor stream at `rate` a second over one connection."""
    connection = StampedConnection(Address("127.0.0.1", port), Stop())
    transfer([SensorStream().lines(count)], [connection], Stop(), rate=rate)
    finish([connection])
    file.write_bytes(connection.sent_at_s.tobytes())


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
