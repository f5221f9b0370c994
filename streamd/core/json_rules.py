"""JSON as streamd takes it: RFC 8259 in UTF-8, without what a database or another reader would not keep.

Refused, each with its reason: `json:nan` (NaN, Infinity), `json:range` (1e999), `json:integer` (beyond 64
bits, at any depth), `json:surrogate` (half of a pair), `json:depth` (over 64), `json:utf8`, `json:utf16`
(UTF-16 or UTF-32), `json:syntax`, `json:not_object`, `json:reserved` (a key that would forge our metadata)
and `empty`. Of duplicate keys the last wins; a byte order mark is skipped.

msgspec enforces most of this while it decodes. It allows big integers, any depth its recursion can reach
and any key: `may_break_rules` says for a whole batch at once whether these are possible, `judge` looks at
one record.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from streamd.core.batch import FLAG, METADATA_KEYS, Record
from streamd.core.errors import BadData

MAX_DEPTH = 64
"""Deepest nesting; the record itself is level 1."""
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
"""What a stored integer can hold."""
RESERVED_KEYS = frozenset((*METADATA_KEYS, FLAG))
"""Keys that only the daemon may set. Others with an @ in front (`@timestamp`) are fields like any other."""

NonNullValue = (
    Annotated[int, msgspec.Meta(ge=INT_MIN, le=INT_MAX)] | float | str | bool | list[Any] | dict[str, Any]
)
"""Any value but null; the decoder itself refuses a bigger integer, though not inside a list or dict."""

decode_fast = msgspec.json.Decoder(dict[str, NonNullValue | None]).decode
"""The dict of one object. Raises ValueError or RecursionError; what it lets pass, `judge` has to see."""
_decode_any = msgspec.json.Decoder(dict[str, Any]).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DIGITS = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))  # noqa: PLR2004 - "0" to "9"
_LONG_NUMBER = b"0" * len(str(INT_MAX))
_SHORTEST_DEEP = 2 * MAX_DEPTH
_NO_NUMBER = re.compile(rb"[\s:,\[]-?(?:nan|inf(?:inity)?)(?!\w)", re.IGNORECASE)
_POSITION = re.compile(r"\(byte (\d+)\)")


def may_break_rules(payloads: Sequence[bytes]) -> bool:
    """Whether any record that `decode_fast` made of these payloads needs `judge`.

    Never wrongly False. Costs 0.08 µs a payload of 110 bytes that holds one flat object.
    """
    joined = b"".join(payloads)
    # A key that begins with @ is written so or with the escape of @; the single bytes are found much faster.
    if b"@" in joined and b'"@' in joined:
        return True
    if b"\\" in joined and b'"\\u0040' in joined:
        return True
    if joined.count(b"{") == len(payloads) and b"[" not in joined:
        return False  # nothing is nested, and the integers of the first level are checked by the decoder
    if _LONG_NUMBER in joined.translate(_DIGITS):
        return True
    return any(
        payload.count(b"{") + payload.count(b"[") > MAX_DEPTH
        for payload in payloads
        if len(payload) > _SHORTEST_DEEP
    )


def judge(record: Record) -> None:
    """Raise `BadData` where a decoded record has a reserved key, a too big integer or too deep nesting."""
    if not RESERVED_KEYS.isdisjoint(record):
        key = min(RESERVED_KEYS.intersection(record))
        raise BadData("json:reserved", f"only the daemon sets {key!r}")
    level: list[Any] = [record]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise BadData("json:depth", f"nested deeper than {MAX_DEPTH}")
        deeper: list[Any] = []
        for container in level:
            for value in container.values() if isinstance(container, dict) else container:
                kind = type(value)
                if kind is int and not INT_MIN <= value <= INT_MAX:
                    raise BadData("json:integer", "an integer beyond 64 bits")
                if kind is dict or kind is list:
                    deeper.append(value)
        level = deeper


def decode_object(payload: bytes) -> Record:
    """The dict of one object, not yet judged. Raises `BadData` with the exact reason."""
    try:
        record: Record = _decode_any(payload.removeprefix(BYTE_ORDER_MARK))
    except (ValueError, RecursionError) as error:
        raise _explain(payload.removeprefix(BYTE_ORDER_MARK), error) from None
    return record


def split_objects(payload: bytes) -> list[bytes]:
    """The parts of a frame that holds several: the elements of an array, or its lines.

    Lines only where at least one of them is an object by itself, so that a broken document of several
    lines stays one. Empty where the frame is neither, or an array of nothing.
    """
    payload = payload.removeprefix(BYTE_ORDER_MARK)
    if payload.lstrip()[:1] == b"[":
        try:
            return [bytes(element) for element in _decode_array(payload)]
        except (ValueError, RecursionError):
            pass
    lines = [line for line in payload.split(b"\n") if line.strip()]
    if len(lines) > 1 and any(map(_is_object, lines)):
        return lines
    return []


def _is_object(line: bytes) -> bool:
    try:
        _decode_any(line)
    except (ValueError, RecursionError):
        return False
    return True


def _explain(payload: bytes, error: Exception) -> BadData:
    """The verdict on a payload msgspec refused."""
    if not payload.strip():
        return BadData("empty")
    if isinstance(error, RecursionError):
        return BadData("json:depth", f"nested deeper than {MAX_DEPTH}")
    if payload[:2] in (b"\xff\xfe", b"\xfe\xff") or 0 in payload[:2]:
        return BadData("json:utf16", "UTF-16 or UTF-32; JSON travels in UTF-8 (RFC 8259, section 8.1)")
    try:
        payload.decode()
    except UnicodeDecodeError as undecodable:
        return BadData("json:utf8", f"invalid UTF-8 at byte {undecodable.start}")
    detail = str(error)
    if "truncated" in detail:
        # msgspec says so of a half pair near the end too; with room after it, it names what is wrong.
        try:
            _decode_any(payload + b" " * 12)
        except (ValueError, RecursionError) as second:
            if "surrogate" in str(second):
                detail = str(second)
    position = _POSITION.search(detail)
    at = int(position[1]) if position else 0
    if "surrogate" in detail:
        reason = "json:surrogate"
    elif detail.startswith("Integer value out of range"):
        reason = "json:integer"
    elif detail.startswith("Number out of range"):
        reason = "json:range"
    elif detail.startswith("Expected `object`"):
        reason = "json:not_object"
    elif position and _NO_NUMBER.search(payload, max(0, at - 6), at + 12):
        reason = "json:nan"
    else:
        reason = "json:syntax"
    return BadData(reason, detail)
