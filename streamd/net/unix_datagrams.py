"""Receives datagrams on a unix socket, each with the process that sent it."""

import asyncio
import socket
from collections.abc import Mapping
from typing import Any, ClassVar

from streamd.core.clock import read_clock
from streamd.core.column import Column
from streamd.core.contracts import Outlet, Source, SourceContext
from streamd.core.framer_counts import CUTTING
from streamd.core.frames import FlaggedFrame, Frames
from streamd.core.peer import Peer
from streamd.net.datagram_cutter import DatagramCutter
from streamd.net.source_unix_socket import CREDENTIALS, SourceUnixSocket, path_of, peer_of, rehearse

MOST = 256
"""Most datagrams read in one turn of the loop, which takes less than a millisecond."""
MOST_BYTES = 256 * 1024
"""Room for a datagram that is cut into frames, unless max_frame is larger. By default Linux lets a process
without privileges send 208 KiB."""
_ROOM = socket.CMSG_SPACE(CREDENTIALS.size)


class UnixDatagrams(Source[Any]):
    """A unix socket that receives datagrams. The peer of each is the process that sent it."""

    counters: ClassVar[Mapping[str, str]] = {
        **CUTTING,
        "truncated": "frames cut at `max_frame`",
    }

    def __init__(self, config: Any, context: SourceContext) -> None:
        super().__init__(config, context)
        self.address = path_of(config, context)
        self._bound: SourceUnixSocket | None = None
        self._reading = False
        self._cutter = None if context.new_framer is None else DatagramCutter(context, context.new_framer)
        room_bytes = config.max_frame if self._cutter is None else max(config.max_frame, MOST_BYTES)
        self._room = memoryview(bytearray(room_bytes))

    async def open(self, outlet: Outlet) -> None:
        """Bind and begin to read. Raises `EnvironmentFault`."""
        self._outlet = outlet
        self._loop = asyncio.get_running_loop()
        self._bound = SourceUnixSocket(self.config, self.context, socket.SOCK_DGRAM)
        self._socket = self._bound.socket
        outlet.on_resume(self._resume)
        self._resume()

    def rehearse(self) -> None:
        """Check the path of the socket. Raises `EnvironmentFault`."""
        rehearse(self.config, self.context, socket.SOCK_DGRAM)

    def _resume(self) -> None:
        if not self._reading and self._bound is not None:
            self._loop.add_reader(self._socket.fileno(), self._read)
            self._reading = True

    def _pause(self) -> None:
        if self._reading:
            self._loop.remove_reader(self._socket.fileno())
            self._reading = False

    async def stop(self) -> None:
        """Remove the socket's file, refuse new datagrams, read those queued in the kernel, and close."""
        if self._bound is None:
            return
        self._pause()
        bound, self._bound = self._bound, None
        bound.remove()
        self._socket.shutdown(socket.SHUT_RD)
        while self._read():
            await asyncio.sleep(0)
        self._socket.close()

    def _read(self) -> int:
        """Offer up to `MOST` datagrams to the outlet, and return their number."""
        payloads: list[bytes] = []
        peers: list[Peer] = []
        count = 0
        flagged = False
        try:
            for _ in range(MOST):
                nbytes, ancillary, flags, _ = self._socket.recvmsg_into([self._room], _ROOM)
                if nbytes == 0 and not ancillary:
                    break  # a socket that was shut down is empty
                count += 1
                payload = bytes(self._room[:nbytes])
                if flags & socket.MSG_TRUNC:
                    if self.config.oversize == "drop" and self._cutter is None:
                        self._outlet.refuse(1, "oversize")
                        continue
                    self.context.counters.add("truncated")
                    payload, flagged = FlaggedFrame(payload, "truncated"), True
                payloads.append(payload)
                peers.append(_sender(ancillary))
        except (BlockingIOError, InterruptedError):
            pass
        if payloads:
            same = peers.count(peers[0]) == len(peers)
            self._hand_on(payloads, Column(peers[0]) if same else Column.each(peers, peers[0]), flagged)
        return count

    def _hand_on(self, payloads: list[bytes], peers: Column[Peer], flagged: bool) -> None:
        wall_s = read_clock().wall_s
        cut = (
            (Frames(payloads, peers, Column(wall_s), flagged=flagged),)
            if self._cutter is None
            else self._cutter.cut(payloads, peers, wall_s, self._outlet)
        )
        for frames in cut:
            if not self._outlet.offer(frames):
                self._pause()


def _sender(ancillary: list[tuple[int, int, bytes]]) -> Peer:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            return peer_of(data)
    return Peer("")  # not reached: SO_PASSCRED was set before the socket was bound
