"""The fields of a GELF message, and what they are called in a record."""

from typing import Any

from streamd.core.batch import Record
from streamd.core.errors import BadData
from streamd.core.json_rules import RESERVED_KEYS
from streamd.core.timestamp import canonical

STANDARD = frozenset(
    ("version", "host", "short_message", "full_message", "timestamp", "level", "facility", "line", "file")
)
"""The fields of GELF 1.1 and, at the end, those that only 1.0 has. All others begin with an underscore."""
KEPT = STANDARD.union(RESERVED_KEYS, ("", "id", "message"))
"""Names that an additional field does not get in a record: it keeps its underscore."""
_LONGEST_LEVEL = 9


def normalise(message: dict[str, Any]) -> None:
    """Check the standard fields and give them their types, in place. Raises `BadData`."""
    host, text, level = message.get("host"), message.get("short_message"), message.get("level")
    if host is not None and (type(host) is not str or not host or host.isspace()):
        raise BadData("gelf:host", "host is blank" if type(host) is str else "host is no text")
    if text is not None and type(text) is not str:
        raise BadData("gelf:message", "short_message is no text")
    if not text or text.isspace():
        text = message.get("message")
        if type(text) is not str or not text or text.isspace():
            raise BadData("gelf:message", "neither short_message nor message has a text")
        message["short_message"] = text
        del message["message"]
    if level is not None and type(level) is not int:
        message["level"] = _level(level)
    version = message.get("version")
    if type(version) is float or type(version) is int:
        message["version"] = str(version)


def time_of(value: Any) -> str:
    """The canonical text of a `timestamp`: seconds since 1970, or RFC 3339. Raises `BadData`."""
    try:
        return canonical(value)
    except BadData as bad:
        raise BadData(bad.reason, f"timestamp: {bad.detail}") from None


def without_underscores(message: dict[str, Any]) -> Record:
    """The record of a message: additional fields lose their first underscore.

    A field keeps it if the message or GELF has a field of the other name, so no two fields get one name.
    """
    record: Record = {}
    for key, value in message.items():
        name = key[1:]
        if key[:1] == "_" and name not in KEPT and name not in message:
            record[name] = value
        else:
            record[key] = value
    return record


def _level(level: Any) -> int:
    """The number of a level that is a text or has a point. Raises `BadData`."""
    if type(level) is str and level.isascii() and len(level) <= _LONGEST_LEVEL and level.strip().isdigit():
        return int(level)
    if type(level) is float and level.is_integer():
        return int(level)
    raise BadData("gelf:level", f"level is no integer: {str(level)[:64]!r}")
