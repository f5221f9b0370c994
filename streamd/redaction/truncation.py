"""IP addresses in texts, cut to the prefix of their network."""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network

_BITS4, _BITS6 = 32, 128
_BEHIND = r"((?::\d{1,5})?(?:/\d{1,3})?)"
_FORM4 = re.compile(rf"(\[?)(\d{{1,3}}(?:\.\d{{1,3}}){{3}})(?:%[\w.-]*)?(\]?){_BEHIND}", re.ASCII)
_FORM6 = re.compile(
    rf"(\[)([0-9a-f:.]{{2,45}})(?:%[\w.-]*)?(\]){_BEHIND}|([0-9a-f:.]{{2,45}})(?:%[\w.-]*)?((?:/\d{{1,3}})?)",
    re.ASCII | re.IGNORECASE,
)
_LIST = re.compile(r"(\s*[,;]\s*|\s+)")
_MAX_CHARS = 4096
_SIX_TO_FOUR = IPv6Network("2002::/16")
_WITH_IPV4_AT_END = tuple(map(IPv6Network, ("64:ff9b::/96", "::/96", "2001::/32")))


def address4(text: str) -> IPv4Address | None:
    """The IPv4 address of four decimal numbers; zeros before a number are ignored."""
    parts = [int(part) for part in text.split(".")]
    return IPv4Address(bytes(parts)) if max(parts) < 256 else None  # noqa: PLR2004 - a byte


def address6(text: str) -> IPv6Address | None:
    """The IPv6 address, without zone."""
    try:
        return IPv6Address(text)
    except ValueError:
        return None


def _cut4(address: IPv4Address, prefix: int) -> str:
    shift = _BITS4 - prefix
    return str(IPv4Address(int(address) >> shift << shift))


def _cut6(address: IPv6Address, prefix4: int, prefix6: int) -> str:
    """The cut address. An IPv4 address inside of it is cut to `prefix4` too."""
    if (mapped := address.ipv4_mapped) is not None:
        return f"::ffff:{_cut4(mapped, prefix4)}"
    if address in _SIX_TO_FOUR:  # its bits 16 to 48 are an IPv4 address
        prefix6 = min(prefix6, 16 + prefix4)
    elif any(address in network for network in _WITH_IPV4_AT_END):
        prefix6 = min(prefix6, 96 + prefix4)
    shift = _BITS6 - prefix6
    return str(IPv6Address(int(address) >> shift << shift))


@lru_cache(4096)
def truncated(text: str, prefix4: int, prefix6: int) -> str | None:
    """The text with each address cut to its first bits; None if it is not an address or a list of them.

    An address may have brackets, a zone (which is removed), and a port or the length of a prefix, which stay.
    In a list, commas, semicolons or spaces are between the addresses.
    """
    if len(text) > _MAX_CHARS:
        return None
    parts = _LIST.split(text)
    for at in range(0, len(parts), 2):
        if parts[at] or len(parts) == 1:
            cut = _one(parts[at], prefix4, prefix6)
            if cut is None:
                return None
            parts[at] = cut
    return "".join(parts) if text.strip(" \t,;") else None


def _one(text: str, prefix4: int, prefix6: int) -> str | None:
    if found := _FORM4.fullmatch(text):
        opening, digits, closing, behind = found.groups()
        four = address4(digits)
        if four is None or bool(opening) is not bool(closing):
            return None
        return f"{opening}{_cut4(four, prefix4)}{closing}{behind}"
    if found := _FORM6.fullmatch(text):
        opening, inner, closing, behind, plain, prefix = found.groups()
        six = address6(inner or plain)
        if six is None:
            return None
        cut = _cut6(six, prefix4, prefix6)
        return f"[{cut}]{behind}" if opening else f"{cut}{prefix}"
    return None
