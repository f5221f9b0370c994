"""The encoder `text`."""

import re
from typing import Any, Literal

from pydantic import Field

from streamd.core.batch import Record
from streamd.core.contracts import Encoder, RecordOrigin
from streamd.core.errors import BadData
from streamd.core.settings import Settings
from streamd.encoding.values import json_text

_LINE_BREAK = re.compile(rb"\r\n|\r|\n")
_ESCAPED = re.compile(rb"[\\\r\n]")
_ESCAPES = {b"\\": b"\\\\", b"\r": b"\\r", b"\n": b"\\n"}


class Text(Encoder["Text.Config"]):
    """Writes one field of each record as it is, and nothing else: lines of text.

    A text is UTF-8, bytes are unchanged, other values are JSON. The codec `text` reads the same text again,
    but for what it skips in every frame: a byte order mark before the text, and one line end and one NUL
    behind it.

    A text with line breaks is a message of several lines. It is rejected (`newline`) where line ends separate
    messages, unless `line_breaks` says otherwise, and sent whole with `framing = "octet_counting"` or `nul`
    of the sinks `tcp` and `unix`.

    A record is rejected if it has no such field (`text:missing`), or if the field is empty (`text:empty`) or
    cannot be written as UTF-8 or JSON (`text:utf8`, `row:json`, `row:not_finite`).
    """

    line_feeds = "anywhere"

    class Config(Settings):
        """The field, and what becomes of its line breaks."""

        field: str = Field("message", min_length=1, description="the field that is written")
        line_breaks: Literal["keep", "space", "escape"] = Field(
            "keep",
            description="what becomes of LF, CR and CRLF in the text: keep, space (each is one blank) or"
            r" escape (`\n` and `\r`; a backslash becomes `\\`, so that no two texts look alike)",
        )

    def encode_one(self, record: Record, origin: RecordOrigin) -> bytes:
        """The field of a record. Raises `BadData`."""
        del origin
        text = _bytes_of(record.get(self.config.field), self.config.field)
        if self.config.line_breaks == "space":
            return _LINE_BREAK.sub(b" ", text)
        if self.config.line_breaks == "escape":
            return _ESCAPED.sub(lambda found: _ESCAPES[found[0]], text)
        return text


def _bytes_of(value: Any, field: str) -> bytes:
    if value is None:
        raise BadData("text:missing", f"no field {field!r:.64}")
    if not isinstance(value, bytes):
        try:
            value = (value if isinstance(value, str) else json_text(value)).encode()
        except UnicodeEncodeError as error:
            raise BadData("text:utf8", f"not expressible as UTF-8: {error.reason}") from None
    if not value:
        raise BadData("text:empty", f"the field {field!r:.64} is empty")
    return bytes(value)
