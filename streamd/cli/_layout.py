"""Lays out rows for the width of a terminal: as a table, with long values below, or as one block each."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from typing import TextIO

from streamd.core.printable import cells

_GAP = 2
_MOST_BELOW = 2
"""The most columns whose values are printed below their row. With more, each row becomes a block."""


def width_of(out: TextIO, elsewhere: int) -> int:
    """The width to use: $COLUMNS, else the terminal's width, or `elsewhere` without a terminal."""
    if not out.isatty() and not os.environ.get("COLUMNS", "").isdigit():
        return elsewhere
    return max(20, shutil.get_terminal_size().columns)


def folded(line: str, width: int, inside: int = 0) -> Iterator[str]:
    """A line of prose as lines of at most `width`. Lines after the first are indented by `inside` columns.

    The text is broken only at blanks. A word longer than a line stays whole, so that a path can be copied.
    """
    margin = " " * (inside if inside <= width // 2 else 4)
    part = ""
    for word in re.findall(r"\s*\S+", line):
        if part and cells(part + word) > width:
            yield part
            part = margin + word.lstrip()
        else:
            part += word
    yield part


def laid_out(
    names: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool], width: int
) -> Iterator[str]:
    """The lines of the table, no longer than `width`, header first. Names and numbers are never broken."""
    widths = [max([cells(name), *(cells(row[i]) for row in rows)]) for i, name in enumerate(names)]
    inside = list(range(len(names)))
    while inside and sum(widths[i] + _GAP for i in inside) - _GAP > width:
        inside.remove(max(inside, key=lambda i: widths[i]))
    below = [i for i in range(len(names)) if i not in inside]
    if not inside or len(below) > _MOST_BELOW:
        yield from _blocks(names, rows, width)
        return

    def line(values: Sequence[str]) -> str:
        return (" " * _GAP).join(_padded(values[i], widths[i], right=right[i]) for i in inside).rstrip()

    yield line(names)
    yield (" " * _GAP).join("-" * widths[i] for i in inside)
    for row in rows:
        yield line(row)
        for i in below:
            if row[i]:
                yield from _hanging(f"  {names[i]}: ", row[i], width)


def _blocks(names: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    longest = max(map(cells, names), default=0)
    margin = longest + _GAP if longest + _GAP <= width // 2 else 0
    for number, row in enumerate(rows):
        if number:
            yield ""
        for name, value in zip(names, row, strict=True):
            head = _padded(name, margin, right=False) if margin else f"{name}: "
            yield from _hanging(head, value, width)


def _hanging(head: str, text: str, width: int) -> Iterator[str]:
    """The text after its head, broken into lines that are indented by the width of the head."""
    inside = " " * min(cells(head), width // 2)
    part, used = head, cells(head)
    for character in text:
        wide = cells(character)
        if used + wide > width:
            yield part.rstrip()
            part, used = inside, len(inside)
        part, used = part + character, used + wide
    yield part.rstrip()


def _padded(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - cells(text))
    return space + text if right else text + space
