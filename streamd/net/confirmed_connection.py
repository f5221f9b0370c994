"""One TCP connection that knows whether the peer has read the records it sent."""

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import ssl
import struct
import termios
from collections.abc import Callable

from streamd.core.settings import Address
from streamd.net.client_tls import RECORD_BYTES, Session, in_words

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


async def connect(address: Address, timeout_s: float) -> "ConfirmedConnection":
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
                    # Raises where the peer has reset it meanwhile.
                    is_to_itself = sock.getsockname() == sock.getpeername()
                except BaseException as error:
                    sock.close()
                    if not isinstance(error, OSError):
                        raise
                    failed = Broken("connect", _in_words(_named(error)))
                    continue
                if not is_to_itself:
                    return ConfirmedConnection(sock)
                # A port of the ephemeral range on which nobody listens may connect to itself.
                sock.close()
                failed = Broken("connect", "nobody listens there")
    except TimeoutError:
        raise Broken("connect", f"no answer in {timeout_s:g} s") from None
    except (OSError, UnicodeError) as error:
        raise Broken("resolve", str(error)) from None
    raise failed


class ConfirmedConnection:
    """Sends frames whole, and counts.

    A frame's record counts as sent once the kernel has all of it. When the connection is over, all of its
    records are confirmed or none is. They are only where `end` said that no more comes, the peer's kernel
    acknowledged that, and the peer then ended its side: who reads to the end has read everything, and who
    closes before it sends a reset (a process that closes with bytes unread does). Inside TLS the peer has to
    end its side there too, which nobody on the way can do in its name.

    An end of the peer that comes before ours confirms nothing: it may have shut down its side with
    everything unread, which looks the same from here.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.records = 0
        self.confirmed = False
        self.broken: Broken | None = None
        self._sock = sock
        self._session: Session | None = None
        self._said_end = False
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)

    @property
    def unconfirmed(self) -> int:
        """Of the records sent those that may not have been read, when the connection is over."""
        return 0 if self.confirmed else self.records

    async def secure(self, session: Session, timeout_s: float) -> None:
        """Agree on TLS before anything is sent. Raises `Broken`; then it is closed."""
        try:
            async with asyncio.timeout(timeout_s):
                received = b""
                while not session.agree(received):
                    await self._send_all(session.to_send())
                    await asyncio.sleep(0)  # a peer that talks without an end shall not hold the loop
                    received = await self._received()
                    if not received:
                        raise Broken(
                            "tls_failed", "the peer closed the connection instead of agreeing on TLS"
                        )
                await self._send_all(session.to_send())
            session.take(b"")  # what came with the end of the handshake
            self._session = session
        except TimeoutError:
            raise Broken("tls_failed", f"the peer did not agree on TLS in {timeout_s:g} s") from None
        except OSError as error:
            why = self._why(error, session.agree)
            with contextlib.suppress(OSError):  # the peer may want to know why
                self._sock.send(session.to_send())
            raise Broken("tls_failed", _in_words(why)) from None
        finally:
            if self._session is None:
                self.close()

    def is_open(self) -> bool:
        """Whether the peer has neither ended nor reset it; what the peer may say is read and ignored."""
        try:
            for _ in range(_READS):
                received = self._sock.recv(_READ_BYTES)
                if not received:
                    self._ended()
                    return False
                if self._session is not None:
                    self._session.take(received)
        except BlockingIOError:
            pass
        except OSError as error:
            self._break(error)
            return False
        if self._session is not None and self._session.ended and not self._said_end:
            self._ended()
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
                if self._session is None:
                    sent_bytes += await self._send_some(data[sent_bytes : sent_bytes + _AT_ONCE_BYTES])
                else:
                    part = data[sent_bytes : sent_bytes + RECORD_BYTES]
                    await self._send_all(self._session.encrypt(part))
                    sent_bytes += len(part)
        except OSError as error:
            raise self._break(self._why(error)) from None
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
            async with asyncio.timeout(timeout_s):
                if self._session is not None:
                    await self._send_all(self._session.end())
                self._sock.shutdown(socket.SHUT_WR)
                self._said_end = True
                while self.is_open():
                    await self._readable()
        except TimeoutError:
            self._break(OSError(errno.ETIMEDOUT, f"the peer did not end its side in {timeout_s:g} s"))
        except OSError as error:
            self._break(self._why(error))

    def close(self) -> None:
        """Release the socket; what the kernel still holds it goes on sending."""
        self._sock.close()

    def _ended(self) -> None:
        """The peer has ended its side; a reset behind that says it had not read what came after."""
        error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._break(OSError(error, os.strerror(error)))
        elif self._said_end and self._session is not None and not self._session.ended:
            self._break(OSError(errno.ECONNABORTED, "the peer ended the connection, and not its TLS"))
        # Who answers the end inside TLS need not wait for that of the connection, the last byte outstanding.
        elif self._said_end and self._outstanding_bytes() <= (self._session is not None):
            self.confirmed = self.broken is None
        elif self.broken is None:
            self.broken = Broken("closed", "the peer ended the connection before it was known to have read")

    def _break(self, error: OSError) -> Broken:
        if self.broken is None:
            reason = "tls_failed" if isinstance(error, ssl.SSLError) else "connection"
            self.broken = Broken(reason, _in_words(error))
        return self.broken

    def _why(self, error: OSError, take: Callable[[bytes], object] | None = None) -> OSError:
        """What the peer said before `error`: TLS names its reason, and then most often resets the connection.

        `take` is for a session that is not agreed on yet.
        """
        if take is None and self._session is not None:
            take = self._session.take
        if take is not None and not isinstance(error, ssl.SSLError):
            try:
                for _ in range(_READS):
                    if not (received := self._sock.recv(_READ_BYTES)):
                        break
                    take(received)
            except ssl.SSLError as said:
                return said
            except OSError:
                pass
        return _named(error)

    def _outstanding_bytes(self) -> int:
        (count,) = struct.unpack("i", fcntl.ioctl(self._sock, _SIOCOUTQ, bytes(4)))
        return int(count)

    async def _send_some(self, data: bytes | memoryview) -> int:
        while True:
            try:
                return self._sock.send(data)
            except BlockingIOError:
                await self._writable()

    async def _send_all(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[await self._send_some(left) :]

    async def _received(self) -> bytes:
        while True:
            try:
                return self._sock.recv(_READ_BYTES)
            except BlockingIOError:
                await self._readable()

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


def _named(error: OSError) -> OSError:
    """The kernel calls it "not connected" where a connection that there was has been reset."""
    if error.errno == errno.ENOTCONN and not isinstance(error, ssl.SSLError):
        return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
    return error


def _in_words(error: OSError) -> str:
    return in_words(error) if isinstance(error, ssl.SSLError) else error.strerror or str(error)


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
