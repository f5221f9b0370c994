"""Values in the details of rejects and in the field `quality`."""

from collections.abc import Sequence
from typing import Any

_MAX_CHARS = 64
_MAX_LISTED = 5


def shown(value: Any) -> str:
    """The value as a short text. Never raises; half a surrogate pair is shown as an escape."""
    if value is None:
        return "null"
    if type(value) is str:
        value = value[: _MAX_CHARS + 1]
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a huge integer, endless nesting, or a `__repr__` of the user's code
        text = type(value).__name__
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 1]}…"


def shown_name(name: str) -> str:
    """The name of a field, shortened if necessary."""
    text = name[: _MAX_CHARS + 1].encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 1]}…"


def listed(texts: Sequence[str]) -> str:
    """The texts in a row, with the number of those that are left out."""
    more = len(texts) - _MAX_LISTED
    return "; ".join([*texts[:_MAX_LISTED], f"and {more} more"] if more > 0 else texts)
