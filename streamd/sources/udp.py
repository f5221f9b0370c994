"""Receives UDP datagrams. A datagram is one frame, or several if the source has a framing."""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self

import structlog
from pydantic import Field, model_validator

from streamd.core.clock import read_clock
from streamd.core.column import Column
from streamd.core.contracts import KernelQueue, Outlet, ReadNotes, Source, SourceContext
from streamd.core.conversion_settings import CompressedDatagrams
from streamd.core.errors import Place
from streamd.core.framer_counts import CUTTING
from streamd.core.frames import FRAME_OVERHEAD_BYTES, Frames
from streamd.core.peer import Peer
from streamd.core.settings import (
    Address,
    Component,
    Endpoint,
    FramingSettings,
    ListenAddress,
    SizeBytes,
    WhenFull,
)
from streamd.net.allow import AllowList, Networks
from streamd.net.datagram_cutter import DatagramCutter
from streamd.net.flood_filter import FloodFilter
from streamd.net.limits import SenderRates
from streamd.net.listen import OwnSockets, place_of
from streamd.net.receive_buffer import ReceiveBuffer
from streamd.net.recvmmsg import BATCH, new_receiver

log = structlog.get_logger()

FEW = 64
REST_S = 0.001
"""Pause after a read of fewer than `FEW` datagrams, so that the next read finds more of them. At 100,000/s
this halves the cost of a datagram. The first datagram after a silence is still read at once."""
RELAX_S = 0.1
"""Seconds between two checks of an engaged flood filter."""
MAX_PEERS = 65536
"""Most senders whose `Peer` is cached. A full cache is cleared, because senders can be spoofed cheaply."""


