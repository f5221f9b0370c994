"""The header of RFC 5424: `1 2003-10-11T22:14:15.003Z host app 8710 ID47 [id a="b"] message`."""

import re
from typing import NamedTuple

from streamd.core.errors import BadData
from streamd.core.timestamp import canonical
from streamd.syslog import structured_data
from streamd.syslog.message import Elements, SyslogMessage

_HEADER = re.compile(r"[1-9]\d{0,2}" + r" ([^\x00-\x20\x7f]++)" * 5 + r"(?: |\Z)", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt]", re.ASCII)
_BYTE_ORDER_MARK = "\ufeff"


class ProtocolMessage(NamedTuple):
    """A message, and whether its structured data was none and stays in the text."""

    message: SyslogMessage
    bad_structured_data: bool


def read(text: str, at: int, priority: int, timezone: str) -> ProtocolMessage | None:
    """The message whose version begins at `at`; None if it has no header of RFC 5424.

    A header without structured data (Heroku), or with invalid structured data, is accepted; the text behind
    it is the message. The version may be any from 1 to 999. A time without an offset is one of `timezone`. A
    byte order mark before the message is skipped. A header with a control character is none.
    """
    found = _HEADER.match(text, at)
    if found is None:
        return None
    stamp, hostname, appname, procid, msgid = found.groups()
    try:
        timestamp = time_of(stamp, timezone)
    except BadData:
        return None
    elements: Elements | None = None
    at = found.end()
    data = structured_data.read(text, at)
    if data is None and appname.endswith(":"):
        return None  # it is a tag of RFC 3164
    if data is not None:
        elements, at = data
        rest = message_at(text, at)
    else:
        rest = text[at:]
    message = SyslogMessage(
        timestamp,
        priority >> 3,
        priority & 7,
        _or_none(hostname),
        _or_none(appname),
        _or_none(procid),
        _or_none(msgid),
        elements,
        rest,
    )
    return ProtocolMessage(message, data is None)


def _or_none(text: str) -> str | None:
    return None if text == "-" else text


def time_of(stamp: str, timezone: str) -> str | None:
    """The canonical text of a TIMESTAMP; None for `-`. Raises `BadData`."""
    if stamp == "-":
        return None
    if not _DATE.match(stamp):
        raise BadData("timestamp:syntax")
    return canonical(stamp, timezone=timezone)


def message_at(text: str, at: int) -> str:
    """The message behind structured data that ends at `at`."""
    return text[at + 1 if text.startswith(" ", at) else at :].removeprefix(_BYTE_ORDER_MARK)
