"""One event of the log as one line: printable, bounded, for programs or for people."""

import json
import math
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from streamd.core.printable import printable
from streamd.core.traceback_lines import MAX_LINE_CHARS as MAX_TRACEBACK_CHARS
from streamd.core.traceback_lines import MAX_LINES as MAX_TRACEBACK_LINES
from streamd.core.traceback_lines import traceback_lines

MAX_TEXT_CHARS = 1024
"""Of a longer text the rest is left out."""
MAX_KEY_CHARS = 64
MAX_ENTRIES = 32
"""Entries of a list or table that are shown."""
MAX_DEPTH = 4
"""Lists and tables within each other that are shown, the event being the first."""
MAX_LINE_CHARS = 8192
"""All texts of one event together, before escaping and without its traceback."""

_INT_BITS = 64
_RENDERERS_OWN = {"exc_info", "stack"}  # structlog's console prints these below the line and as they are


class _Bounded:
    """Makes values of one event fit for a line; `left` is how many characters it may still take."""

    def __init__(self) -> None:
        self.left = MAX_LINE_CHARS

    def value(self, value: Any, depth: int = 0) -> Any:
        self.left -= 1
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            bits = value.bit_length()
            return int(value) if bits <= _INT_BITS else f"(integer of {bits} bits)"
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else str(float(value))
        if isinstance(value, Mapping):
            return self.table(value.items(), depth) if depth < MAX_DEPTH else "{…}"
        if type(value) in (list, tuple, set, frozenset):  # a named tuple has its own text
            return self.entries(value, depth) if depth < MAX_DEPTH else "[…]"
        return self.text(value)

    def table(self, items: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for key, value in items:
            if len(shown) >= MAX_ENTRIES or self.left <= 0:
                shown["…"] = "more"
                break
            shown[self.text(key, MAX_KEY_CHARS)] = self.value(value, depth + 1)
        return shown

    def entries(self, values: Iterable[Any], depth: int) -> list[Any]:
        shown: list[Any] = []
        for value in values:
            if len(shown) >= MAX_ENTRIES or self.left <= 0:
                shown.append("…")
                break
            shown.append(self.value(value, depth + 1))
        return shown

    def text(self, value: Any, max_chars: int = MAX_TEXT_CHARS) -> str:
        if isinstance(value, bytearray | memoryview):
            value = bytes(value)
        if not isinstance(value, str | bytes):
            try:
                value = f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)
            except Exception:  # noqa: BLE001 - a broken __str__ must not break the log
                value = f"({type(value).__name__} without a text)"
        shown = printable(value, max(0, min(max_chars, self.left)))
        self.left -= len(shown)
        return shown


def safe(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """A structlog processor: time, level and event first, then every key and value printable and bounded.

    An exception becomes `exception`, its traceback as a list of lines (`core.traceback_lines`).
    """
    del logger
    error = event.pop("exc_info", None)
    event.pop("stack_info", None)
    if isinstance(error, tuple):
        error = error[1]
    elif error and not isinstance(error, BaseException):
        error = sys.exc_info()[1]
    bounded = _Bounded()
    line: dict[str, Any] = {
        "timestamp": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": method,
        "event": bounded.text(event.pop("event")),
    }
    fields = bounded.table(event.items(), 0)
    line.update((key, value) for key, value in fields.items() if key not in line)
    if error:
        line["exception"] = traceback_lines(error)
    return line


def shown_again(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event that was read back, from a log anybody may have written: printable and bounded once more.

    It has to have a time, a level and an event.
    """
    first = {key: event[key] for key in ("timestamp", "level", "event")}
    rest = {key: value for key, value in event.items() if key != "exception"}
    shown = _Bounded().table((first | rest).items(), 0)
    lines = event.get("exception")
    if isinstance(lines, list) and (texts := [line for line in lines if isinstance(line, str)]):
        shown["exception"] = [
            printable(text, MAX_TRACEBACK_CHARS) for text in texts[: MAX_TRACEBACK_LINES + 1]
        ]
    return shown


def render_json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """A structlog processor: the event, made safe before, as one JSON object."""
    del logger, method
    return json.dumps(event, ensure_ascii=False, allow_nan=False)


def console_renderer(colors: bool) -> Processor:
    """A structlog processor for people: one line an event; lines of a traceback begin with `    | `."""
    plain = structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback, pad_event_to=24
    )

    def render(logger: WrappedLogger, method: str, event: EventDict) -> str:
        for key in _RENDERERS_OWN & event.keys():
            event[f"{key}_"] = event.pop(key)
        if "exception" in event:
            event["exception"] = "\n".join(f"    | {line}" for line in event["exception"])
        return str(plain(logger, method, event))

    return render
