"""Finds lines that are alike, and divides them into columns.

Most lines of a batch have the keys of others. The separators of such lines are equal, so that one comparison
of texts shows that each key and value has the same place in a list of all tokens.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

_TELLING = bytes([*range(0x21), 0x7F, *b'"#,=\\'])
"""The characters that decide how a line is read."""
_OTHERS = bytes(set(range(256)).difference(_TELLING))
_SHAPE = re.compile(rb'((?:,=)*+) ="?+((?:,="?+)*+)( ?)')
_TO_LINES = bytes(0x0A if byte in b" ,=" else byte for byte in range(256))
_UNREADABLE = b"\\"
"""Stands for a line that cannot be read by columns."""
_FEWEST = 4
"""Fewer lines are read faster one by one."""
_SHAPES_KEPT = 1024


class Alike(NamedTuple):
    """Lines with the same keys, in columns. A row in `bad` holds a line that is not what it seemed."""

    places: Sequence[int]
    """The index of each line."""
    measurements: list[str]
    tags: dict[str, list[str]]
    bare: dict[str, list[str]]
    """The values of each field without quotes."""
    strings: dict[str, list[str]]
    """The values of each field in quotes."""
    times: list[str] | None
    """The digits of the timestamps; None if the lines have none."""
    bad: set[int]


class _Shape(NamedTuple):
    tags: int
    quoted: list[bool]
    """Whether the value of each field is in quotes."""
    timed: bool


class Shapes:
    """Recognises the shapes of lines, and remembers them."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Shape | None] = {}

    def find(self, lines: Sequence[bytes]) -> Iterator[Alike]:
        """The lines that are alike. Those that are left out have to be read one by one."""
        skeletons, strings = _without_strings(lines)
        joined = b"\n".join(skeletons)
        shapes = joined.translate(None, _OTHERS)
        first = shapes.partition(b"\n")[0]
        if shapes == b"\n".join([first] * len(lines)):
            if len(lines) >= _FEWEST and (shape := self._shape(first)) is not None:
                yield from _alike(shape, joined, range(len(lines)), strings)
            return
        found: dict[bytes, list[int]] = defaultdict(list)
        for index, written in enumerate(shapes.split(b"\n")):
            found[written].append(index)
        for written, places in found.items():
            if len(places) >= _FEWEST and (shape := self._shape(written)) is not None:
                yield from _alike(shape, b"\n".join([skeletons[n] for n in places]), places, strings)

    def _shape(self, written: bytes) -> _Shape | None:
        """The shape of lines with these separators; None if they are read one by one."""
        if written in self._known:
            return self._known[written]
        found = _SHAPE.fullmatch(written)
        shape = None
        if found is not None:
            tags, fields = len(found[1]) // 2, written[len(found[1]) :].split(b",")
            shape = _Shape(tags, [b'"' in field for field in fields], bool(found[3]))
        if len(self._known) >= _SHAPES_KEPT:
            self._known.clear()
        self._known[written] = shape
        return shape


def _without_strings(lines: Sequence[bytes]) -> tuple[list[bytes], dict[int, list[bytes]]]:
    """The lines with one quote in place of each string, and the strings by the index of the line."""
    skeletons = list(lines)
    strings: dict[int, list[bytes]] = {}
    together = b"\n".join(lines)
    if b'"' in together:
        for index, line in enumerate(lines):
            if b'"' in line:
                parts = line.split(b'"')
                skeletons[index] = b'"'.join(parts[::2])
                strings[index] = parts[1::2]
                if len(parts) % 2 == 0 or b"\\" in line:
                    skeletons[index] = _UNREADABLE
    if not _is_utf8(together):
        skeletons = [
            skeleton if _is_utf8(line) else _UNREADABLE
            for line, skeleton in zip(lines, skeletons, strict=True)
        ]
    return skeletons, strings


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _alike(
    shape: _Shape, joined: bytes, places: Sequence[int], strings: dict[int, list[bytes]]
) -> Iterator[Alike]:
    """The lines of one shape, in a group for each combination of keys."""
    tokens = joined.translate(_TO_LINES).decode().split("\n")
    width = 1 + 2 * shape.tags + 2 * len(shape.quoted) + shape.timed
    columns = [tokens[place::width] for place in range(width)]
    keys = columns[1 : width - shape.timed : 2]
    if all(column.count(column[0]) == len(column) for column in keys):
        yield from _divided(shape, columns, places, strings)
        return
    rows_of = defaultdict(list)
    for row, of_row in enumerate(zip(*keys, strict=True)):
        rows_of[of_row].append(row)
    for rows in rows_of.values():
        if len(rows) >= _FEWEST:
            chosen = [[column[row] for row in rows] for column in columns]
            yield from _divided(shape, chosen, [places[row] for row in rows], strings)


def _divided(
    shape: _Shape, columns: list[list[str]], places: Sequence[int], strings: dict[int, list[bytes]]
) -> Iterator[Alike]:
    names = [column[0] for column in columns[1 : len(columns) - shape.timed : 2]]
    tags, fields = names[: shape.tags], names[shape.tags :]
    if not all(names) or len(set(tags)) < len(tags) or len(set(fields)) < len(fields):
        return
    alike = Alike(places, columns[0], {}, {}, {}, columns[-1] if shape.timed else None, set())
    values = columns[2::2]
    if not all(alike.measurements):
        mark(alike.bad, alike.measurements, bool)
    for name, column in zip(tags, values, strict=False):
        alike.tags[name] = column
        if not all(column):
            mark(alike.bad, column, bool)
    for name, column, is_quoted in zip(fields, values[shape.tags :], shape.quoted, strict=True):
        if is_quoted:
            if column.count('"') < len(column):
                mark(alike.bad, column, '"'.__eq__)
            number = len(alike.strings)
            alike.strings[name] = [strings[place][number].decode() for place in places]
        else:
            alike.bare[name] = column
    yield alike


def mark(bad: set[int], column: Sequence[str], is_good: Callable[[str], bool]) -> None:
    """Add the rows of a column whose value is not good."""
    bad.update(row for row, value in enumerate(column) if not is_good(value))
