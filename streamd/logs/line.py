"""Renders one event of the log as one printable, bounded line, for programs or for people."""

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
"""Longer texts are cut."""
MAX_KEY_CHARS = 64
MAX_ENTRIES = 32
"""Entries shown of one list or table."""
MAX_DEPTH = 4
"""Levels of nested lists and tables that are shown. The event is the first level."""
MAX_LINE_CHARS = 8192
"""The limit for all texts of one event, before escaping and without its traceback."""

_INT_BITS = 64
_RENDERERS_OWN = {"exc_info", "stack"}  # structlog's console prints these unescaped below the line


class _Bounded:
    """Bounds the values of one event. `left` is the number of characters that the line may still take."""

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
        if type(value) in (list, tuple, set, frozenset):  # a named tuple is shown by its str()
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
    """A structlog processor that makes every key and value printable and bounded.

    Time, level and event come first. An exception becomes `exception`, its traceback as a list of lines
    (`core.traceback_lines`).
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
    """An event read from a log, printable and bounded again, because any program may have written the log.

    `event` must have the keys `timestamp`, `level` and `event`.
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
    """A structlog processor that renders an event, already made safe, as one JSON object."""
    del logger, method
    return json.dumps(event, ensure_ascii=False, allow_nan=False)


def console_renderer(colors: bool) -> Processor:
    """A structlog processor that renders an event as one line for people.

    The lines of its traceback follow, each after `    | `.
    """
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
