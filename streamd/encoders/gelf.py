"""The encoder `gelf`."""

from datetime import datetime
from typing import Any, ClassVar

from streamd.core.batch import Record
from streamd.core.contracts import Encoder, RecordOrigin
from streamd.core.contracts.encoder import Separation
from streamd.core.errors import BadData
from streamd.core.gelf_message import KEPT, STANDARD
from streamd.core.settings import Settings
from streamd.core.timestamp import canonical, from_epoch
from streamd.encoding.values import json_text

_VERSIONS = ("1.0", "1.1")


class Gelf(Encoder[Settings]):
    """Makes a GELF message of each record: JSON, with a NUL behind each message in a stream (GELF over TCP).

    `version`, `host`, `short_message`, `full_message`, `timestamp`, `level`, `facility`, `line` and `file`
    keep their names; every other field gets an underscore before its name, unless it has one. Without a
    `short_message`, the text is the field `message`. Without a `host`, it is the address of the sender or the
    name of the source. `timestamp` becomes seconds since 1970; without it, the time of receipt is sent.

    A record without a text is rejected (`gelf:message`), and so are a `timestamp` that is no time
    (`timestamp:syntax` and others), two fields that would have one name (`gelf:name`), and values that JSON
    cannot express (`row:not_finite`, `row:json`).
    """

    separation: ClassVar[Separation] = "nul"

    def encode_one(self, record: Record, origin: RecordOrigin) -> bytes:
        """The message of one record. Raises `BadData`."""
        text = record.get("short_message")
        alias = text is None
        if alias:
            text = record.get("message")
        if type(text) is not str or not text or text.isspace():
            raise BadData("gelf:message", "neither short_message nor message has a text")
        time = record.get("timestamp")
        host = record.get("host")
        if host is None:
            host = (origin.peer or "").rpartition(":")[0] or origin.source
        message: dict[str, Any] = {
            "version": record.get("version") if record.get("version") in _VERSIONS else "1.1",
            "host": host,
            "short_message": text,
            "timestamp": _seconds(from_epoch(origin.received_at) if time is None else canonical(time)),
        }
        for name, value in record.items():
            if name in message or (alias and name == "message"):
                continue
            wire = name if name in STANDARD or name == "message" or name[:1] == "_" else f"_{name}"
            if wire in message or (wire != name and (name in KEPT or wire in record)):
                raise BadData("gelf:name", f"two fields would be named {wire[:64]!r}")
            message[wire] = value
        return json_text(message).encode()


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
