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

_FOUR = re.compile(r"(?<![0-9A-Za-z])(?<!\d\.)\d{1,3}(?:\.\d{1,3}){3}(?![0-9A-Za-z])(?!\.\d)", re.ASCII)
_PRODUCT = re.compile(r"(?<![0-9A-Za-z])v?[A-Za-z][\w.+-]{0,40}/$", re.ASCII)
_BROWSER = re.compile(
    r"(?:chrome|chromium|crios|edg[a-z]*|opr|version|yabrowser|vivaldi|brave|browser|safari|firefox|mozilla|webkit"
    r"|curl|wget|agent|client|sdk|lib[a-z]*|okhttp|python|java|go)/$",
    re.IGNORECASE,
)
_VERSION_BEFORE = re.compile(
    r"(?:version|ver|vers|release|firmware|build|revision|rev|fw)(?:[\"']?\s{0,2}[:=]?\s{0,2}[\"']?|\.\s?)$",
    re.IGNORECASE,
)
_VERSION_BEHIND = re.compile(
    r"[-+~](?:alpha|beta|rc|snapshot|dev|pre|build|\d+(?:ubuntu|deb|\.el|\.fc|~))", re.IGNORECASE
)
_LOOK_BACK = 48
_SIX = re.compile(r"[0-9a-f.]*+:[0-9a-f.]*+:[0-9a-f:.]*+", re.IGNORECASE | re.ASCII)
_ZONE = re.compile(r"%(?:25)?[A-Za-z0-9][\w.-]{0,15}", re.ASCII)
_MIN_SIX, _MAX_SIX = 3, 45
_GROUPS = 8
_EUI = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){7}", re.IGNORECASE)
_LONG_FIRST = re.compile(r"(?:[0-9a-f]{3,4}:|64:ff9b:|::ffff:)", re.IGNORECASE)


def find_addresses(text: str) -> list[Span]:
    """The addresses in a text; linear in its length."""
    found = _find_four(text) if text.count(".") > 2 else []  # noqa: PLR2004 - between four numbers
    if text.count(":") > 1:
        found += _find_six(text)
    return found


def _find_four(text: str) -> list[Span]:
    return [
        Span(*place.span())
        for place in _FOUR.finditer(text)
        if address4(place[0]) is not None and not _is_version(text, *place.span())
    ]


def _is_version(text: str, start: int, end: int) -> bool:
    if _VERSION_BEHIND.match(text, end):
        return True
    before = text[max(0, start - _LOOK_BACK) : start]
    if before.endswith("/"):
        return _BROWSER.search(before) is not None or (
            text[start:end].endswith(".0.0.0") and _PRODUCT.search(before) is not None
        )
    return _VERSION_BEFORE.search(before) is not None


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
