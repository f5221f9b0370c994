"""A dead letter as a row of its table. Every payload has a row, whatever its bytes or objects."""

import hashlib
import json
from typing import Any

import msgspec

from streamd.core.dead_letter import DeadLetter
from streamd.core.errors import BadData
from streamd.core.settings import DeadLetterPayload
from streamd.core.timestamp import from_epoch

TABLE = """
CREATE TABLE IF NOT EXISTS dead_letters (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  received_at TEXT NOT NULL,
  source TEXT NOT NULL,
  peer TEXT,
  pipeline TEXT,
  sink TEXT,
  stage TEXT NOT NULL,
  reason TEXT NOT NULL,
  detail TEXT NOT NULL,
  kind TEXT NOT NULL,
  payload ANY NOT NULL
) STRICT
"""
COLUMNS = (
    "received_at", "source", "peer", "pipeline", "sink", "stage", "reason", "detail", "kind", "payload",
)  # fmt: skip
"""The columns of a `Row`, in order."""

Row = tuple[str | bytes | None, ...]

_DETAIL_CHARACTERS = 1000
_ROW_OVERHEAD_BYTES = 512
_PAGE_BYTES = 4096


def row_of(letter: DeadLetter, keep: DeadLetterPayload = "keep") -> Row:
    """The row of a letter. Never raises.

    The payload is the original bytes of a frame or the JSON text of a record. With `keep="hash"` it is the
    SHA-256 of these in hex, and with `keep="none"` an empty text. The kind is then `hash` or `none`, and the
    detail is empty, because it may quote the payload. The placeholder of a withheld payload is kept as it is.
    """
    try:
        received_at = from_epoch(letter.received_at)
    except BadData:  # the host's clock was outside the years 1 to 9999
        received_at = from_epoch(0)
    content = bytes(letter.payload) if isinstance(letter.payload, bytes) else json_text(letter.payload)
    kind, detail, payload = letter.kind, letter.detail, content
    if keep != "keep" and kind != "withheld":
        kind, detail, payload = keep, "", ""
    if kind == "hash":
        payload = hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
    return (
        received_at,
        _encodable(letter.source),
        letter.peer and _encodable(letter.peer),
        letter.pipeline and _encodable(letter.pipeline),
        letter.sink and _encodable(letter.sink),
        _encodable(letter.stage),
        _encodable(letter.reason),
        _encodable(detail[:_DETAIL_CHARACTERS]),
        kind,
        payload,
    )


def size_bytes_of(row: Row) -> int:
    """The most bytes the row takes in the file. Its size in memory is about the same."""
    length = _ROW_OVERHEAD_BYTES
    for value in row:
        if value is not None:
            length += len(value.encode() if isinstance(value, str) and not value.isascii() else value)
    return length if length <= _PAGE_BYTES else length + _PAGE_BYTES  # its last overflow page may be empty


def json_text(record: Any) -> str:
    """The record as JSON. Bytes become base64, and objects without a JSON form become their `repr`.

    A record without any JSON form (NaN, a cycle, endless nesting) becomes one string, its `repr`.
    Never raises.
    """
    try:
        encoded = msgspec.json.encode(record, enc_hook=repr)
    except Exception:  # noqa: BLE001 - a record may hold anything that a step's code has put there
        return _careful_json_text(record)
    # msgspec writes null for NaN and infinity, which would hide the reason for the rejection.
    return _careful_json_text(record) if b"null" in encoded else encoded.decode()


def _careful_json_text(record: Any) -> str:
    try:
        plain = msgspec.to_builtins(record, enc_hook=repr)
        return _encodable(json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    except Exception:  # noqa: BLE001 - the same
        try:
            return json.dumps(repr(record))
        except Exception:  # noqa: BLE001 - a `repr` that fails
            return json.dumps(f"<{type(record).__name__}>")


def _encodable(text: str) -> str:
    """The text with lone surrogates escaped as in JSON, because SQLite refuses them."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
