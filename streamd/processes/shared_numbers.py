"""Named numbers in memory that two processes share: one writes them, the other reads them after its end."""

import json
import mmap
import os
from collections.abc import Iterator
from contextlib import suppress

CELLS = 8192
"""The most numbers."""
_NAMES_BYTES = 1 << 20
_BLOCKS_BYTES = 1 << 20
_WORD_BYTES = 8
_COUNT, _FULL = 0, 1
"""The places of the number of names, and of the mark that there was no room for another one."""
_FIRST = 2

Name = tuple[str, ...]


class SharedNumbers:
    """A table of numbers by name in anonymous memory, which the kernel keeps while a process maps it.

    A number is an aligned word that one store sets, so it is whole even if its writer is killed. Its name is
    written before it counts as there. The memory takes room only for pages that were written to.
    """

    def __init__(self, fd: int | None = None) -> None:
        """`fd`: the descriptor of memory that another process made, which is kept; None makes new memory."""
        self.fd = os.memfd_create("streamd-numbers") if fd is None else fd
        os.set_inheritable(self.fd, False)
        blocks_at = (_FIRST + CELLS) * _WORD_BYTES + _NAMES_BYTES
        size_bytes = blocks_at + _BLOCKS_BYTES
        if fd is None:
            os.ftruncate(self.fd, size_bytes)
        self._memory = mmap.mmap(self.fd, size_bytes)
        self._whole = memoryview(self._memory)
        self.cells = self._whole[: (_FIRST + CELLS) * _WORD_BYTES].cast("q")
        """All numbers; `place` gives the index of one."""
        self._names = self._whole[(_FIRST + CELLS) * _WORD_BYTES : blocks_at]
        self._blocks = self._whole[blocks_at:]
        self._used_bytes = 0
        self._used_blocks_bytes = 0

    def place(self, *name: str) -> int | None:
        """The index of a new number, which is 0; None if there is no room for it. Name each only once."""
        text = json.dumps(name).encode() + b"\n"
        end = self._used_bytes + len(text)
        count = self.cells[_COUNT]
        if count == CELLS or end > _NAMES_BYTES:
            self.cells[_FULL] = 1
            return None
        self._names[self._used_bytes : end] = text
        self._used_bytes = end
        self.cells[_COUNT] = count + 1
        return _FIRST + count

    def block(self, size_bytes: int, *name: str) -> memoryview | None:
        """New memory of this size, a multiple of a word; None if there is no room for it or its name.

        The number with this name is its place, for `block_at`.
        """
        start = self._used_blocks_bytes
        at = self.place(*name)
        if at is None or start + size_bytes > _BLOCKS_BYTES:
            self.cells[_FULL] = 1
            return None
        self._used_blocks_bytes += size_bytes
        self.cells[at] = start
        return self.block_at(start, size_bytes)

    def block_at(self, start: int, size_bytes: int) -> memoryview:
        """The memory of a block."""
        return self._blocks[start : start + size_bytes]

    @property
    def are_all(self) -> bool:
        """Whether every number that was asked for has found room."""
        return not self.cells[_FULL]

    def items(self) -> Iterator[tuple[Name, int]]:
        """Every name with its present number, also those that another process has written."""
        count = self.cells[_COUNT]
        lines = bytes(self._names).split(b"\n", count)[:count]
        for index, line in enumerate(lines):
            yield tuple(json.loads(line)), self.cells[_FIRST + index]

    def close(self) -> None:
        """Give the memory back. It stays for the other process."""
        self._names.release()
        self._blocks.release()
        self.cells.release()
        self._whole.release()
        self._memory.close()
        with suppress(OSError):
            os.close(self.fd)
