"""Recognises the format of one message."""

from typing import Literal, NamedTuple

from streamd.syslog import rfc3164, rfc5424
from streamd.syslog.message import SyslogMessage
from streamd.syslog.priority import priority

Fault = Literal["", "no_header", "bad_structured_data"]


class Recognised(NamedTuple):
    """A message, and what of it was not recognised."""

    message: SyslogMessage
    fault: Fault
    """Whether the message has no header behind its priority, or no valid structured data."""
    no_priority: bool


def read(text: str, received_at: float, timezone: str, default_priority: int) -> Recognised:
    """The message of a text. The time is linear in its length."""
    found = priority(text)
    if found is None:
        message, recognised = rfc3164.read(text, 0, default_priority, received_at, timezone)
        # Without a priority, as in a log file, a colon makes no tag: only a time begins a header.
        if not recognised or message.timestamp is None:
            message = rfc3164.without_header(text, default_priority)
            return Recognised(message, "no_header", no_priority=True)
        return Recognised(message, "", no_priority=True)
    number, at = found
    if protocol := rfc5424.read(text, at, number, timezone):
        return Recognised(
            protocol.message, "bad_structured_data" if protocol.bad_structured_data else "", no_priority=False
        )
    message, recognised = rfc3164.read(text, at, number, received_at, timezone)
    return Recognised(message, "" if recognised else "no_header", no_priority=False)
