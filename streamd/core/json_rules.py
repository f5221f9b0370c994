"""The JSON that streamd accepts: RFC 8259 in UTF-8, without values that a database or reader cannot keep.

Refused are, each with its reason: `json:nan` (NaN, Infinity), `json:range` (1e999), `json:integer` (beyond 64
bits, at any depth), `json:surrogate` (half of a pair), `json:depth` (over 64), `json:utf8`, `json:utf16`
(UTF-16 or UTF-32), `json:syntax`, `json:not_object`, `json:reserved` (a key of the daemon's metadata) and
`empty`. Of duplicate keys the last one counts. A byte order mark before the text and one NUL behind it (the
end of a C string) are skipped.

msgspec enforces most of these rules while it decodes. It accepts big integers in containers, deep nesting
and reserved keys. `find_refused` finds them in a batch, `check_rules` in one record.
"""

import re
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Annotated, Any

import msgspec

from streamd.core.batch import FLAG, METADATA_KEYS, Record
from streamd.core.errors import BadData

MAX_DEPTH = 64
"""Deepest nesting; the record itself is level 1."""
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
"""Range of a stored integer: 64 bits."""
CONTAINER_BYTES = 72
"""Memory of an empty dict or list, with the reference to it in another one."""
RESERVED_KEYS = frozenset((*METADATA_KEYS, FLAG))
"""Keys that only the daemon may set. Other keys that begin with @ (`@timestamp`) are ordinary fields."""

NonNullValue = (
    Annotated[int, msgspec.Meta(ge=INT_MIN, le=INT_MAX)] | float | str | bool | list[Any] | dict[str, Any]
)
"""Any value but null. The decoder refuses integers beyond 64 bits, except inside a list or dict."""

decode_fast = msgspec.json.Decoder(dict[str, NonNullValue | None]).decode
"""The dict of one object, which `check_rules` has to check. Raises ValueError or RecursionError."""
_decode_any = msgspec.json.Decoder(dict[str, Any]).decode
_decode_value = msgspec.json.Decoder().decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode

ToDict = Callable[[Any], Record]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHITE_SPACE = b" \t\r\n"
_DIGITS = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))  # noqa: PLR2004 - "0" to "9"
_LONG_NUMBER = b"0" * len(str(INT_MAX))
_SHORTEST_DEEP = 2 * (MAX_DEPTH + 1)
_NO_NUMBER = re.compile(rb"[\s:,\[]-?(?:nan|inf(?:inity)?)(?!\w)", re.IGNORECASE)
_POSITION = re.compile(r"\(byte (\d+)\)")


def containers_in(text: bytes) -> int:
    """The number of dicts and lists that a text can make, at most."""
    return text.count(b"{") + text.count(b"[")


def find_refused(
    payloads: Sequence[bytes], records: Sequence[Any], to_dict: ToDict | None = None
) -> set[int]:
    """The indexes of the records, decoded by a fast decoder, that `check_rules` would refuse.

    Record i was made of payload i. `to_dict` makes dicts of records that are structs. A check of the joined
    payloads comes first; it costs 0.06 µs for a flat object of 110 bytes, 0.3 µs for a nested one.
    """
    joined = b"".join(payloads)
    # A key that begins with @ has a plain or an escaped @. The search for one byte first is much faster.
    reserved = (b"@" in joined and b'"@' in joined) or (b"\\" in joined and b'"\\u0040' in joined)
    # Without nesting, the decoder has checked every integer.
    nested = joined.count(b"{") > len(payloads) or b"[" in joined
    if nested and (_LONG_NUMBER in joined.translate(_DIGITS) or _may_be_deep(payloads)):
        return {
            place
            for place, record in enumerate(map(to_dict, records) if to_dict else records)
            if _is_refused(record)
        }
    if reserved and to_dict is None:
        return {place for place, record in enumerate(records) if not RESERVED_KEYS.isdisjoint(record)}
    return set()


def _may_be_deep(payloads: Sequence[bytes]) -> bool:
    if max(map(len, payloads)) < _SHORTEST_DEEP:
        return False
    return (
        max(map(bytes.count, payloads, repeat(b"{"))) + max(map(bytes.count, payloads, repeat(b"[")))
        > MAX_DEPTH
    )


def _is_refused(record: Record) -> bool:
    try:
        check_rules(record)
    except BadData:
        return True
    return False


def check_rules(record: Record) -> None:
    """Raise `BadData` if a decoded record has a reserved key, a too big integer or too deep nesting."""
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
    """The dict of one object, which `check_rules` has to check. Raises `BadData` with the exact reason."""
    try:
        record: Record = _decode_any(payload)
    except (ValueError, RecursionError) as error:
        raise _explain(payload, error) from None
    return record


def decode_frame(payload: bytes) -> Record | list[bytes]:
    """The dict of one object, which `check_rules` has to check, or the parts of a frame that holds several.

    Parts are the elements of an array, or lines. A frame is split into lines only if at least one line is an
    object, so a broken document of several lines is rejected as a whole. Raises `BadData` for any other
    frame, and for an empty array.
    """
    payload = without_nul(payload.removeprefix(BYTE_ORDER_MARK))
    try:
        record: Record = _decode_any(payload)
    except (ValueError, RecursionError) as error:
        parts = _split(payload)
        if parts:
            return parts
        raise _explain(payload, error) from None
    return record


def without_nul(payload: bytes) -> bytes:
    """The payload without one NUL at its end or before the white space at its end."""
    end = payload.rstrip(_WHITE_SPACE)
    return end[:-1] if end[-1:] == b"\0" else payload


def _split(payload: bytes) -> list[bytes]:
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
        _decode_any(without_nul(line))
    except (ValueError, RecursionError):
        return False
    return True


def _explain(payload: bytes, error: Exception) -> BadData:
    """The reason and detail for a payload that msgspec refused."""
    if not payload.strip():
        return BadData("empty")
    if isinstance(error, RecursionError):
        return BadData("json:depth", f"nested deeper than {MAX_DEPTH}")
    if payload[:2] in (b"\xff\xfe", b"\xfe\xff") or 0 in payload[:2]:
        return BadData("json:utf16", "UTF-16 or UTF-32 instead of UTF-8 (RFC 8259, section 8.1)")
    try:
        payload.decode()
    except UnicodeDecodeError as undecodable:
        return BadData("json:utf8", f"invalid UTF-8 at byte {undecodable.start}")
    detail = str(error)
    if "Expected `object`" in detail:
        # msgspec stops at the first byte, so check whether the rest is valid JSON.
        try:
            _decode_value(payload)
        except (ValueError, RecursionError) as second:
            return _explain(payload, second)
    if "truncated" in detail:
        # msgspec also reports "truncated" for half a pair near the end; with padding it names the surrogate.
        try:
            _decode_value(payload + b" " * 12)
        except (ValueError, RecursionError) as second:
            if "surrogate" in str(second):
                detail = str(second)
    return BadData(_syntax_reason(payload, detail), detail)


def _syntax_reason(payload: bytes, detail: str) -> str:
    """The reason code for an error message of msgspec."""
    for words, reason in (
        ("surrogate", "json:surrogate"),
        ("Integer value out of range", "json:integer"),
        ("Number out of range", "json:range"),
        ("Expected `object`", "json:not_object"),
    ):
        if words in detail:
            return reason
    position = _POSITION.search(detail)
    if position is not None:
        at = int(position[1])
        if _NO_NUMBER.search(payload, max(0, at - 6), at + 12):
            return "json:nan"
    return "json:syntax"
