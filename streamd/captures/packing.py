"""Records as bytes, as small as they can be made in a microsecond."""

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Any

import msgspec

from streamd.core.batch import Record

MOST_SHAPES = 256
"""Most combinations of field names that are stored once; records with other names hold their own."""
MOST_NAME_CHARACTERS = 4096
"""Of all names of a shape together."""
_MARK = Struct(">q")
_HEAD = _MARK.size
_pack, _unpack_from = _MARK.pack, _MARK.unpack_from
_UNPACKABLE = (TypeError, ValueError, OverflowError, RecursionError)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.decode

Shape = tuple[str, ...]
"""The names of a record, in order."""


class Packing:
    """Packs records with a mark, which is any integer of 63 bits.

    A packed record holds the number of its shape and its values. With `names` it holds the values of these
    fields, null for those that the record lacks. Packing costs about 0.6 µs for six values, unpacking 0.7 µs.
    """

    __slots__ = ("_names", "_numbers", "shapes")

    def __init__(self, names: Sequence[str] | None) -> None:
        self._names = None if names is None else tuple(names)
        self.shapes: list[Shape] = []
        """The shapes so far; packed records name them by their number."""
        self._numbers: dict[Shape, int] = {}

    def pack(self, record: Record, mark: int) -> bytes | None:
        """The packed record; None if MessagePack has no word for one of its values."""
        try:
            if self._names is not None:
                return _pack(mark) + _encode([record.get(name) for name in self._names])
            number = self._numbers.get(tuple(record))
            if number is None and (number := self._new(tuple(record))) is None:
                return _pack(mark) + _encode(record)
            return _pack(mark) + _encode([number, *record.values()])
        except _UNPACKABLE:
            return None

    def unpack(self, packed: bytes) -> Record:
        """The record. Raises `ValueError` for bytes that `pack` has not made."""
        found: Any = _decode(memoryview(packed)[_HEAD:])
        if type(found) is dict:
            return found
        names = self._names
        if names is None:
            number, *found = found
            names = self.shapes[number]
        return dict(zip(names, found, strict=True))

    def _new(self, shape: Shape) -> int | None:
        """The number of a shape that has none yet; None if it gets none."""
        if len(self.shapes) >= MOST_SHAPES or sum(map(len, shape)) > MOST_NAME_CHARACTERS:
            return None
        number = self._numbers[shape] = len(self.shapes)
        self.shapes.append(shape)
        return number

    def restore(self, shapes: Iterable[Shape]) -> None:
        """Go on with the shapes of an earlier packing with the same names."""
        self.shapes = list(shapes)
        self._numbers = {shape: number for number, shape in enumerate(self.shapes)}


def mark_of(packed: bytes) -> int:
    """The mark of a packed record."""
    mark: int = _unpack_from(packed)[0]
    return mark
