"""Packs the values that a user's class keeps by key.

What is read again equals what was put; other values are refused. Values are packed after each call. So the
changes of a call that fails are undone by forgetting them, a value that cannot be stored is noticed at the
call that put it, and the state is the same after a restart as before.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from streamd.core.json_rules import MAX_DEPTH
from streamd.functions.values import SCALARS, name_of, shown

MAX_KEY_BYTES = 256
"""Longest key: a text in UTF-8, bytes, or the MessagePack of a tuple."""
MAX_VALUE_BYTES = 65_536
"""Longest value, as MessagePack."""
_KEYS = frozenset((str, int))
"""Types of keys of a dict inside a value."""

unpacked = msgspec.msgpack.Decoder().decode
_encode = msgspec.msgpack.Encoder().encode


class BadState(Exception):  # noqa: N818 - a verdict on a value
    """A value or key that cannot be kept; the text says why. `kind` groups similar ones for the log."""

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__(text)
        self.kind = kind or text


def packed(value: Any, key: Any) -> bytes | None:
    """The value of `key` as MessagePack; None for an empty dict, which is what a missing key gives.

    Raises `BadState`. A dict of three numbers costs 0.4 µs.
    """
    kind = type(value)
    try:
        if (
            kind is dict
            and SCALARS.issuperset(map(type, value.values()))
            and _KEYS.issuperset(map(type, value))
        ):
            if not value:
                return None
            data = _encode(value)
        else:
            data = _encode(_plain(value, "", 1))
    except BadState as bad:
        raise BadState(f"context.state[{shown(key)}]{bad}", bad.kind) from None
    except (OverflowError, UnicodeEncodeError) as error:
        why = _WHY[type(error)]
        raise BadState(f"context.state[{shown(key)}]: {why} cannot be stored", why) from None
    if len(data) > MAX_VALUE_BYTES:
        raise BadState(
            f"context.state[{shown(key)}] has {len(data):,} bytes, more than {MAX_VALUE_BYTES:,}",
            "more than the most bytes of a value",
        )
    return data


_WHY: dict[type[BaseException], str] = {
    OverflowError: "a whole number beyond 64 bits",
    UnicodeEncodeError: "a text with half of a surrogate pair",
}


def plain_key(key: Any) -> Any:
    """The key as it is stored; equal to `key`. Raises `BadState` if it cannot be stored."""
    try:
        plain = _plain_key(key)
        size = len(key) if type(key) is str and key.isascii() else len(_encode(plain))
    except (OverflowError, UnicodeEncodeError) as error:
        why = _WHY[type(error)]
        raise BadState(f"context.state[{shown(key)}]: {why} cannot be a key", f"{why} as a key") from None
    if size > MAX_KEY_BYTES:
        raise BadState(
            f"context.state[{shown(key)}]: the key has {size:,} bytes, more than {MAX_KEY_BYTES}",
            "more than the most bytes of a key",
        )
    return plain


def _plain_key(key: Any) -> Any:
    kind = type(key)
    if kind is tuple:
        return tuple(map(_plain_key, key))
    if kind in SCALARS and key == key:  # noqa: PLR0124 - NaN is not equal to itself, so it is never found again
        return key
    if kind not in SCALARS and (base := _base(key)) is not None:
        return _plain_key(base)
    what = "NaN" if kind is float else name_of(key)
    raise BadState(
        f"context.state[{shown(key)}]: {what} cannot be a key: use a text, a number or a tuple of these",
        f"{what} as a key",
    )


def _base(value: Any) -> Any:
    """The plain value that a value of NumPy or of an enum equals; None if there is none."""
    if type(value).__module__ == "numpy" and callable(item := getattr(value, "item", None)):
        plain = None if hasattr(value, "__len__") and not isinstance(value, str | bytes) else item()
        return plain if type(plain) in SCALARS else None
    for kind, convert in _BASES:
        if isinstance(value, kind):
            return convert(value)
    return None


_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
)


def _plain(value: Any, path: str, depth: int) -> Any:
    kind = type(value)
    if kind in SCALARS:
        return value
    if depth > MAX_DEPTH:
        raise BadState(f"{path[:100]}…: nested deeper than {MAX_DEPTH} cannot be stored", "nested too deeply")
    if kind is list or kind is tuple:
        if SCALARS.issuperset(map(type, value)):
            return value
        return [_plain(part, f"{path}[{place}]", depth + 1) for place, part in enumerate(value)]
    if kind is dict:
        for key in value:
            if type(key) not in _KEYS:
                what = f"the key {shown(key)}, {name_of(key)},"
                raise BadState(f"{path}: {what} cannot be stored", f"{name_of(key)} as a key inside a value")
        return {key: _plain(part, f"{path}[{shown(key)}]", depth + 1) for key, part in value.items()}
    if (base := _base(value)) is not None:
        return base
    raise BadState(
        f"{path}: {name_of(value)} cannot be stored: keep its content as numbers, texts, lists or dicts",
        name_of(value),
    )
