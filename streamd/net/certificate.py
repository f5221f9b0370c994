"""What a certificate says: until when it holds, and whom it names."""

import base64
import ipaddress
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
_LONG_LENGTH, _VERSION, _UTC_TIME = 0x80, 0xA0, 0x17
_FIRST_YEAR_OF_UTC_TIME = 50


def first_of(pem: bytes) -> bytes:
    """The first certificate of a PEM file, as DER. Raises `ValueError` where there is none."""
    _, begin, rest = pem.partition(_BEGIN)
    body, end, _ = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"it has no {_BEGIN.decode()}")
    return base64.b64decode(body)


def expires_at_wall_s(der: bytes) -> float:
    """The last moment (seconds since 1970) at which a well-formed certificate is valid.

    `ssl` shows that only of a peer's certificate that it has verified.
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
    """The tag of the element at `at`, and where its content begins and ends."""
    length, start = der[at + 1], at + 2
    if length & _LONG_LENGTH:
        width = length & ~_LONG_LENGTH
        length = int.from_bytes(der[start : start + width])
        start += width
    return der[at], start, start + length


def names_in(certificate: Mapping[str, Any]) -> Iterator[str]:
    """The names of a verified peer: the alternative ones that tell who it is first, then the CN."""
    for kind, name in certificate.get("subjectAltName", ()):
        if kind in ("DNS", "URI", "IP Address"):
            yield name.strip() if kind == "IP Address" else name
    for parts in certificate.get("subject", ()):
        for kind, name in parts:
            if kind == "commonName":
                yield name


def normal(name: str) -> str:
    """One spelling to compare: an address as Python writes it, a URI as it is, others in small letters."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name if "://" in name else name.lower()
