"""One connection to a receiver. It knows exactly how many records the kernel took from it."""

import errno
import os
import select
import socket
import time
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar, Literal

from streamd.client.stop import Stop
from streamd.core.errors import EnvironmentFault
from streamd.core.settings import Address

LARGEST_DATAGRAM_BYTES = 65507
"""65,535 less the IPv4 and UDP headers."""

_CONNECT_TIMEOUT_S = 10.0
_SINK_BYTES = 65536

Framing = Literal["newline", "octet_counting"]


class Connection(ABC):
    """A socket connected to `to`; a path is a unix socket. Every method raises `OSError` where the other
    side refuses.

    `sent_records` counts whole records the kernel has taken, `sent_bytes` all bytes; both are exact
    also after an error. `send` raises `Stopped` where the user ends it.
    """

    KIND: ClassVar[socket.SocketKind]

    def __init__(self, to: Address | Path, stop: Stop) -> None:
        self._stop = stop
        self.sent_records = 0
        self.sent_bytes = 0
        self._socket = _connect(to, self.KIND)

    @abstractmethod
    def send(self, lines: list[bytes]) -> None:
        """Send each line as a record."""

    @abstractmethod
    def finish(self, until_s: float) -> None:
        """Say that this is all, and learn of a late refusal; wait until `until_s` (monotonic) at most."""

    def close(self) -> None:
        """Release the socket. What the kernel has taken, it still delivers."""
        self._socket.close()

    def _wait_for_room(self) -> None:
        self._stop.wait_for(self._socket.fileno(), select.POLLOUT)


class UdpConnection(Connection):
    """One datagram a record. The socket is connected, so that a closed port is reported to it (ICMP).

    A plain loop of `send` makes about 700,000 datagrams a second; `sendmmsg` was 10 % faster, which
    is not worth its ctypes.
    """

    KIND = socket.SOCK_DGRAM

    def send(self, lines: list[bytes]) -> None:
        """Send. Raises `EnvironmentFault` for a record no datagram can hold."""
        send = self._socket.send
        sent = 0
        try:
            for line in lines:
                while True:
                    try:
                        send(line)
                        break
                    except BlockingIOError:
                        self._wait_for_room()
                sent += 1
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            raise EnvironmentFault(
                f"a record of {len(lines[sent])} bytes does not fit into a datagram"
                f" (at most {LARGEST_DATAGRAM_BYTES} bytes)"
            ) from error
        finally:
            self.sent_records += sent
            self.sent_bytes += sum(map(len, lines[:sent]))

    def finish(self, until_s: float) -> None:
        """A refusal of the last datagrams is known at once on this host; others' may come too late."""
        del until_s
        if code := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, os.strerror(code))


class TcpConnection(Connection):
    """Records in a byte stream: lines, or octet counting (RFC 6587 section 3.4.1)."""

    KIND = socket.SOCK_STREAM

    def __init__(self, to: Address | Path, stop: Stop, framing: Framing = "newline") -> None:
        super().__init__(to, stop)
        self._framing = framing
        if isinstance(to, Address):  # what is paced is sent when it is due, not when all is acknowledged
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, lines: list[bytes]) -> None:
        if not lines:
            return
        if self._framing == "newline":
            frames = lines
            data = b"\n".join(lines) + b"\n"
            extra = 1
        else:
            frames = [b"%d %b" % (len(line), line) for line in lines]
            data = b"".join(frames)
            extra = 0
        view, sent = memoryview(data), 0
        try:
            while sent < len(data):
                try:
                    sent += self._socket.send(view[sent:])
                except BlockingIOError:
                    self._wait_for_room()
        finally:
            self.sent_bytes += sent
            if sent == len(data):
                self.sent_records += len(lines)
            else:
                self.sent_records += bisect_right(list(accumulate(len(f) + extra for f in frames)), sent)

    def finish(self, until_s: float) -> None:
        """Close the sending half and wait for the receiver to do the same: then it has read all."""
        self._socket.shutdown(socket.SHUT_WR)
        while True:
            self._socket.settimeout(max(0.0, until_s - time.monotonic()))
            try:
                if not self._socket.recv(_SINK_BYTES):
                    return
            except (TimeoutError, BlockingIOError):
                return


def _places(to: Address | Path, kind: socket.SocketKind) -> Iterator[tuple[int, int, Any]]:
    """Family, protocol and address of each socket that `to` may mean."""
    if isinstance(to, Path):
        yield socket.AF_UNIX, 0, os.fspath(to)
        return
    for family, _, protocol, _, address in socket.getaddrinfo(to.host, to.port, type=kind):
        yield family, protocol, address


def _connect(to: Address | Path, kind: socket.SocketKind) -> socket.socket:
    trouble: OSError | None = None
    for family, protocol, address in _places(to, kind):
        connected = socket.socket(family, kind, protocol)
        try:
            connected.settimeout(_CONNECT_TIMEOUT_S)
            connected.connect(address)
            connected.setblocking(False)
        except OSError as error:
            connected.close()
            trouble = error
        else:
            return connected
    raise trouble or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
