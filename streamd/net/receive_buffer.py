"""The receive buffer of a UDP socket: its size, its content, and the datagrams that found no room in it."""

import socket
import struct
from collections.abc import Callable

import structlog

from streamd.core.contracts import KernelQueue
from streamd.net.flood_filter import SO_MEMINFO
from streamd.net.recvmmsg import BATCH, Datagrams

SO_RCVBUFFORCE = 33

log = structlog.get_logger()


class ReceiveBuffer:
    """The kernel's queue before a source. The kernel counts its bytes, headers and rounding included."""

    def __init__(self, sock: socket.socket, counted_drops: int | None = None) -> None:
        """`counted_drops`: how many drops of this socket are counted already; None: all until now."""
        self._socket = sock
        # An inherited socket counts from before this start.
        self._drops = drops_of(sock) if counted_drops is None else counted_drops
        self._datagrams = 0
        self._datagram_bytes: float | None = None
        self._is_due = False
        self._was_emptied = False

    def grow(self, asked: int, source: str) -> None:
        """Make the buffer at least `asked` bytes large if the kernel allows it; else log what it allows."""
        sock = self._socket
        had = got = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        for option in (socket.SO_RCVBUF, SO_RCVBUFFORCE):  # SO_RCVBUFFORCE needs CAP_NET_ADMIN
            if got >= asked:
                break
            try:
                sock.setsockopt(socket.SOL_SOCKET, option, min(asked, 2**31 - 1))
            except OSError:
                break
            got = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        if got < asked:
            log.warning(
                "receive_buffer_small",
                source=source,
                asked_bytes=asked,
                got_bytes=got,
                had_bytes=had,
                hint=f"sysctl -w net.core.rmem_max={asked}",
            )

    def new_drops(self) -> int:
        """Datagrams that the kernel dropped since the last call; its counter wraps at 2³²."""
        before, self._drops = self._drops, drops_of(self._socket)
        return (self._drops - before) % 2**32

    def queue(self) -> KernelQueue:
        """The queue now. Each call makes a later read measure a datagram in it."""
        self._is_due = True
        used_bytes, max_bytes = self._memory()[:2]
        return KernelQueue(used_bytes, max_bytes, self._datagrams, self._datagram_bytes)

    def measuring(self, receive: Callable[[], Datagrams]) -> Callable[[], Datagrams]:
        """A function that receives, counts the datagrams, and measures one of them when that is due.

        It measures in a read that empties the buffer after another one has emptied it, because the kernel
        returns the memory of datagrams late while others wait.
        """

        def received() -> Datagrams:
            used_bytes = self._memory()[0] if self._is_due and self._was_emptied else 0
            found = receive()
            count = len(found[0])
            self._datagrams += count
            self._was_emptied = count < BATCH
            if used_bytes and 0 < count < BATCH:
                self._datagram_bytes, self._is_due = used_bytes / count, False
            return found

        return received

    def _memory(self) -> tuple[int, ...]:
        return _memory(self._socket)


def drops_of(sock: socket.socket) -> int:
    """How many datagrams the kernel has dropped for want of room in the socket's buffer, modulo 2³²."""
    return _memory(sock)[8]


def _memory(sock: socket.socket) -> tuple[int, ...]:
    """Bytes used, bytes allowed, and more of the socket's memory; at index 8 the dropped datagrams."""
    return struct.unpack("9I", sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))
