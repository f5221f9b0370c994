"""Finds the end of the last complete line of a file."""

import os

_BLOCK_BYTES = 2**20


def end_of_last_line(fd: int, size: int, *, quoted: bool) -> int:
    """The offset behind the last line end; 0 if there is none.

    With `quoted` (CSV), a line end between quotes does not count. The whole file is read then, at about a
    second a GiB. Otherwise only its end is read.
    """
    return _end_outside_quotes(fd) if quoted else _end(fd, size)


def _end(fd: int, size: int) -> int:
    while size > 0:
        start = max(0, size - _BLOCK_BYTES)
        place = os.pread(fd, size - start, start).rfind(b"\n")
        if place >= 0:
            return start + place + 1
        size = start
    return 0


def _end_outside_quotes(fd: int) -> int:
    end = at = 0
    inside = False
    while block := os.pread(fd, _BLOCK_BYTES, at):
        for number, part in enumerate(block.split(b'"')):
            if number:
                inside = not inside
                at += 1
            if not inside and (place := part.rfind(b"\n")) >= 0:
                end = at + place + 1
            at += len(part)
    return end
