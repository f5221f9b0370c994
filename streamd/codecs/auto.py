"""The codec `auto`."""

import re
from collections.abc import Mapping
from typing import ClassVar

from streamd.codecs.json import Json
from streamd.codecs.text import read_message
from streamd.core.batch import Record
from streamd.core.contracts import BadElement
from streamd.core.errors import BadData
from streamd.core.json_rules import BYTE_ORDER_MARK
from streamd.core.now import Now
from streamd.core.schema import Schema
from streamd.core.settings import Settings

_OBJECT = re.compile(rb"^[ \t\r\[\xef\xbb\xbf]*\{", re.MULTILINE)
"""The beginning of a JSON object, or of an array of them, in any line."""


class Auto(Json):
    """Decodes JSON into fields; any other UTF-8 text becomes `{"message": …}`.

    The codec `json` decodes a JSON object, an array of objects, and several lines if at least one of them is
    an object. A line that `json` refuses becomes a message by itself. If it refuses an element of an array,
    the whole array becomes one message. A message that begins with `{` or `[` is counted as `auto_fallback`.

    At a source with `redact`, a frame that it refuses and in which a line begins like a JSON object is
    rejected (`auto:fields`), because the fields in its text cannot be found.

    Several lines without an object are one message. For a message from each line, set the framing `newline`
    at a source of datagrams. Invalid UTF-8 is rejected (`text:utf8`). A byte order mark before the frame and
    one NUL at its end are skipped.
    """

    counters: ClassVar[Mapping[str, str]] = {
        "auto_fallback": "frames that began like JSON and were kept as text",
    }

    def __init__(self, config: Settings, schema: Schema | None) -> None:
        """Raises ValueError if there is a schema: a message has none of its fields."""
        if schema is not None:
            raise ValueError(
                "a schema needs the codec json: auto also makes messages, which have none of its fields"
            )
        super().__init__(config, None)

    def decode_one(self, payload: bytes, now: Now) -> Record | list[Record | BadElement]:
        """The record of a JSON object or of a text; a list for an array or several lines."""
        if b"{" not in payload:
            return self._message(payload)
        try:
            found = super().decode_one(payload, now)
        except BadData:
            return self._message(payload)
        if isinstance(found, dict) or not any(isinstance(part, BadElement) for part in found):
            return found
        if _first_byte(payload) == b"[":
            return self._message(payload)
        return [self._line(part) if isinstance(part, BadElement) else part for part in found]

    def _line(self, part: BadElement) -> Record | BadElement:
        try:
            return self._message(part.payload)
        except BadData as bad:
            return BadElement(part.payload, bad.reason, bad.detail)

    def _message(self, payload: bytes) -> Record:
        if self.redacted and _OBJECT.search(payload):
            raise BadData("auto:fields", "it begins like a JSON object, and its fields cannot be redacted")
        record = read_message(payload)
        if _first_byte(payload) in (b"{", b"["):
            self.count("auto_fallback")
        return record


def _first_byte(payload: bytes) -> bytes:
    return payload.removeprefix(BYTE_ORDER_MARK).lstrip()[:1]
