"""What a syslog message has."""

from collections.abc import Iterable, Sequence
from itertools import repeat
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


def records_of(rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """As `record_of` for the values of many messages, in less time if all have the same fields."""
    columns = list(zip(*rows, strict=True))
    missing = [column.count(None) for column in columns]
    if not {0, len(rows)}.issuperset(missing):
        return list(map(record_of, rows))
    names = tuple(name for name, count in zip(FIELDS, missing, strict=False) if not count)
    present = [column for column, count in zip(columns, missing, strict=True) if not count]
    return list(map(dict, map(zip, repeat(names), zip(*present, strict=True))))
