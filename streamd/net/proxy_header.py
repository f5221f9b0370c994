"""Reads the header of the PROXY protocol, versions 1 and 2, with which a proxy names its client.

https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt
"""

import socket
import struct

from streamd.core.errors import BadData
from streamd.core.peer import Peer

LONGEST_LINE_BYTES = 107
"""Longest header of version 1, with its CRLF (section 2.1)."""
LONGEST_REST_BYTES = 4096
"""Most bytes that may follow the fixed part of version 2: addresses, and values (TLV) like a certificate."""
_WORD = b"PROXY "
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED = struct.Struct("!12sBBH")
_VERSION = 2
_LOCAL, _PROXY = 0, 1
_LAST_PORT = 65535
_PORT_DIGITS = 5
_WORDS_OF_A_LINE = 5
"""The words behind `PROXY`: the family, two addresses and two ports."""
_UNSPECIFIED, _INET, _INET6, _UNIX = range(4)
_LAST_TRANSPORT = 2
_FAMILIES = {_INET: (socket.AF_INET, 4), _INET6: (socket.AF_INET6, 16)}
"""The address family of each number of version 2, and the bytes of one address."""
_WORDS = {b"TCP4": socket.AF_INET, b"TCP6": socket.AF_INET6}
_PORTS = struct.Struct("!HH")
_UNIX_BYTES = 216


class ProxyHeader:
    """The header of one connection. Pure logic; it holds at most the bytes of the longest header.

    However the bytes are divided over calls of `feed`, the result is the same.
    """

    def __init__(self) -> None:
        self.client: Peer | None = None
        """The client that the proxy names. None if it names none with an IP address: a health check of its
        own (LOCAL), an unknown client (UNKNOWN, UNSPEC) or one on a unix socket."""
        self._held = b""

    @property
    def begun(self) -> bool:
        """Whether a part of the header is here."""
        return bool(self._held)

    def feed(self, data: bytes) -> bytes | None:
        """The bytes behind the header; None while it is incomplete.

        Raises `BadData` as soon as no header can follow: `proxy:missing` (the connection begins with other
        bytes), `proxy:syntax`, `proxy:too_long`, `proxy:version`, `proxy:command`, `proxy:family`,
        `proxy:address`.
        """
        held = self._held = self._held + data
        if held.startswith(_SIGNATURE[: len(held)]):
            end = self._take_block(held)
        elif held.startswith(_WORD[: len(held)]):
            end = self._take_line(held)
        else:
            raise BadData("proxy:missing")
        return None if end is None else held[end:]

    def _take_line(self, held: bytes) -> int | None:
        end = held.find(b"\r\n", 0, LONGEST_LINE_BYTES)
        if end < 0:
            if len(held) >= LONGEST_LINE_BYTES:
                raise BadData("proxy:too_long")
            return None
        words = held[len(_WORD) : end].split(b" ")
        if words[0] != b"UNKNOWN":
            if len(words) != _WORDS_OF_A_LINE or words[0] not in _WORDS:
                raise BadData("proxy:syntax")
            family = _WORDS[words[0]]
            source, _ = _packed(family, words[1]), _packed(family, words[2])
            port, _ = _port(words[3]), _port(words[4])
            self.client = _peer(family, source, port)
        return end + 2

    def _take_block(self, held: bytes) -> int | None:
        if len(held) < _FIXED.size:
            return None
        _, version_command, kind, rest_bytes = _FIXED.unpack_from(held)
        version, command = version_command >> 4, version_command & 15
        if version != _VERSION:
            raise BadData("proxy:version")
        if command not in (_LOCAL, _PROXY):
            raise BadData("proxy:command")
        if rest_bytes > LONGEST_REST_BYTES:
            raise BadData("proxy:too_long")
        end: int = _FIXED.size + rest_bytes
        if len(held) < end:
            return None
        if command == _PROXY:
            self.client = _client(kind >> 4, kind & 15, held[_FIXED.size : end])
        return end


def _client(family: int, transport: int, block: bytes) -> Peer | None:
    """The client in the addresses and values of version 2 (section 2.2)."""
    if family > _UNIX or transport > _LAST_TRANSPORT:
        raise BadData("proxy:family")
    if _UNSPECIFIED in (family, transport):
        return None
    if family == _UNIX:
        if len(block) < _UNIX_BYTES:
            raise BadData("proxy:address")
        return None
    kind, size = _FAMILIES[family]
    if len(block) < 2 * size + _PORTS.size:
        raise BadData("proxy:address")
    port, _ = _PORTS.unpack_from(block, 2 * size)
    return _peer(kind, block[:size], port)


def peer_at(host: str, port: int) -> Peer:
    """`address:port`. An IPv4-mapped address is shown as IPv4, an IPv6 address in brackets."""
    host = host.removeprefix("::ffff:") if "." in host else host
    return Peer(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def _packed(family: int, text: bytes) -> bytes:
    try:
        return socket.inet_pton(family, text.decode("ascii"))
    except (OSError, ValueError):
        raise BadData("proxy:address") from None


def _port(text: bytes) -> int:
    if not text.isdigit() or len(text) > _PORT_DIGITS or int(text) > _LAST_PORT:
        raise BadData("proxy:address")
    return int(text)


def _peer(family: int, packed: bytes, port: int) -> Peer:
    return peer_at(socket.inet_ntop(family, packed), port)
