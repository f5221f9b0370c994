"""Functions for the codec `python`."""

import datetime as dt
import sys
from typing import Any

import streamd


def pairs(payload: bytes) -> list[dict[str, Any]]:
    """Records of `name=value;name=value`."""
    records = []
    for part in filter(None, payload.split(b";")):
        name, separator, value = part.partition(b"=")
        if not separator:
            raise ValueError(f"no pair: {part!r}")
        records.append({name.decode(): value.decode()})
    if not records:
        raise ValueError("empty")
    return records


def words(payload: bytes) -> dict[str, Any]:
    """A record with each word as a field that is true."""
    return dict.fromkeys(payload.decode().split(), True)


def with_sender(payload: bytes, *, peer: str, received_at: float, site: str = "roof") -> dict[str, Any]:
    return {"text": payload.decode(), "peer": peer, "at": received_at, "site": site}


_reused: dict[str, Any] = {}


def same_dict(payload: bytes) -> dict[str, Any]:
    _reused["size"] = len(payload)
    return _reused


def rich(payload: bytes) -> dict[str, Any]:
    return {"at": dt.datetime(2026, 1, 31, 8, tzinfo=dt.UTC), "parts": (1, {"b": payload})}


def outcome(payload: bytes) -> Any:
    """Whatever the payload says."""
    match payload:
        case b"none":
            return None
        case b"drop":
            return streamd.DROP
        case b"text":
            return "text"
        case b"list":
            return [{"a": 1}, 7]
        case b"strange":
            return {"a": object()}
        case b"refuse":
            raise streamd.Reject("not mine")
        case b"fail":
            raise KeyError("a")
        case b"exit":
            sys.exit("now")
    return {"a": payload.decode()}


async def waits(payload: bytes) -> dict[str, Any]:
    return {"a": payload}


def yields(payload: bytes) -> Any:
    yield {"a": payload}


class Decoder:
    def __call__(self, payload: bytes) -> dict[str, Any]:
        return {"a": payload}


def nothing() -> None:
    """Takes no argument."""


limit = 7
