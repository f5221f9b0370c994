"""The bytes of a frame, redacted as JSON or as text."""

import json
import re
from collections.abc import Callable
from typing import Any

from streamd.core.json_rules import BYTE_ORDER_MARK, without_nul

_WITHHELD = re.compile(rb"<withheld by redact: \d+ bytes [a-zA-Z, ]+>")
_ESCAPED = re.compile(r"\\+u00([2-7][0-9a-fA-F])")


def redacted_payload(
    data: bytes, redact_value: Callable[[Any], Any], redact_text: Callable[[str], str], names_fields: bool
) -> tuple[bytes, bool]:
    """The redacted bytes, and whether they were withheld."""
    if _WITHHELD.fullmatch(data):
        return data, False
    plain = without_nul(data.removeprefix(BYTE_ORDER_MARK))
    if b"\0" in plain:
        return _withheld(data, "that are no text"), True
    redacted = _json(plain, redact_value)
    if redacted is not None:
        return (data if redacted is plain else redacted), False
    lines = plain.split(b"\n")
    if len(lines) > 1 and any(_is_container(line) or _WITHHELD.fullmatch(line) for line in lines):
        done = [
            redacted_payload(line, redact_value, redact_text, names_fields) if line.strip() else (line, False)
            for line in lines
        ]
        return b"\n".join(line for line, _ in done), any(is_withheld for _, is_withheld in done)
    if names_fields and plain.strip():
        return _withheld(data, "that are no JSON, so the fields cannot be found"), True
    text = data.decode("utf-8", "surrogateescape")
    unescaped = _ESCAPED.sub(lambda escape: chr(int(escape[1], 16)), text)  # of JSON that is cut off
    new = redact_text(unescaped)
    return (data if new == unescaped else new.encode("utf-8", "surrogateescape")), False


def _withheld(data: bytes, why: str) -> bytes:
    return f"<withheld by redact: {len(data)} bytes {why}>".encode()


def _is_container(line: bytes) -> bool:
    return line.lstrip()[:1] in (b"{", b"[")


def _json(data: bytes, redact_value: Callable[[Any], Any]) -> bytes | None:
    """The redacted JSON of an object or array; None for other bytes.

    If nothing was redacted, and no key occurs twice (only the last value of a key is looked at), these are
    the same bytes.
    """
    if not _is_container(data):
        return None
    keys = 0

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal keys
        made = dict(found)
        keys += len(found) - len(made)
        return made

    try:
        value = json.loads(data.decode(), object_pairs_hook=pairs)
        redacted = redact_value(value)
        if redacted is value and not keys:
            return data
        return _bytes(redacted)
    except (ValueError, RecursionError):
        return None


def _bytes(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half of a surrogate pair has no bytes
        return json.dumps(value, separators=(",", ":")).encode()
