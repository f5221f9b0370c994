"""One TCP connection that knows whether the peer has read the records it sent."""

import asyncio
import errno
import fcntl
import os
import socket
import struct
import termios

from streamd.core.settings import Address

_SIOCOUTQ = termios.TIOCOUTQ
"""On a TCP socket: bytes that the peer's kernel has not acknowledged; the end of our side is one."""
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

    A frame's record counts as sent once the kernel has all of it. When the connection is over, all of its
    records are confirmed or none is. They are only where `end` said that no more comes, the peer's kernel
    acknowledged that, and the peer then ended its side: who reads to the end has read everything, and who
    closes before it sends a reset (a process that closes with bytes unread does).

    An end of the peer that comes before ours confirms nothing: it may have shut down its side with
    everything unread, which looks the same from here.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.records = 0
        self.confirmed = False
        self.broken: Broken | None = None
        self._sock = sock
        self._said_end = False
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)

    @property
    def unconfirmed(self) -> int:
        """Of the records sent those that may not have been read, when the connection is over."""
        return 0 if self.confirmed else self.records

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
        data = memoryview(b"".join(frames))
        sent_bytes = 0
        try:
            while sent_bytes < len(data):
                try:
                    sent_bytes += self._sock.send(data[sent_bytes : sent_bytes + _AT_ONCE_BYTES])
                except BlockingIOError:
                    await self._writable()
        except OSError as error:
            raise self._break(error) from None
        except asyncio.CancelledError:
            self._break(OSError(errno.ECANCELED, "a stop ended the write"))
            raise
        finally:
            self.records += len(frames) if sent_bytes == len(data) else _whole(frames, sent_bytes)

    async def end(self, timeout_s: float) -> None:
        """Say that no more comes, and wait until the peer says so too: then it has read everything."""
        if not self.is_open():
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
            self._said_end = True
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

    def _ended(self) -> None:
        """The peer has ended its side; a reset behind that says it had not read what came after."""
        error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._break(OSError(error, os.strerror(error)))
        elif self._said_end and not self._outstanding_bytes():
            self.confirmed = self.broken is None
        elif self.broken is None:
            self.broken = Broken("closed", "the peer ended the connection before it was known to have read")

    def _break(self, error: OSError) -> Broken:
        if self.broken is None:
            self.broken = Broken("connection", error.strerror or str(error))
        return self.broken

    def _outstanding_bytes(self) -> int:
        (count,) = struct.unpack("i", fcntl.ioctl(self._sock, _SIOCOUTQ, bytes(4)))
        return int(count)

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


def _whole(frames: list[bytes], sent_bytes: int) -> int:
    """How many of the frames are in the first so many bytes of them.

    A line without its end is the record all the same: a peer keeps it when the connection ends there.
    """
    whole = end_bytes = 0
    for frame in frames:
        end_bytes += len(frame)
        if end_bytes - frame.endswith(b"\n") > sent_bytes:
            break
        whole += 1
    return whole
