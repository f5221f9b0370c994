"""A connection that finds out, when it ends, whether the peer has read all records."""

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
"""On a TCP socket: bytes that the peer's kernel has not acknowledged. An unacknowledged FIN counts as one.
On a unix socket: memory of what the peer has not read."""
_READ_BYTES = 65536
_READS = 16
"""Most reads in a row, so that a peer that sends without end cannot block the loop."""
_AT_ONCE_BYTES = 256 * 2**10
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class Broken(Exception):  # noqa: N818 - names the state of the connection
    """The connection has failed. `reason` is a short code, `detail` a text for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


async def connect(address: Address, timeout_s: float) -> "ConfirmedConnection":
    """Connect to the first of the host's addresses that accepts. Raises `Broken`."""
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
                    # Raises if the peer has reset the connection meanwhile.
                    is_to_itself = sock.getsockname() == sock.getpeername()
                except BaseException as error:
                    sock.close()
                    if not isinstance(error, OSError):
                        raise
                    failed = Broken("connect", _in_words(_named(error)))
                    continue
                if not is_to_itself:
                    return ConfirmedConnection(sock)
                # A socket may connect to itself if the port is ephemeral and has no listener.
                sock.close()
                failed = Broken("connect", "nothing listens there")
    except TimeoutError:
        raise Broken("connect", f"no answer in {timeout_s:g} s") from None
    except (OSError, UnicodeError) as error:
        raise Broken("resolve", str(error)) from None
    raise failed


class ConfirmedConnection:
    """Sends frames, counts their records, and confirms all of them or none when the connection ends.

    A record counts as sent once the kernel has accepted its whole frame. The records are confirmed under
    three conditions: `end` has sent our FIN, the peer's kernel has acknowledged it, and the peer then ended
    its side. A peer that ended its side after our FIN has read everything before it, because closing a
    socket with unread bytes sends a reset instead. With TLS the peer must also send its `close_notify`,
    which a middlebox cannot forge.

    If the peer ends its side before `end`, nothing is confirmed: it may have shut down its sending side
    without reading anything, and the two cases look the same from here.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.records = 0
        self.sent_bytes = 0
        """Bytes of frames that the kernel has accepted, current while `send` runs."""
        self.confirmed = False
        self.broken: Broken | None = None
        self._sock = sock
        self._session: Session | None = None
        self._said_end = False
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)

    @property
    def unconfirmed(self) -> int:
        """After the end of the connection: the number of sent records that may be unread."""
        return 0 if self.confirmed else self.records

    async def secure(self, session: Session, timeout_s: float) -> None:
        """Make the TLS handshake, before any frame is sent. Raises `Broken` and closes the connection."""
        try:
            async with asyncio.timeout(timeout_s):
                received = b""
                while not session.agree(received):
                    await self._send_all(session.to_send())
                    await asyncio.sleep(0)  # a peer that sends without end must not block the loop
                    received = await self._received()
                    if not received:
                        raise Broken(
                            "tls_failed", "the peer closed the connection instead of agreeing on TLS"
                        )
                await self._send_all(session.to_send())
            session.take(b"")  # data that arrived together with the end of the handshake
            self._session = session
        except TimeoutError:
            raise Broken("tls_failed", f"the peer did not agree on TLS in {timeout_s:g} s") from None
        except OSError as error:
            why = self._why(error, session.agree)
            with contextlib.suppress(OSError):  # an alert for the peer
                self._sock.send(session.to_send())
            raise Broken("tls_failed", _in_words(why)) from None
        finally:
            if self._session is None:
                self.close()

    def is_open(self) -> bool:
        """True if the peer has neither ended nor reset the connection. Received data is discarded."""
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
        """Return once the kernel has accepted all frames. Raises `Broken`; `records` counts the sent ones.

        There is no time limit: `send` waits while the peer does not read.
        """
        data = memoryview(b"".join(frames))
        sent_bytes = 0
        try:
            while sent_bytes < len(data):
                if self._session is None:
                    n = await self._send_some(data[sent_bytes : sent_bytes + _AT_ONCE_BYTES])
                else:
                    n = len(part := data[sent_bytes : sent_bytes + RECORD_BYTES])
                    await self._send_all(self._session.encrypt(part))
                sent_bytes += n
                self.sent_bytes += n
        except OSError as error:
            raise self._break(self._why(error)) from None
        except asyncio.CancelledError:
            self._break(OSError(errno.ECANCELED, "a stop ended the write"))
            raise
        finally:
            self.records += len(frames) if sent_bytes == len(data) else _whole(frames, sent_bytes)

    async def end(self, timeout_s: float) -> None:
        """End our side and wait until the peer ends its own, which confirms the records."""
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
        """Close the socket. The kernel still sends the data it has accepted."""
        self._sock.close()

    def _ended(self) -> None:
        """The peer has ended its side. A later reset means that it left data unread."""
        error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._break(OSError(error, os.strerror(error)))
        elif self._said_end and self._session is not None and not self._session.ended:
            self._break(OSError(errno.ECONNABORTED, "the peer ended the connection without ending TLS"))
        # A peer that answered our close_notify need not have acknowledged our FIN, which counts as one byte.
        elif self._said_end and self._outstanding_bytes() <= (self._session is not None):
            self.confirmed = self.broken is None
        elif self.broken is None:
            self.broken = Broken("closed", "the peer ended the connection before it confirmed the records")

    def _break(self, error: OSError) -> Broken:
        if self.broken is None:
            reason = "tls_failed" if isinstance(error, ssl.SSLError) else "connection"
            self.broken = Broken(reason, _in_words(error))
        return self.broken

    def _why(self, error: OSError, take: Callable[[bytes], object] | None = None) -> OSError:
        """The TLS alert that the peer sent before `error`, or `error` if it sent none.

        A TLS peer usually sends an alert with the reason and then resets the connection. `take` reads the
        alert; it is given while the handshake is incomplete.
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
    """`ECONNRESET` in place of `ENOTCONN`, which the kernel reports for a connection that was reset."""
    if error.errno == errno.ENOTCONN and not isinstance(error, ssl.SSLError):
        return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
    return error


def _in_words(error: OSError) -> str:
    return in_words(error) if isinstance(error, ssl.SSLError) else error.strerror or str(error)


def _wake(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


def _whole(frames: list[bytes], sent_bytes: int) -> int:
    """How many frames are complete in the first `sent_bytes` bytes.

    A line that lacks only its LF is complete: the peer keeps it when the connection ends there.
    """
    whole = end_bytes = 0
    for frame in frames:
        end_bytes += len(frame)
        if end_bytes - frame.endswith(b"\n") > sent_bytes:
            break
        whole += 1
    return whole
