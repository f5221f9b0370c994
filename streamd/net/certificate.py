"""Reads a certificate's expiry and names."""

import base64
import ipaddress
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
_LONG_LENGTH, _VERSION, _UTC_TIME = 0x80, 0xA0, 0x17
_FIRST_YEAR_OF_UTC_TIME = 50


def first_of(pem: bytes) -> bytes:
    """The first certificate of a PEM file, as DER. Raises `ValueError` if it has none."""
    _, begin, rest = pem.partition(_BEGIN)
    body, end, _ = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"it has no {_BEGIN.decode()}")
    return base64.b64decode(body)


def expires_at_wall_s(der: bytes) -> float:
    """The expiry of a well-formed certificate (RFC 5280 section 4.1.2.5), in seconds since 1970.

    Parsed here because `ssl` shows the expiry only of a verified peer's certificate.
    """
    _, at, _ = _element(der, 0)  # Certificate
    _, at, _ = _element(der, at)  # TBSCertificate
    tag, _, end = _element(der, at)
    at = end if tag == _VERSION else at
    for _ in range(3):  # serialNumber, signature, issuer
        _, _, at = _element(der, at)
    _, at, _ = _element(der, at)  # Validity
    _, _, at = _element(der, at)  # notBefore
    tag, start, end = _element(der, at)
    text = der[start:end].decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if int(text[:2]) >= _FIRST_YEAR_OF_UTC_TIME else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Tag, start and end of the content of the DER element at `at`."""
    length, start = der[at + 1], at + 2
    if length & _LONG_LENGTH:
        width = length & ~_LONG_LENGTH
        length = int.from_bytes(der[start : start + width])
        start += width
    return der[at], start, start + length


def names_in(certificate: Mapping[str, Any]) -> Iterator[str]:
    """The names of a verified peer: its alternative names (DNS, URI, IP address), then its CN."""
    for kind, name in certificate.get("subjectAltName", ()):
        if kind in ("DNS", "URI", "IP Address"):
            yield name.strip() if kind == "IP Address" else name
    for parts in certificate.get("subject", ()):
        for kind, name in parts:
            if kind == "commonName":
                yield name


def normal(name: str) -> str:
    """A form to compare: an address as Python writes it, a URI unchanged, other names in lower case."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name if "://" in name else name.lower()
