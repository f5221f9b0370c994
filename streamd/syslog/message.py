"""What a syslog message has."""

from collections.abc import Iterable
from typing import Any, NamedTuple

FIELDS = (
    "timestamp", "facility", "severity", "hostname", "appname", "procid", "msgid", "structured_data",
    "message",
)  # fmt: skip
"""The names of the fields of a record, in the order of `SyslogMessage`."""

Elements = dict[str, dict[str, str | list[str]]]
"""Structured data: the parameters of each SD-ID. A parameter that occurs several times has a list."""


class SyslogMessage(NamedTuple):
    """The fields of one message; None for a field that it does not have."""

    timestamp: str | None
    """Canonical (`core.timestamp`)."""
    facility: int
    severity: int
    hostname: str | None
    appname: str | None
    procid: str | None
    msgid: str | None
    structured_data: Elements | None
    message: str


def record_of(values: Iterable[Any]) -> dict[str, Any]:
    """The fields that a message has, of the values of a `SyslogMessage`."""
    return {name: value for name, value in zip(FIELDS, values, strict=True) if value is not None}
