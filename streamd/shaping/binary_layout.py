"""A fixed layout of bytes: `<Q ts, 8s sensor, I seq, f value`, with the codes of Python's module struct."""

import difflib
import math
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from streamd.core.batch import Record
from streamd.core.errors import BadData
from streamd.core.field_names import field_name_fault
from streamd.core.json_rules import INT_MAX

LARGEST = 1 << 20
"""Most bytes of one record."""
_ORDERS = "<>=!@"
_ITEM = re.compile(r"(\d*)([A-Za-z?])(?:\s+(\S+))?")
_FLOATS, _TEXTS, _UNSIGNED = "efd", "csp", "QN"
_CODES = "xcbB?hHiIlLqQnNefdsp"
_NATIVE = "nN"
_OF_C = {
    "int8": "b", "uint8": "B", "bool": "?", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I",
    "int64": "q", "uint64": "Q", "float16": "e", "float32": "f", "float64": "d", "short": "h", "int": "i",
    "long": "q", "half": "e", "float": "f", "double": "d", "char": "8s", "string": "8s", "byte": "B",
}  # fmt: skip
"""The code for the name of a type in C, NumPy and other languages."""
_ORDER_NEEDED = (
    'begin with the byte order: "<" (little endian, as most microcontrollers send) or ">" (big endian, the'
    " network's order)"
)


class _Field(NamedTuple):
    name: str
    code: str
    first: int
    """The index of its first value in a row."""
    repeats: int


class BinaryLayout:
    """Reads records of one size. The constructor raises `ValueError` for a layout with a fault.

    `strings` is the encoding of texts, or `bytes`. A text ends at its first NUL. With `keeps_gaps` a float
    that is not finite is None; otherwise it is refused.
    """

    def __init__(self, text: str, strings: str = "utf-8", *, keeps_gaps: bool = False) -> None:
        order, items = text[:1], text[1:].split(",")
        if not order or order not in _ORDERS:
            raise ValueError(_ORDER_NEEDED)
        self._strings = strings
        self._keeps_gaps = keeps_gaps
        self._fields: list[_Field] = []
        codes, width = "", 0
        for number, item in enumerate(items, 1):
            try:
                count, code, name = _parsed(item, order, {field.name for field in self._fields})
            except ValueError as error:
                raise ValueError(f"item {number}, {item.strip()!r}: {error}") from None
            codes += f"{count}{code}"
            if code != "x":
                values = 1 if code in "sp" else count
                self._fields.append(_Field(name, code, width, values))
                width += values
        if not self._fields:
            raise ValueError("it names no field")
        self._struct = struct.Struct(order + codes)
        self.size = self._struct.size
        """Bytes of one record."""
        if self.size > LARGEST:
            raise ValueError(f"a record has {self.size:,} bytes, more than {LARGEST:,}")
        self.names = tuple(field.name for field in self._fields)
        self.width = width
        """Values of one record."""
        self._plain = width == len(self._fields)
        self._checks = [
            (place, field.name, check)
            for field in self._fields
            for place in range(field.first, field.first + field.repeats)
            if (check := self._check_of(field.code)) is not None
        ]

    def has(self, kind: str) -> bool:
        """Whether a field is of this kind: `text` or `float`."""
        codes = _TEXTS if kind == "text" else _FLOATS
        return any(field.code in codes for field in self._fields)

    def records(self, buffer: bytes) -> list[Record]:
        """The records in bytes whose number is a multiple of `size`.

        Raises `BadData` with `struct:nan`, `struct:integer` or `struct:utf8` if one cannot be used.
        """
        if not buffer:
            return []
        if not self._checks and self._plain:
            names = self.names
            return [dict(zip(names, row, strict=True)) for row in self._struct.iter_unpack(buffer)]
        columns: list[Sequence[Any]] = list(zip(*self._struct.iter_unpack(buffer), strict=True))
        for place, name, check in self._checks:
            try:
                columns[place] = check(columns[place])
            except BadData as bad:
                raise BadData(bad.reason, f"{name}: {bad.detail}") from None
        if not self._plain:
            columns = [
                columns[field.first]
                if field.repeats == 1
                else list(map(list, zip(*columns[field.first : field.first + field.repeats], strict=True)))
                for field in self._fields
            ]
        return [dict(zip(self.names, row, strict=True)) for row in zip(*columns, strict=True)]

    def _check_of(self, code: str) -> Callable[[Sequence[Any]], Sequence[Any]] | None:
        """What makes usable values of a column, or raises `BadData`; None if all values can be used."""
        if code in _FLOATS:
            return _with_gaps if self._keeps_gaps else _finite
        if code in _TEXTS and self._strings != "bytes":
            return self._texts
        return _in_64_bits if code in _UNSIGNED else None

    def _texts(self, values: Sequence[bytes]) -> list[str]:
        try:
            return [value.partition(b"\0")[0].decode(self._strings) for value in values]
        except UnicodeDecodeError as error:
            raise BadData("struct:utf8", f"not {self._strings} at byte {error.start}") from None


def _parsed(item: str, order: str, known: set[str]) -> tuple[int, str, str]:
    """Count, code and name of an item. Raises `ValueError`."""
    found = _ITEM.fullmatch(item.strip())
    if found is None or found[2] not in _CODES:
        raise ValueError(_hint(item.strip()))
    digits, code, name = found.groups("")
    count = int(digits[:8]) if digits else 1
    if count == 0:
        raise ValueError("a count is 1 or more")
    if code in _NATIVE and order != "@":
        raise ValueError(f"{code} has a size only in the native order @: write q or Q for 8 bytes")
    if code == "x":
        if name:
            raise ValueError("x skips bytes and has no name")
        return count, code, ""
    if not name:
        skipped = struct.calcsize(f"{order}{count}{code}")
        raise ValueError(f"write a name after it, like {digits}{code} value, or {skipped}x to skip the bytes")
    if fault := field_name_fault(name):
        raise ValueError(fault)
    if name in known:
        raise ValueError(f"the name {name!r} occurs twice")
    return count, code, name


def _hint(item: str) -> str:
    word, _, name = item.partition(" ")
    if not item:
        return "there is nothing between two commas"
    kind = re.sub(r"_t$|\[\d*\]$", "", word.lower())
    close = difflib.get_close_matches(kind, _OF_C, 1, 0.8)
    if close:
        size = re.fullmatch(r"char\[(\d+)\]", word)
        code = f"{size[1]}s" if size else _OF_C[close[0]]
        return f"write the code of the type: {code} {name or 'name'}"
    return f"write a code and a name, like H level; the codes are {' '.join(_CODES)}"


def _finite(values: Sequence[float]) -> Sequence[float]:
    if not all(map(math.isfinite, values)):
        raise BadData("struct:nan", "no finite number")
    return values


def _with_gaps(values: Sequence[float]) -> Sequence[float | None]:
    if all(map(math.isfinite, values)):
        return values
    return [value if math.isfinite(value) else None for value in values]


def _in_64_bits(values: Sequence[int]) -> Sequence[int]:
    if max(values) > INT_MAX:
        raise BadData("struct:integer", "an integer beyond 64 bits with sign")
    return values
