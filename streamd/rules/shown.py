"""Values in the details of rejects and in the field `quality`."""

from typing import Any

_MAX_CHARS = 64


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
