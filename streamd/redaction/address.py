"""IP addresses in texts.

IPv4 in four decimal numbers, IPv6 in each textual form (RFC 4291: shortened, with an IPv4 address at the end,
with a zone). Four numbers are no address in a version (`Chrome/120.0.0.0`, `version 1.2.3.4`), which is an
assumption from the words before and behind. An IPv6 address begins with a group of three digits or more, has
eight groups, or is `::1` or an embedded IPv4 address; so `[::2]` and `a::b` of programs are no addresses.
Eight groups of two digits each are a hardware address.
"""

import re

from streamd.redaction.span import Span
from streamd.redaction.truncation import address4, address6

_FOUR = re.compile(r"\d(?<![0-9A-Za-z]\d)(?<!\d\.\d)\d{0,2}(?:\.\d{1,3}){3}(?![0-9A-Za-z])(?!\.\d)", re.ASCII)
_PRODUCTS = (
    "chrome", "chromium", "crios", "edg", "opr", "version", "yabrowser", "vivaldi", "brave", "browser",
    "safari", "firefox", "mozilla", "webkit", "curl", "wget", "okhttp", "python", "java",
)  # fmt: skip
"""What programs that name their version behind a slash are called, or end with (`SamsungBrowser`)."""
_VERSION_WORDS = frozenset({"version", "ver", "vers", "firmware", "build", "revision", "rev", "fw"})
_SHORT_WORDS = frozenset({"ver", "vers", "rev", "v"})
"""Those that a full stop may follow: `ver. 1.2.3.4`. Behind other words it ends a sentence."""
_LONGEST_WORD = 40
_VERSION_BEHIND = re.compile(
    r"[-+~](?:alpha|beta|rc|snapshot|dev|pre|build|\d+(?:ubuntu|deb|\.el|\.fc|~))", re.IGNORECASE
)
_SIX = re.compile(r"(?<![0-9a-f.])[0-9a-f.]*+:[0-9a-f.]*+:[0-9a-f:.]*+", re.IGNORECASE | re.ASCII)
_ZONE = re.compile(r"%(?:25)?[A-Za-z0-9](?:[\w.-]{0,14}\w)?", re.ASCII)
_MIN_SIX, _MAX_SIX = 3, 45
_GROUPS = 8
_MIN_COLONS = 6
"""Colons of an address that is not shortened and has an IPv4 address at its end."""
_EUI = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){7}", re.IGNORECASE)
_LONG_FIRST = re.compile(r"(?:[0-9a-f]{3,4}:|64:ff9b:|::ffff:)", re.IGNORECASE)


def find_addresses(text: str) -> list[Span]:
    """The addresses in a text; linear in its length."""
    found = _find_four(text) if text.count(".") > 2 else []  # noqa: PLR2004 - between four numbers
    if "::" in text or text.count(":") >= _MIN_COLONS:
        found += _find_six(text)
    return found


def _find_four(text: str) -> list[Span]:
    return [
        Span(*place.span())
        for place in _FOUR.finditer(text)
        if address4(place[0]) is not None and not _is_version(text, *place.span())
    ]


def _is_version(text: str, start: int, end: int) -> bool:
    """Whether the four numbers are the version of a product, by the words before and behind them."""
    if text[end : end + 1] in ("-", "+", "~") and _VERSION_BEHIND.match(text, end):
        return True
    before = text[max(0, start - _LONGEST_WORD) : start]
    if before.endswith("/"):
        word = _last_word(before[:-1])
        return (
            word.endswith(_PRODUCTS)
            or (word.startswith("edg") and len(word) < len("edgios/"))
            or (text[start:end].endswith(".0.0.0") and word[-1:].isalpha())
        )
    plain = before.rstrip(" \t\"':=")
    if plain.endswith("."):
        return _last_word(plain[:-1]) in _SHORT_WORDS
    return _last_word(plain) in _VERSION_WORDS


def _last_word(text: str) -> str:
    """The letters at the end, in small ones."""
    start = len(text)
    while start and text[start - 1].isalpha():
        start -= 1
    return text[start:].lower()


def _find_six(text: str) -> list[Span]:
    found: list[Span] = []
    for run in _SIX.finditer(text):
        start, end = run.span()
        if start and text[start - 1].isalnum() and text[start - 1].isascii():
            start = text.index(":", start) + 1  # `addr:2001:db8::1`
        elif text[start] == ":" and text[start + 1 : start + 2] != ":":
            start += 1
        if end < len(text) and text[end].isalnum() and text[end].isascii():
            end = max(text.rfind(":", start, end), start)
        while end > start and (text[end - 1] == "." or (text[end - 1] == ":" and text[end - 2] != ":")):
            end -= 1
        if _MIN_SIX <= end - start <= _MAX_SIX and _is_six(text[start:end]):
            zone = _ZONE.match(text, end)
            found.append(Span(start, zone.end() if zone else end))
    return found


def _is_six(text: str) -> bool:
    if address6(text) is None or _EUI.fullmatch(text):
        return False
    if text == "::1" or "." in text or text.count(":") == _GROUPS - 1:
        return True
    return _LONG_FIRST.match(text) is not None and any(map(str.isdigit, text))
