"""Finds the end of a value of MessagePack without making the value.

A counter of the values that are still to come is enough: each value takes one away, an array of n adds n, and
a map of n adds 2 n. So nesting takes no memory.
"""

_FIXMAP, _FIXARRAY, _FIXSTR, _NIL, _NEVER, _NEGATIVE = 0x80, 0x90, 0xA0, 0xC0, 0xC1, 0xE0
_ARRAY16, _MAP32 = 0xDC, 0xDF


def _step(byte: int) -> int:
    """The size of a value with its head if the first byte says it; else 0. Of containers only the head."""
    if byte < _FIXSTR or byte >= _NEGATIVE:
        return 1
    if byte < _NIL:
        return 1 + byte - _FIXSTR
    fixed = {
        0xC0: 1, 0xC2: 1, 0xC3: 1, 0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3,
        0xD2: 5, 0xD3: 9, 0xD4: 3, 0xD5: 4, 0xD6: 6, 0xD7: 10, 0xD8: 18,
    }  # fmt: skip
    return fixed.get(byte, 0)


def _growth(byte: int) -> int:
    """By how much the number of values to come changes, for bytes with a step."""
    if _FIXMAP <= byte < _FIXARRAY:
        return 2 * (byte - _FIXMAP) - 1
    if _FIXARRAY <= byte < _FIXSTR:
        return byte - _FIXARRAY - 1
    return -1


_STEP = tuple(map(_step, range(256)))
_GROWTH = tuple(map(_growth, range(256)))
_WIDTH = {
    0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4,
    0xDE: 2, 0xDF: 4,
}  # fmt: skip
"""The bytes of the length that follows the first byte."""
_EXTENSIONS = range(0xC7, 0xCA)
_BEGINS = frozenset((*range(_FIXMAP, _FIXSTR), *range(_ARRAY16, _MAP32 + 1)))
"""The first bytes of maps and arrays."""


class Scan:
    """Reads a value whose bytes arrive in pieces."""

    __slots__ = ("at", "left")

    def __init__(self) -> None:
        self.at = 0
        """The number of its bytes that are known: up to the next head."""
        self.left = 1
        """The number of values that are still to come."""

    @property
    def least(self) -> int:
        """The least number of bytes that the whole value has."""
        return self.at + self.left

    def read(self, data: bytes | bytearray, origin: int, most: int) -> str:
        """Go on to the end of the value or of the data, or until `least` is over `most`.

        `origin` is the index of the value's first byte. Returns a reason if the bytes are no MessagePack or
        if the value is no map or array; else an empty text.
        """
        at, left, size = self.at + origin, self.left, len(data)
        fault = ""
        if at == origin and at < size and data[at] not in _BEGINS:
            fault = "msgpack:syntax" if data[at] == _NEVER else "msgpack:not_container"
        while left and at < size and at - origin + left <= most and not fault:
            byte = data[at]
            step = _STEP[byte]
            if step:
                at += step
                left += _GROWTH[byte]
                continue
            if byte == _NEVER:
                fault = "msgpack:syntax"
                break
            body = at + 1 + _WIDTH[byte]
            if body > size:
                break
            length = int.from_bytes(data[at + 1 : body])
            if byte >= _ARRAY16:
                at, left = body, left - 1 + length * (1 + byte // 0xDE)
            else:
                at, left = body + length + (byte in _EXTENSIONS), left - 1
        self.at, self.left = at - origin, left
        return fault


def end_of(data: bytes, start: int) -> int:
    """The index behind the map or array that begins at `start`; 0 if it is not whole, or is no such value."""
    at, left = start, 1
    if data[at] not in _BEGINS:
        return 0
    try:
        while left:
            byte = data[at]
            step = _STEP[byte]
            if step:
                at += step
                left += _GROWTH[byte]
                continue
            body = at + 1 + _WIDTH[byte]
            length = int.from_bytes(data[at + 1 : body])
            if byte >= _ARRAY16:
                at, left = body, left - 1 + length * (1 + byte // 0xDE)
            else:
                at, left = body + length + (byte in _EXTENSIONS), left - 1
    except (IndexError, KeyError):
        return 0
    return at if at <= len(data) else 0
