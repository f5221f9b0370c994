"""The header of RFC 3164, as devices write it: `Oct 11 22:14:15 host tag[pid]: message`."""

import re
from typing import NamedTuple

from streamd.syslog import stamps, structured_data
from streamd.syslog.message import Elements, SyslogMessage
from streamd.syslog.stamps import Stamp

_SEQUENCE = re.compile(r"(\d{1,20}): ", re.ASCII)
_MOST_SEQUENCES = 2
"""Cisco IOS may number messages twice: those to this server, and all."""
_ORIGIN = re.compile(r"([^\s:%]{1,255}(?: \d[\d/]*+)?): ?(?=[*.]?(?:[A-Za-z]{3} |\d{4}[ -])|%)", re.ASCII)
"""The name of the device, or of its card (`CLC 6/0`), before the time."""
_FORWARDED = re.compile(r"(?:Message forwarded from|From) ([^\s:]{1,255}): ")
_REPEATED = "last message repeated "
_HOST = re.compile(r'(?=[^\s]*\w)(?!%)[^\s={}"|,<>;()\\]{1,255}+(?=\s|\Z)')
_TAG = re.compile(
    r"""\ *+(?!@cee:|CEF:\d|LEEF:\d|\d+:\d)
    ([^\s:\[\]{}"'=|,<>;\\]{1,128})
    (?:\[([^\]\s]{0,128})\]:?+|:(?!//))\ ?""",
    re.ASCII | re.VERBOSE,
)
_WORD = re.compile(r"([A-Za-z_][\w./()#-]{0,127})(?: |\Z)", re.ASCII)


class _Header(NamedTuple):
    """The parts of a header, each of which may be missing, and where the message begins."""

    stamp: Stamp | None
    hostname: str | None
    appname: str | None
    procid: str | None
    elements: Elements
    end: int


def read(text: str, at: int, priority: int, received_at: float, timezone: str) -> tuple[SyslogMessage, bool]:
    """The message whose header begins at `at`, and whether it has any header.

    Every part of a header may be missing. Besides RFC 3164, a header may begin with sequence numbers or the
    host and a colon (Cisco) or with a colon (Nexus, ASA), and may have a year, an offset or a zone behind the
    time. A sequence number becomes `meta.sequenceId` of the structured data, as in RFC 5424 section 7.3.1; a
    clock that is not synchronised becomes `timeQuality.isSynced`, and the name of a zone `timeQuality.zone`.

    Without a time there is no hostname. A word without a colon is a tag only behind a hostname.
    """
    header = _header(text, at, received_at, timezone)
    message = SyslogMessage(
        header.stamp.timestamp if header.stamp else None,
        priority >> 3,
        priority & 7,
        header.hostname,
        header.appname,
        header.procid,
        None,
        header.elements or None,
        text[header.end :],
    )
    return message, bool(header.stamp or header.hostname or header.appname)


def without_header(text: str, priority: int) -> SyslogMessage:
    """The message of a text without any header."""
    return SyslogMessage(None, priority >> 3, priority & 7, None, None, None, None, None, text)


def _header(text: str, start: int, received_at: float, timezone: str) -> _Header:
    elements: Elements = {}
    at = _skip_blanks(text, start)
    if text.startswith(":", at):
        at = _skip_blanks(text, at + 1)
    at = _sequence_numbers(text, at, elements)
    hostname = None
    stamp = stamps.read(text, at, received_at, timezone)
    if stamp is None and (origin := _ORIGIN.match(text, at)):
        stamp = stamps.read(text, origin.end(), received_at, timezone)
        if stamp is not None or text.startswith("%", origin.end()):
            hostname, at = origin[1], origin.end()
    if stamp is None:
        if hostname is None and not text.startswith("%", at):
            at, elements = start, {}  # it was no sequence number
        return _tagged(text, at, None, hostname, elements)
    if stamp.unsynchronised:
        elements.setdefault("timeQuality", {})["isSynced"] = "0"
    if stamp.zone:
        elements.setdefault("timeQuality", {})["zone"] = stamp.zone
    at = _skip_blanks(text, stamp.end + text.startswith(":", stamp.end))
    if hostname is None:
        hostname, at = _hostname(text, at)
    return _tagged(text, at, stamp, hostname, elements)


def _skip_blanks(text: str, at: int) -> int:
    while text.startswith(" ", at):
        at += 1
    return at


def _sequence_numbers(text: str, at: int, elements: Elements) -> int:
    """Add the numbers at `at` to `elements`; returns where they end."""
    for _ in range(_MOST_SEQUENCES):
        number = _SEQUENCE.match(text, at)
        if number is None:
            break
        structured_data.add(elements.setdefault("meta", {}), "sequenceId", number[1])
        at = number.end()
    return at


def _hostname(text: str, at: int) -> tuple[str | None, int]:
    """The hostname behind a time, and where the rest begins."""
    if forwarded := _FORWARDED.match(text, at):  # AIX
        return forwarded[1], forwarded.end()
    found = _HOST.match(text, at)
    if found is None or text.startswith(_REPEATED, at):
        return None, at
    word, end = found[0], found.end()
    if word[-1] == ":" and not word.endswith("::"):  # an IPv6 address may end so
        if not text.startswith(" %", end):
            return None, at  # a tag: HAProxy and programs of the same host send no hostname
        word = word[:-1]
    elif "[" in word[1:]:
        return None, at
    if text.startswith(" : ", end):  # ASA
        end += 2
    return word, end + text.startswith(" ", end)


def _tagged(text: str, at: int, stamp: Stamp | None, hostname: str | None, elements: Elements) -> _Header:
    if (tag := _TAG.match(text, at)) and (stamp or not tag[1].isdigit()):
        return _Header(stamp, hostname, tag[1], tag[2] or None, elements, tag.end())
    if stamp and hostname and (word := _WORD.match(text, at)):
        return _Header(stamp, hostname, word[1], None, elements, word.end())
    return _Header(stamp, hostname, None, None, elements, at)
