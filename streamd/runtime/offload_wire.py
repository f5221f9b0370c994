"""The encoding of records for worker processes: msgpack, with extensions for values that it cannot encode."""

from typing import Any

import msgspec

from streamd.core.batch import Record

_INTEGER, _TEXT = 1, 2
_MOST, _LEAST = 2**64, -(2**63)
"""Bounds of the integers that msgpack can encode."""

pack = msgspec.msgpack.encode


def portable(record: Record) -> Record:
    """The record with an extension for each integer beyond 64 bits and each text that is not valid UTF-8.

    Other values are unchanged, even if msgpack cannot encode them. Raises `RecursionError` for a record that
    contains itself.
    """
    return {key: _portable(value) for key, value in record.items()}


def from_extension(code: int, data: memoryview) -> Any:
    """The value of an extension."""
    if code == _INTEGER:
        return int.from_bytes(data, "big", signed=True)
    if code == _TEXT:
        return bytes(data).decode("utf-8", "surrogatepass")
    return msgspec.msgpack.Ext(code, bytes(data))


def _portable(value: Any) -> Any:
    kind = type(value)
    if kind is int and not _LEAST <= value < _MOST:
        return msgspec.msgpack.Ext(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    if kind is str and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return msgspec.msgpack.Ext(_TEXT, value.encode("utf-8", "surrogatepass"))
    if kind is dict:
        return portable(value)
    if kind is list:
        return [_portable(part) for part in value]
    return value