class Udp(Source["Udp.Config"]):
    """Receives UDP datagrams.

    Without `framing` a datagram is one frame, and the codec decides about several lines in it: several
    records of JSON (`json`, `auto`), or one message of text (`text`, `auto`). With `framing` each line or
    counted message is a frame; limits by sender still count datagrams.
    """

    # The transports of asyncio and uvloop read one or a few datagrams in each turn of the loop and cannot
    # be paused. This source reads up to 512 in one system call whenever the socket is readable, then lets
    # the loop turn.

    opens_beside = True
    in_each_process = True
    counters: ClassVar[Mapping[str, str]] = {
        **CUTTING,
        "kernel_dropped": "datagrams that the kernel dropped because its receive buffer was full",
    }
    address: Address

    class Config(CompressedDatagrams):
        """A UDP listener."""

        listen: ListenAddress = Field(description="address and port, like 127.0.0.1:9999 or [::]:514")
        receive_buffer: SizeBytes = Field(  # type: ignore[assignment]  # parsed by the validator
            "8MiB",
            description="kernel memory for unread datagrams; a warning is logged if the kernel grants less",
        )
        allow: Networks = Field(
            [],
            description="networks (CIDR) that may send; empty: all. Datagrams from other networks are "
            "counted and dropped",
        )
        max_rate_per_sender: int | None = Field(
            None,
            ge=1,
            description="datagrams a second from one IP address, and the largest burst; further ones "
            "are counted and dropped (rate_limited). Default: no limit",
        )

        framing: Component | None = Field(
            None,
            description="the framing, which cuts a datagram into frames, like newline. Default: a "
            "datagram is one frame. The end of a datagram ends its last line",
        )
        max_frame: SizeBytes = Field(  # type: ignore[assignment]  # parsed by the validator
            "64KiB", description="longest frame in a datagram; needs framing"
        )
        oversize: Literal["truncate", "drop"] = Field(
            "truncate",
            description="what happens to a longer frame: truncate (keep max_frame bytes, with a flag) "
            "or drop (and count it); needs framing",
        )

        @model_validator(mode="after")
        def _limits_need_a_framing(self) -> Self:
            for key in ("max_frame", "oversize"):
                if key in self.model_fields_set and self.framing is None:
                    raise ValueError(f"{key} needs framing: without it a datagram is one frame, never cut")
            return self

        @property
        def endpoints(self) -> tuple[Endpoint, ...]:
            """The listening address."""
            return (Endpoint("udp", self.listen, receive_buffer_bytes=self.receive_buffer),)

        @property
        def cut_by(self) -> FramingSettings | None:
            """None without a configured framing: a datagram is one frame."""
            if self.framing is None:
                return None
            return FramingSettings(self.framing, self.max_frame, self.oversize)

        @property
        def default_when_full(self) -> WhenFull:
            """A datagram's sender cannot wait."""
            return "drop_oldest"

    def __init__(self, config: Config, context: SourceContext) -> None:
        super().__init__(config, context)
        self.address = config.listen
        self._allow = AllowList(config.allow)
        self._rates = _rates(config)
        self._cutter = _cutter(context)
        self._sockets = context.sockets or OwnSockets()
        self._socket: socket.socket | None = None
        self._kernel: ReceiveBuffer | None = None
        self._reading = False
        self._full = False
        self._peers: dict[bytes, Peer] = {}
        self._notes: ReadNotes | None = None

    async def open(self, outlet: Outlet) -> None:
        """Bind and begin to read. Raises `EnvironmentFault`."""
        self._outlet = outlet
        self._loop = asyncio.get_running_loop()
        self._socket, self.address = self._sockets.take(
            self.config.listen, socket.SOCK_DGRAM, f"source {self.context.name}"
        )
        self._notes = self._sockets.notes(self.context.name)
        counted_drops = None if self._notes is None else self._notes.counted_drops
        self._kernel = ReceiveBuffer(self._socket, counted_drops)
        self._kernel.grow(self.config.receive_buffer, self.context.name)
        self._receive = self._kernel.measuring(new_receiver(self._socket, self._notes))
        self._flood_filter = FloodFilter(self._socket, self.context.name, self._shown)
        outlet.on_resume(self._have_room)
        self._resume()
        log.info("listening", source=self.context.name, protocol="udp", address=str(self.address))

    def rehearse(self) -> None:
        """Bind and close again, unless the process already holds the socket. Raises `EnvironmentFault`."""
        self._sockets.rehearse(self.config.listen, socket.SOCK_DGRAM, f"source {self.context.name}")

    @property
    def places(self) -> list[Place]:
        """The listening address, as configured and as bound."""
        return [place_of(at, socket.SOCK_DGRAM) for at in {self.config.listen, self.address}]

    def can_become(self, config: Config) -> bool:
        """True if the address is the same: the source keeps its socket."""
        return bool(config.listen == self.config.listen)

    def become(self, config: Config, context: SourceContext) -> None:
        """Take over new settings on the same socket. The receive buffer grows but never shrinks."""
        super().become(config, context)
        self._allow = AllowList(config.allow)
        self._cutter = _cutter(context)
        if self._rates is None or self._rates.rate != config.max_rate_per_sender:
            self._rates = _rates(config)
        if self._kernel is not None:
            self._kernel.grow(config.receive_buffer, context.name)

    @property
    def kernel_queue(self) -> KernelQueue | None:
        """The socket's receive buffer."""
        return None if self._kernel is None else self._kernel.queue()

    def refresh(self) -> None:
        """Count the datagrams that the kernel dropped since the last call."""
        if self._kernel is not None and (drops := self._kernel.new_drops()):
            self.context.counters.add("kernel_dropped", drops)

    async def stop(self) -> None:
        """Stop the kernel from queueing datagrams, read those already queued, and close the socket.

        If another process holds the socket too, the queued datagrams stay there for its next reader.
        """
        if self._socket is None:
            return
        if self._sockets.give_back(self.config.listen, socket.SOCK_DGRAM):
            try:
                # A socket connected to itself gets no datagrams of other senders; the queued ones stay.
                self._socket.connect(self._socket.getsockname())
            except OSError as error:
                log.warning("udp_stop", source=self.context.name, error=str(error))
            while self._read():
                await asyncio.sleep(0)
        self.refresh()
        self._flood_filter.disengage()
        self._pause()  # reading may have resumed meanwhile, and the descriptor's number will be reused
        self._socket.close()
        self._socket = self._kernel = None

    def _pause(self) -> None:
        if self._reading and self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._reading = False

    def _resume(self) -> None:
        if not self._reading and self._socket is not None:
            self._loop.add_reader(self._socket.fileno(), self._on_readable)
            self._reading = True

    def _have_room(self) -> None:
        self._full = False
        self._resume()

    def _on_readable(self) -> None:
        if self._read() < FEW and self._reading:
            self._pause()
            self._loop.call_later(REST_S, self._rested)

    def _relax(self) -> None:
        if self._socket is not None and self._flood_filter.engaged:
            self._flood_filter.relax(read_clock().mono_s)
            self._loop.call_later(RELAX_S, self._relax)

    def _rested(self) -> None:
        if not self._full:
            self._resume()

    def _read(self) -> int:
        """Offer the datagrams of one system call to the outlet, and return their number."""
        count = self._take()
        if self._notes is not None:
            self._notes.end()
        return count

    def _take(self) -> int:
        flood = self._flood_filter
        if flood.engaged:
            flood.measure_queue()
        payloads, senders, size_bytes = self._receive()
        count = len(payloads)
        if not count:
            return 0
        peers = self._peers_of(senders)
        now = read_clock()
        if flood.engaged or count == BATCH:
            self._watch_for_floods(senders, now.mono_s)
        if self._allow:
            payloads, peers = self._allowed(payloads, peers)
        if self._rates is not None and payloads:
            payloads, peers = self._within_rates(self._rates, payloads, peers, now.mono_s)
        if self._cutter is not None:
            for frames in self._cutter.cut(payloads, peers, now.wall_s, self._outlet):
                self._offer(frames)
            return count
        if len(payloads) == count:
            size_bytes += FRAME_OVERHEAD_BYTES * count
        elif payloads:
            size_bytes = sum(map(len, payloads)) + FRAME_OVERHEAD_BYTES * len(payloads)
        else:
            return count
        self._offer(Frames(payloads, peers, Column(now.wall_s), size_bytes=size_bytes))
        return count

    def _offer(self, frames: Frames) -> None:
        if not self._outlet.offer(frames):
            self._full = True
            self._pause()

    def _peers_of(self, senders: list[bytes]) -> Column[Peer]:
        first = senders[0]
        known = self._peers
        one = known.get(first) or self._learn(first)
        if senders.count(first) == len(senders):
            return Column(one)
        return Column(one, [known.get(sender) or self._learn(sender) for sender in senders])

    def _shown(self, peer: Peer) -> Peer:
        return self.context.shown(peer)  # a reload replaces the context

    def _watch_for_floods(self, senders: list[bytes], mono_s: float) -> None:
        engaged = self._flood_filter.engaged
        self._flood_filter.observe(senders, mono_s)
        if self._flood_filter.engaged and not engaged:
            self._loop.call_later(RELAX_S, self._relax)

    def _learn(self, sender: bytes) -> Peer:
        if len(self._peers) >= MAX_PEERS:
            self._peers.clear()
        peer = self._peers[sender] = Peer(peer_text(sender))
        return peer

    def _allowed(self, payloads: list[bytes], peers: Column[Peer]) -> tuple[list[bytes], Column[Peer]]:
        if peers.values is None:
            rows = list(range(len(payloads))) if self._allow.has(peers.same) else []
        else:
            rows = [row for row, peer in enumerate(peers.values) if self._allow.has(peer)]
        return self._kept(rows, payloads, peers, "not_allowed")

    def _within_rates(
        self, rates: SenderRates, payloads: list[bytes], peers: Column[Peer], now_mono_s: float
    ) -> tuple[list[bytes], Column[Peer]]:
        """The datagrams within their sender's rate: the first ones of each sender in this read."""
        if peers.values is None:
            granted = rates.take(peers.same.host, len(payloads), now_mono_s)
            return self._kept(range(granted), payloads, peers, "rate_limited")
        sent = Counter(peer.host for peer in peers.values)
        left = {host: rates.take(host, count, now_mono_s) for host, count in sent.items()}
        if left == sent:
            return payloads, peers
        rows: list[int] = []
        for row, peer in enumerate(peers.values):
            if left[peer.host]:
                left[peer.host] -= 1
                rows.append(row)
        return self._kept(rows, payloads, peers, "rate_limited")

    def _kept(
        self, rows: Sequence[int], payloads: list[bytes], peers: Column[Peer], otherwise: str
    ) -> tuple[list[bytes], Column[Peer]]:
        """The datagrams at these indexes. The rest is counted as dropped for the reason `otherwise`."""
        if len(rows) == len(payloads):
            return payloads, peers
        self._outlet.refuse(len(payloads) - len(rows), otherwise)
        return [payloads[row] for row in rows], peers.take(rows)


def _rates(config: Udp.Config) -> SenderRates | None:
    return None if config.max_rate_per_sender is None else SenderRates(config.max_rate_per_sender)


def _cutter(context: SourceContext) -> DatagramCutter | None:
    return None if context.new_framer is None else DatagramCutter(context, context.new_framer)


def peer_text(sender: bytes) -> str:
    """`address:port` of a raw IPv4 or IPv6 socket address. An IPv4-mapped address is shown as IPv4."""
    (port,) = struct.unpack_from("!H", sender, 2)
    if struct.unpack_from("=H", sender)[0] == socket.AF_INET:
        return f"{socket.inet_ntop(socket.AF_INET, sender[4:8])}:{port}"
    address = sender[8:24]
    if address[:12] == b"\0" * 10 + b"\xff\xff":
        return f"{socket.inet_ntop(socket.AF_INET, address[12:])}:{port}"
    return f"[{socket.inet_ntop(socket.AF_INET6, address)}]:{port}"
