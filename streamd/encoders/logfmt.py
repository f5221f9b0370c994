"""The encoder `logfmt`."""

import json
import re
from typing import Any

from streamd.core.batch import Record
from streamd.core.contracts import Encoder, RecordOrigin
from streamd.core.errors import BadData
from streamd.core.settings import Settings
from streamd.core.text_values import by_look
from streamd.encoding.values import json_text

_KEY = re.compile(r'[^\x00-\x20="]+')
_BARE = re.compile(r'[^\x00-\x20="\\]+')


class Logfmt(Encoder[Settings]):
    """Makes a line of logfmt of each record: `level=warn msg="disk full" retry=true`.

    A text is quoted, with the escapes of JSON, if it has a blank, a quote or `=`, or looks like a number, a
    truth value or nothing. So the codec `logfmt` with `types = "auto"` finds the types again. Null is
    nothing, bytes are base64, dicts and lists are JSON in quotes.

    A record is rejected if it has no field (`logfmt:empty`), a key with a blank, a quote or `=`, or an empty
    key (`logfmt:key`), or a value that JSON cannot express (`row:not_finite`, `row:json`).
    """

    def encode_one(self, record: Record, origin: RecordOrigin) -> bytes:
        """The line of a record. Raises `BadData`."""
        del origin
        if not record:
            raise BadData("logfmt:empty", "a record without fields is no line")
        try:
            return " ".join([f"{_key(key)}={_value(value)}" for key, value in record.items()]).encode()
        except UnicodeEncodeError as error:
            raise BadData("row:json", f"not expressible as UTF-8: {error.reason}") from None


def _key(key: Any) -> str:
    text: str = key if isinstance(key, str) else ""  # a step may have made it
    if _KEY.fullmatch(text) is None:
        raise BadData("logfmt:key", f"no key of logfmt: {key!r:.64}")
    return text


def _value(value: object) -> str:
    """A text, quoted where it must be; nothing for None; any other value as JSON, in quotes if need be."""
    if value is None:
        return ""
    if isinstance(value, str):
        is_text = by_look(value) is value
        if is_text and _BARE.fullmatch(value) is not None:
            return value
        return json.dumps(value, ensure_ascii=False)
    text = json_text(value)
    is_quoted = text.startswith('"')  # bytes, times
    return text if is_quoted or _BARE.fullmatch(text) is not None else json.dumps(text, ensure_ascii=False)
