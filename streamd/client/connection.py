"""One connection to a receiver, with an exact count of the records that the kernel accepted."""

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

Framing = Literal["newline", "octet_counting", "none"]


class Connection(ABC):
    """A socket connected to the address or unix socket path `to`.

    `sent_records` counts the whole records that the kernel accepted, `sent_bytes` all bytes. Both are exact
    even after an error. Every method raises `OSError` if the receiver refuses. `send` raises `Stopped` if
    the user ends the program.
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
        """End the sending side and report a late refusal. Waits until `until_s` (monotonic) at most."""

    def close(self) -> None:
        """Close the socket. The kernel still delivers the data it has accepted."""
        self._socket.close()

    def _wait_for_room(self) -> None:
        self._stop.wait_for(self._socket.fileno(), select.POLLOUT)


class UdpConnection(Connection):
    """Sends each record as one datagram. The socket is connected, so ICMP reports a closed port to it.

    A plain loop of `send` reaches about 700,000 datagrams a second. `sendmmsg` was only 10 % faster, which
    does not justify ctypes.
    """

    KIND = socket.SOCK_DGRAM

    def send(self, lines: list[bytes]) -> None:
        """Send each line as a datagram. Raises `EnvironmentFault` for a record too large for a datagram."""
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
        """Report a refusal of the last datagrams. A refusal from another host may arrive too late."""
        del until_s
        if code := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, os.strerror(code))


class TcpConnection(Connection):
    """Sends records in a byte stream, as lines or with octet counting (RFC 6587 section 3.4.1).

    With the framing `none`, each record has its end already.
    """

    KIND = socket.SOCK_STREAM

    def __init__(self, to: Address | Path, stop: Stop, framing: Framing = "newline") -> None:
        super().__init__(to, stop)
        self._framing = framing
        if isinstance(to, Address):  # a paced record is sent when it is due, without waiting for an ACK
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, lines: list[bytes]) -> None:
        if not lines:
            return
        if self._framing == "newline":
            frames = lines
            data = b"\n".join(lines) + b"\n"
            extra = 1
        elif self._framing == "none":
            frames = lines
            data = b"".join(lines)
            extra = 0
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
        """Close the sending half and wait for the receiver to close its own: then it has read everything."""
        self._socket.shutdown(socket.SHUT_WR)
        while True:
            self._socket.settimeout(max(0.0, until_s - time.monotonic()))
            try:
                if not self._socket.recv(_SINK_BYTES):
                    return
            except (TimeoutError, BlockingIOError):
                return


def _places(to: Address | Path, kind: socket.SocketKind) -> Iterator[tuple[int, int, Any]]:
    """Family, protocol and address of each socket that `to` resolves to."""
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
