"""One TCP connection that knows which of the records it sent the peer may not have read."""

import asyncio
import errno
import fcntl
import os
import socket
import struct
import termios
import time
from bisect import bisect_right
from collections import deque
from itertools import accumulate

from streamd.core.settings import Address

_SIOCOUTQ = termios.TIOCOUTQ
"""On a TCP socket: bytes that the peer's kernel has not acknowledged."""
_READ_BYTES = 65536
_READS = 16
"""Most reads in a row: a peer that talks without an end shall not hold the loop."""
_AT_ONCE_BYTES = 256 * 2**10
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class Broken(Exception):  # noqa: N818 - it says what the connection is
    """The connection cannot go on; `reason` is a short code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


async def connect(address: Address, timeout_s: float) -> "Connection":
    """The first of the host's addresses that answers. Raises `Broken`."""
    loop = asyncio.get_running_loop()
    failed = Broken("resolve", "the name has no address")
    try:
        async with asyncio.timeout(timeout_s):
            found = await loop.getaddrinfo(*address, type=socket.SOCK_STREAM)
            for family, kind, protocol, _, where in found:
                sock = socket.socket(family, kind, protocol)
                sock.setblocking(False)
                try:
                    await loop.sock_connect(sock, where)
                except BaseException as error:
                    sock.close()
                    if not isinstance(error, OSError):
                        raise
                    failed = Broken("connect", error.strerror or str(error))
                    continue
                if sock.getsockname() != sock.getpeername():
                    return Connection(sock)
                # A port of the ephemeral range on which nobody listens may connect to itself.
                sock.close()
                failed = Broken("connect", "nobody listens there")
    except TimeoutError:
        raise Broken("connect", f"no answer in {timeout_s:g} s") from None
    except (OSError, UnicodeError) as error:
        raise Broken("resolve", str(error)) from None
    raise failed


class Connection:
    """Sends frames whole, and counts.

    A frame's record counts as sent once the kernel has all of it. `unconfirmed` is known when the
    connection is over: of the records sent those that may not have been read.

    - The peer ended it in order: it had read all that its kernel had acknowledged (a process that closes
      with bytes unread sends a reset instead), so `unconfirmed` is what was not acknowledged.
    - It broke otherwise: what was acknowledged may have died unread in the peer's buffer, whose size nobody
      here knows, so all that this connection carried is `unconfirmed`.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.since_mono_s = time.monotonic()
        self.records = 0
        self.unconfirmed = 0
        self.broken: Broken | None = None
        self._sock = sock
        self._sent_bytes = 0
        self._ends: deque[list[int]] = deque()
        """Where the records that may be unacknowledged end, in bytes of the stream; a list for each send."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)

    def is_open(self) -> bool:
        """Whether the peer has neither closed nor reset it; what the peer may say is read and ignored."""
        try:
            for _ in range(_READS):
                if not self._sock.recv(_READ_BYTES):
                    self._ended()
                    return False
        except BlockingIOError:
            return True
        except OSError as error:
            self._break(error)
            return False
        return True

    async def send(self, frames: list[bytes]) -> None:
        """Return when the kernel has all of them. Raises `Broken`; `records` says how many it took.

        A peer that does not read is waited for, as long as it takes.
        """
        # A line without its end is the record all the same: a peer keeps it when the connection ends there.
        lengths = [len(frame) for frame in frames]
        ends = [
            self._sent_bytes + end - frame.endswith(b"\n")
            for end, frame in zip(accumulate(lengths), frames, strict=True)
        ]
        self._forget_acknowledged()
        before_bytes, before_records = self._sent_bytes, self.records
        data = memoryview(b"".join(frames))
        self._ends.append(ends)
        try:
            while self._sent_bytes - before_bytes < len(data):
                at = self._sent_bytes - before_bytes
                try:
                    self._sent_bytes += self._sock.send(data[at : at + _AT_ONCE_BYTES])
                except BlockingIOError:
                    await self._writable()
                except OSError as error:
                    self._cut(ends, before_records)
                    raise self._break(error) from None
        except asyncio.CancelledError:
            self._cut(ends, before_records)
            self._break(OSError(errno.ECANCELED, "a stop ended the write"))
            raise
        self.records = before_records + len(ends)

    async def end(self, timeout_s: float) -> None:
        """Say that no more comes, and wait until the peer says so too: then it has read everything."""
        if not self.is_open():
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(timeout_s):
                while self.is_open():
                    await self._readable()
        except TimeoutError:
            self._break(OSError(errno.ETIMEDOUT, f"the peer did not end its side in {timeout_s:g} s"))
        except OSError as error:
            self._break(error)

    def close(self) -> None:
        """Release the socket; what the kernel still holds it goes on sending."""
        self._sock.close()

    def _cut(self, ends: list[int], before_records: int) -> None:
        """Of the frames being sent only those the kernel has whole are records that were sent."""
        del ends[bisect_right(ends, self._sent_bytes) :]
        self.records = before_records + len(ends)

    def _ended(self) -> None:
        """The peer has closed; a reset behind that says it had not read what came after."""
        error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._break(OSError(error, os.strerror(error)))
            return
        if self.broken is None:
            self.broken = Broken("closed", "the peer closed the connection")
            self.unconfirmed = self._unacknowledged()

    def _break(self, error: OSError) -> Broken:
        if self.broken is None:
            self.unconfirmed = self.records
            self.broken = Broken("connection", error.strerror or str(error))
        return self.broken

    def _outstanding_bytes(self) -> int:
        (count,) = struct.unpack("i", fcntl.ioctl(self._sock, _SIOCOUTQ, bytes(4)))
        return int(count)

    def _forget_acknowledged(self) -> None:
        acknowledged = self._sent_bytes - self._outstanding_bytes()
        while self._ends and (not self._ends[0] or self._ends[0][-1] <= acknowledged):
            self._ends.popleft()

    def _unacknowledged(self) -> int:
        outstanding = self._outstanding_bytes()
        acknowledged = self._sent_bytes - outstanding
        return sum(len(ends) - bisect_right(ends, acknowledged) for ends in self._ends)

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_writer(self._sock, _wake, ready)
        try:
            await ready
        finally:
            loop.remove_writer(self._sock)

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_reader(self._sock, _wake, ready)
        try:
            await ready
        finally:
            loop.remove_reader(self._sock)


def _wake(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
