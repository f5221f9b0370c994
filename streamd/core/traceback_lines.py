"""A traceback as a list of lines, as Python prints it, but of bounded length."""

import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from streamd.core.code_owner import is_installed, is_streamd
from streamd.core.plural import counted
from streamd.core.printable import printable

MAX_LINES = 80
"""Most lines of a traceback. In a longer one, the number of omitted lines replaces the middle."""
MAX_LINE_CHARS = 256
OUTER_FRAMES, INNER_FRAMES = 2, 10
"""Number of frames shown of one exception: the first calls, and the last calls before the error."""
MAX_MESSAGE_LINES = 12
MAX_MESSAGE_CHARS = 4096
"""Longest shown text of one exception."""


class RaisedElsewhere(Exception):  # noqa: N818 - it represents an error of any name
    """Represents an exception that another process raised; `lines` are its traceback."""

    def __init__(self, text: str, lines: list[str]) -> None:
        super().__init__(text)
        self.lines = lines


class _Inner(traceback.StackSummary):
    """The frames of a stack with a gap in the middle."""

    left_out = 0

    def format(self, **options: Any) -> list[str]:
        if not self.left_out:
            return super().format(**options)
        outer, inner = (_Inner(part) for part in (self[:OUTER_FRAMES], self[OUTER_FRAMES:]))
        between = f"  … [{self.left_out} more frames]\n"
        return [*outer.format(**options), between, *inner.format(**options)]


def traceback_lines(error: BaseException) -> list[str]:
    """The printable lines of the traceback, with chained exceptions and groups. Never raises.

    If the user's code raised the exception, streamd's own frames before it are omitted.
    """
    if isinstance(error, RaisedElsewhere):
        return error.lines
    try:
        shown = traceback.TracebackException(
            type(error), error, _from_users_code(error.__traceback__), lookup_lines=False
        )
        for part in _parts(shown):
            _bound(part)
        lines = "".join(shown.format()).splitlines()
    except BaseException as failed:  # noqa: BLE001 - an exception's attributes may be the user's code
        return [f"(the traceback of {type(error).__name__} cannot be shown: {type(failed).__name__})"]
    left_out = len(lines) - MAX_LINES
    if left_out > 0:
        tail = MAX_LINES * 3 // 4
        head = MAX_LINES - tail
        lines = [*lines[:head], f"… [{counted(left_out, 'line')}]", *lines[-tail:]]
    return [printable(line, MAX_LINE_CHARS) for line in lines]


def _from_users_code(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the user's code on; the whole traceback if no user's code is in it."""
    start = trace
    while start is not None and is_streamd(start.tb_frame.f_code.co_filename):
        start = start.tb_next
    rest = start
    while rest is not None:
        filename = rest.tb_frame.f_code.co_filename
        if not is_streamd(filename) and not is_installed(filename):
            return start
        rest = rest.tb_next
    return trace


def _parts(shown: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    waiting: list[traceback.TracebackException | None] = [shown]
    while waiting:
        part = waiting.pop()
        if part is not None:
            yield part
            waiting += [part.__cause__, part.__context__, *(part.exceptions or [])]


def _bound(part: traceback.TracebackException) -> None:
    left_out = len(part.stack) - OUTER_FRAMES - INNER_FRAMES
    if left_out > 0:
        frames = _Inner([*part.stack[:OUTER_FRAMES], *part.stack[-INNER_FRAMES:]])
        frames.left_out = left_out
        part.stack = frames
    text = vars(part).get("_str")  # no public attribute has the text; without `_str`, `MAX_LINES` still holds
    if isinstance(text, str):
        vars(part)["_str"] = _bounded_text(text)


def _bounded_text(text: str) -> str:
    lines = text.splitlines()
    if len(lines) > MAX_MESSAGE_LINES:
        more = len(lines) - MAX_MESSAGE_LINES
        text = "\n".join([*lines[:MAX_MESSAGE_LINES], f"… [{more} more lines]"])
    if len(text) > MAX_MESSAGE_CHARS:
        return f"{text[:MAX_MESSAGE_CHARS]}… [{len(text) - MAX_MESSAGE_CHARS} more]"
    return text
