import itertools
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamd.core.errors import BadData
from streamd.net.proxy_header import LONGEST_LINE_BYTES, LONGEST_REST_BYTES, ProxyHeader

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("10.0.0.1") + struct.pack("!HH", 56324, 443)
V6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    + socket.inet_pton(socket.AF_INET6, "::1")
    + struct.pack("!HH", 65535, 0)
)
MAPPED = socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.7") + V6[16:32] + struct.pack("!HH", 9, 443)
UNIX = b"/run/client".ljust(108, b"\0") + b"/run/proxy".ljust(108, b"\0")
TLV = b"\x04\0\x03\0\0\0" + b"\xe0\0\4abcd"


def block(rest: bytes = V4, *, start: bytes = b"\x21\x11", length: int | None = None) -> bytes:
    size = len(rest) if length is None else length
    return SIGNATURE + start + size.to_bytes(2, "big") + rest


def read(data: bytes, *cuts: int) -> tuple[str | None, bytes | None]:
    """The client and the bytes behind the header, fed in pieces."""
    header = ProxyHeader()
    edges = [0, *cuts, len(data)]
    rest: bytes | None = None
    for start, stop in itertools.pairwise(edges):
        if rest is None:
            rest = header.feed(data[start:stop])
        else:
            rest += data[start:stop]
    return header.client, rest


GOOD = [
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n", "192.0.2.7:56324"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"),
    (b"PROXY TCP6 2001:DB8:0::7 ::1 1 65535\r\n", "[2001:db8::7]:1"),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 9 1\r\n", "192.0.2.7:9"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::ffff anything else 1 1\r\n", None),
    (b"PROXY UNKNOWN" + b" " * 92 + b"\r\n", None),
    (block(), "192.0.2.7:56324"),
    (block(V4 + TLV), "192.0.2.7:56324"),
    (block(V6, start=b"\x21\x21"), "[2001:db8::7]:65535"),
    (block(MAPPED, start=b"\x21\x21"), "192.0.2.7:9"),
    (block(V4, start=b"\x21\x12"), "192.0.2.7:56324"),
    (block(UNIX, start=b"\x21\x31"), None),
    (block(V4 + b"\x04\xff\xff", start=b"\x20\x11"), None),
    (block(b"", start=b"\x20\0"), None),
    (block(b"", start=b"\x20\xff"), None),
    (block(b"whatever", start=b"\x21\0"), None),
    (block(V4, start=b"\x21\x10"), None),
    (block(V4 + bytes(LONGEST_REST_BYTES - len(V4))), "192.0.2.7:56324"),
]


@pytest.mark.parametrize(("header", "client"), GOOD)
def test_a_header_names_the_client_and_ends_where_it_ends(header: bytes, client: str | None) -> None:
    assert read(header) == (client, b"")
    assert read(header + b"PROXY \r\ndata") == (client, b"PROXY \r\ndata")
    for at in (1, 5, 11, 12, 13, 15, 16, len(header) - 1):
        assert read(header + b"data", min(at, len(header) - 1)) == (client, b"data")
        assert ProxyHeader().feed(header[: min(at, len(header) - 1)]) is None


BAD = [
    (b"<13>syslog\n", "missing"),
    (b"\x16\x03\x01", "missing"),
    (b"\n", "missing"),
    (b"proxy TCP4", "missing"),
    (b"\r\n\r\n\0\r\nQUIX", "missing"),
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\n" + b"x" * LONGEST_LINE_BYTES, "too_long"),
    (b"PROXY UNKNOWN" + b" " * 93 + b"\r\n", "too_long"),
    (b"PROXY \r\n", "syntax"),
    (b"PROXY TCP5 192.0.2.7 10.0.0.1 56324 443\r\n", "syntax"),
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 56324\r\n", "syntax"),
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443 1\r\n", "syntax"),
    (b"PROXY  TCP4 192.0.2.7 10.0.0.1 56324 443\r\n", "syntax"),
    (b"PROXY TCP4 192.0.2.07 10.0.0.1 56324 443\r\n", "address"),
    (b"PROXY TCP4 192.0.2 10.0.0.1 56324 443\r\n", "address"),
    (b"PROXY TCP4 192.0.2.7 ::1 56324 443\r\n", "address"),
    (b"PROXY TCP6 192.0.2.7 10.0.0.1 56324 443\r\n", "address"),
    (b"PROXY TCP6 fe80::1%eth0 ::1 56324 443\r\n", "address"),
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n", "address"),
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 -1 443\r\n", "address"),
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 1 000443\r\n", "address"),
    (b"PROXY TCP4 192.0.2.7\0 10.0.0.1 1 443\r\n", "address"),
    (b"PROXY TCP4 \xd9\xa1.0.2.7 10.0.0.1 1 443\r\n", "address"),
    (block(start=b"\x11\x11"), "version"),
    (block(start=b"\x31\x11"), "version"),
    (block(start=b"\x22\x11"), "command"),
    (block(start=b"\x21\x41"), "family"),
    (block(start=b"\x21\x13"), "family"),
    (block(V4[:-1]), "address"),
    (block(V4, start=b"\x21\x21"), "address"),
    (block(V4, start=b"\x21\x31"), "address"),
    (block(b"", length=LONGEST_REST_BYTES + 1), "too_long"),
]


@pytest.mark.parametrize(("data", "reason"), BAD)
def test_what_is_no_header_has_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadData) as bad:
        ProxyHeader().feed(data)
    assert bad.value.reason == f"proxy:{reason}"


def test_a_header_that_does_not_end_holds_no_more_than_its_limit() -> None:
    header = ProxyHeader()
    assert header.feed(b"PROXY UNKNOWN ") is None
    for _ in range(LONGEST_LINE_BYTES - 15):
        assert header.feed(b"x") is None
    with pytest.raises(BadData):
        header.feed(b"x")


PIECES = tuple(b"PROXY |TCP4 |TCP6 |UNKNOWN|192.0.2.7 |::1 |1 |65536|\r\n|\r|\n".split(b"|"))


def outcome(data: bytes, *cuts: int) -> tuple[str, str | None, bytes | None]:
    try:
        return ("", *read(data, *cuts))
    except BadData as bad:
        return (bad.reason, None, None)


@settings(max_examples=200)
@given(
    st.one_of(
        st.lists(st.sampled_from(PIECES), max_size=9).map(b"".join),
        st.sampled_from([header for header, _ in GOOD + BAD]),
        st.builds(lambda a, b: SIGNATURE + a + b, st.binary(min_size=4, max_size=4), st.binary(max_size=300)),
        st.binary(max_size=60),
    ),
    st.lists(st.integers(0, 130), max_size=4).map(sorted),
)
def test_any_bytes_in_any_pieces_have_one_outcome(data: bytes, cuts: list[int]) -> None:
    whole = outcome(data)
    assert outcome(data, *(min(cut, len(data)) for cut in cuts)) == whole
    assert outcome(data, *range(1, len(data))) == whole
