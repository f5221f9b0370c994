"""How deep the values of a pickle may be nested, and how much work their hashes may be.

Python hashes a tuple by a recursion in C that nothing bounds: a tuple nested a million deep ends the process,
and one that contains the same tuple twice at each of sixty levels is hashed for ever. Both are short pickles.
"""

from collections.abc import Iterable
from typing import Any

from streamd.learning.admitted import Refused
from streamd.learning.arrays import numpy

MOST_DEEP = 50
"""The deepest nesting of tuples, frozen sets and slices."""
MOST_ARRAYS = 1000
"""The most arrays that are elements of other arrays: the memory of such a chain is freed by a recursion."""
_HASHED_PER_BYTE = 16
_HASHED_LEAST = 10_000
"""So many values may be hashed for each byte of the pickle, and in any pickle. A value in two tuples counts
twice."""
_NESTED = (tuple, frozenset, slice)


class Nesting:
    """Bounds the values of one pickle. Its methods raise `Refused`."""

    def __init__(self, size_bytes: int) -> None:
        """`size_bytes`: the size of the pickle, which bounds what it may hash in all."""
        self._most_parts = self._left = _HASHED_LEAST + _HASHED_PER_BYTE * size_bytes
        self._arrays = 0
        self._deep: dict[int, tuple[int, int, Any]] = {}
        """Depth and number of values of each value that contains others of `_NESTED`, by its identity; and
        the value itself, so that no other one gets this identity."""

    def check_made(self, made: Any) -> None:
        """Check a value that was made of others."""
        if not isinstance(made, _NESTED):
            return
        values = (made.start, made.stop, made.step) if isinstance(made, slice) else made
        deepest = parts = 0
        for value in values:
            if isinstance(value, _NESTED):
                depth, inner = self._size_of(value)
                deepest, parts = max(deepest, depth), parts + inner
        if not deepest:
            return
        parts += len(values) + 1
        if deepest >= MOST_DEEP or parts > self._most_parts:
            raise Refused("its values are nested too deeply")
        self._deep[id(made)] = deepest + 1, parts, made

    def check_hashed(self, keys: Iterable[Any]) -> None:
        """Check values before they are hashed."""
        for key in keys:
            if isinstance(key, _NESTED):
                self._left -= self._size_of(key)[1]
        if self._left < 0:
            raise Refused("its keys are too large")

    def check_elements(self, elements: list[Any]) -> None:
        """Check the elements of an array of objects."""
        array = numpy().ndarray
        self._arrays += sum(isinstance(element, array) for element in elements)
        if self._arrays > MOST_ARRAYS:
            raise Refused("it has too many arrays of arrays")

    def _size_of(self, value: Any) -> tuple[int, int]:
        """The depth, and the number of values with the value itself."""
        known = self._deep.get(id(value))
        if known is not None:
            return known[:2]
        return 1, 1 + (3 if isinstance(value, slice) else len(value))
