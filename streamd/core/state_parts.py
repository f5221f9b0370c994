"""Encodes a large state part by part, so that nothing waits long for the whole."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import msgspec

PART = 256
"""Entries of a part. One takes 1 to 10 µs, so a part takes up to about 3 ms."""
_FIX, _SHORT, _LONG = 16, 1 << 16, 1 << 32
_encode = msgspec.msgpack.encode

T = TypeVar("T")


def as_it_is(value: T) -> T:
    """For values that MessagePack knows."""
    return value


class Entries:
    """A dict in a state, with the value of each entry as MessagePack knows it."""

    def __init__(self, entries: dict[Any, Any], stored: Callable[[Any], Any]) -> None:
        self._entries = dict(entries)
        self._stored = stored

    def parts(self) -> Iterator[bytes]:
        """The parts of the encoded dict."""
        stored = self._stored
        yield _header(0x80, 0xDE, len(self._entries))
        items = iter(self._entries.items())
        while part := {key: stored(value) for key, value in islice(items, PART)}:
            yield _without_header(_encode(part), len(part))


class Items:
    """A list in a state, with each item as MessagePack knows it; `part` items are encoded at once."""

    def __init__(self, items: Iterable[Any], stored: Callable[[Any], Any], part: int = PART) -> None:
        self._items = list(items)
        self._stored = stored
        self._part = part

    def parts(self) -> Iterator[bytes]:
        """The parts of the encoded list."""
        yield _header(0x90, 0xDC, len(self._items))
        items = map(self._stored, self._items)
        while part := list(islice(items, self._part)):
            yield _without_header(_encode(part), len(part))


def parts_of(state: Any) -> Iterator[bytes]:
    """The parts of an encoded state, whose tuples and dicts may contain `Entries` and `Items`.

    Together they are what `msgspec.msgpack.encode` makes of the same with plain dicts and lists.
    """
    if isinstance(state, Entries | Items):
        yield from state.parts()
    elif isinstance(state, tuple):
        yield _header(0x90, 0xDC, len(state))
        for item in state:
            yield from parts_of(item)
    elif isinstance(state, dict):
        yield _header(0x80, 0xDE, len(state))
        for key, value in state.items():
            yield _encode(key)
            yield from parts_of(value)
    else:
        yield _encode(state)


def _header(fix: int, short: int, count: int) -> bytes:
    """The first bytes of a dict or list."""
    if count < _FIX:
        return bytes((fix | count,))
    if count < _SHORT:
        return bytes((short,)) + count.to_bytes(2, "big")
    if count < _LONG:
        return bytes((short + 1,)) + count.to_bytes(4, "big")
    raise ValueError(f"a state has at most {_LONG - 1} entries")


def _without_header(encoded: bytes, count: int) -> bytes:
    return encoded[1:] if count < _FIX else encoded[3:]
