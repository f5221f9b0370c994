"""A kernel filter that drops a part of one sender's datagrams while that sender fills the socket's queue."""

import ctypes
import socket
import struct
from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from streamd.core.peer import Peer

log = structlog.get_logger()

SO_MEMINFO = 55
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
_LOAD_WORD, _LOAD_BYTE, _AND, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x30, 0x54, 0x15, 0x35, 0x06
_NETWORK_HEADER = 0xFFF00000
"""`SKF_NET_OFF`: base of offsets into the IP header."""
_RANDOM = 0xFFFFF000 + 56
"""`SKF_AD_OFF + SKF_AD_RANDOM`: a random word."""
_WHOLE = 0xFFFFFFFF
_IPV4_BYTES = 4

FIRST_PART = 1 / 8
LEAST_PART = 1 / 1024
OTHERS_S = 10.0
"""The filter engages only if a second host has sent within this time."""
GROWING_READS = 2
"""Full reads in a row, each of which must leave the queue no shorter, before the filter engages. After a
short delay of the daemon the queue shrinks with each read, so the filter stays off."""
CALM_PER_S = 5_000
"""Datagrams a second below which the flood is over."""


def host_of(sender: bytes) -> bytes:
    """The IP address in a raw socket address, 4 or 16 bytes. An IPv4-mapped address is returned as IPv4."""
    if struct.unpack_from("=H", sender)[0] == socket.AF_INET:
        return sender[4:8]
    address = sender[8:24]
    return address[12:] if address[:12] == b"\0" * 10 + b"\xff\xff" else address


def _peer(host: bytes) -> Peer:
    if len(host) == _IPV4_BYTES:
        return Peer(f"{socket.inet_ntop(socket.AF_INET, host)}:0")
    return Peer(f"[{socket.inet_ntop(socket.AF_INET6, host)}]:0")


def program(host: bytes, part: float) -> bytes:
    """A classic BPF program (McCanne and Jacobson, 1993) that passes a random `part` (0 to 1) of a host's
    datagrams, and all datagrams of other hosts.
    """
    version, first = (0x40, 12) if len(host) == _IPV4_BYTES else (0x60, 8)
    words = struct.unpack(f"!{len(host) // 4}I", host)
    last = 4 + 2 * len(words)  # the index of "accept"; "drop" is behind it
    code = [(_LOAD_BYTE, 0, 0, _NETWORK_HEADER), (_AND, 0, 0, 0xF0)]
    code.append((_JUMP_EQUAL, 0, last + 1 - len(code) - 1, version))
    for number, word in enumerate(words):
        code.append((_LOAD_WORD, 0, 0, _NETWORK_HEADER + first + 4 * number))
        code.append((_JUMP_EQUAL, 0, last + 1 - len(code) - 1, word))
    code.append((_LOAD_WORD, 0, 0, _RANDOM))
    code.append((_JUMP_AT_LEAST, 1, 0, int(part * _WHOLE)))
    code += [(_RETURN, 0, 0, _WHOLE), (_RETURN, 0, 0, 0)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


class FloodFilter:
    """Watches one UDP socket. Engages if one host sends more than half and the queue fills and grows.

    A full socket queue drops the datagrams of all senders alike, however fair the buffer behind it is. The
    filter drops those of the flooding host instead. The socket's drop counter includes them. If only one
    host sends, the filter does nothing.
    """

    def __init__(
        self, sock: socket.socket, source: str, shown: Callable[[Peer], Peer] = lambda peer: peer
    ) -> None:
        """`shown` is the sender as a log line may show it."""
        self._shown = shown
        self.part = 1.0
        """The fraction of the host's datagrams that pass, 0 to 1."""
        self._socket = sock
        self._source = source
        self._host: bytes | None = None
        self._others_mono_s = float("-inf")
        self._before = 0.0
        self._grew = 0
        self._passed = 0
        self._fullest = 0.0
        self._since_mono_s = 0.0
        self._detach()  # a killed process may have left its filter on an inherited socket

    @property
    def engaged(self) -> bool:
        """True while the kernel drops a part of a host's datagrams. `relax` must then run about 10 times a
        second.
        """
        return self._host is not None

    def measure_queue(self) -> None:
        """Record how full the queue is. To be called before each read while engaged."""
        self._fullest = max(self._fullest, self._queue())

    def observe(self, senders: Sequence[bytes], mono_s: float) -> None:
        """Record the senders (raw addresses) of a full read; while engaged, of every read."""
        if self._host is not None:
            self._passed += sum(host_of(sender) == self._host for sender in senders)
            return
        hosts: Counter[bytes] = Counter()
        for sender, count in Counter(senders).items():
            hosts[host_of(sender)] += count
        if len(hosts) > 1:
            self._others_mono_s = mono_s
        elif mono_s - self._others_mono_s > OTHERS_S:
            return
        before, self._before = self._before, self._queue()
        self._grew = self._grew + 1 if self._before >= before else 0
        ((host, count),) = hosts.most_common(1)
        if self._grew >= GROWING_READS and self._before > 1 / 4 and count * 2 > len(senders):
            self._host, self._since_mono_s, self._passed, self._fullest = host, mono_s, 0, 0.0
            self._attach(host, FIRST_PART)
            if self.engaged:
                shown = self._shown(_peer(host))
                log.warning(
                    "udp_flood",
                    source=self._source,
                    sender=(shown.host or shown).strip("[]"),
                    hint="the kernel drops a part of this sender's datagrams, to leave room for others",
                )

    def relax(self, mono_s: float) -> None:
        """Pass more datagrams if the queue stayed short, fewer if it filled, all once the flood is over."""
        host, passed, fullest = self._host, self._passed, self._fullest
        offered_per_s = passed / self.part / max(mono_s - self._since_mono_s, 0.001)
        self._passed, self._fullest, self._since_mono_s = 0, 0.0, mono_s
        if host is None or offered_per_s < CALM_PER_S:
            self.disengage()
        elif fullest > 1 / 4:
            self._attach(host, max(LEAST_PART, self.part / 2))
        elif fullest < 1 / 8 and self.part < 1:
            self._attach(host, min(1.0, self.part * 1.1))

    def disengage(self) -> None:
        """Remove the filter: all datagrams pass again."""
        if self._host is not None:
            self._host = None
            log.info("udp_flood_over", source=self._source)
        self._detach()

    def _queue(self) -> float:
        """How full the socket's queue is: 0 to 1, or slightly more."""
        used, most = struct.unpack_from("2I", self._socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))
        return used / most if most else 0.0

    def _attach(self, host: bytes, part: float) -> None:
        """Attach the filter. If the kernel refuses it, nothing is filtered and no error is raised."""
        self.part = part
        code = ctypes.create_string_buffer(program(host, part))
        pointer = struct.pack("HP", len(code.raw) // 8, ctypes.addressof(code))
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, pointer)
        except OSError as error:
            log.warning("udp_filter_refused", source=self._source, why=str(error))
            self._host, self._grew, self.part = None, 0, 1.0

    def _detach(self) -> None:
        self.part = 1.0
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        except OSError:
            return  # there is no filter, or it is locked
