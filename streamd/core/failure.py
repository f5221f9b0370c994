"""Describes an exception of the user's code: its kind, its text and its line of code."""

from pathlib import Path
from typing import NamedTuple

from streamd.core.code_owner import is_installed, is_streamd

MAX_TEXT_CHARS = 800
"""Longest kept text of an exception; the detail of a dead letter has room for it and the place."""
MAX_PLACE_CHARS = 180
_MAX_LEAVES = 3


class Failure(NamedTuple):
    """The description of an exception."""

    kind: str
    """Its type and place. Exceptions of one kind are logged once."""
    text: str
    """`ValueError: odd (steps.py:12)`"""


def failure_of(error: BaseException, folder: Path | None = None) -> Failure:
    """Describe the exception. The path of a file below `folder` is relative to it. Never raises."""
    leaves = _leaves(error)
    place = _place(error, folder)
    name = type(error).__name__
    text = f"{name}: {text_of(error)}"
    kind = name
    if leaves:
        inner = [
            f"{type(leaf).__name__}: {text_of(leaf)[:200]}{_behind(_place(leaf, folder))}" for leaf in leaves
        ]
        text = f"{text[:200]}: {'; '.join(inner)}"[:MAX_TEXT_CHARS]
        kind += ":" + ",".join(
            sorted({type(leaf).__name__ + _behind(_place(leaf, folder)) for leaf in leaves})
        )
    return Failure(f"{kind}{_behind(place)}"[:400], text + _behind(place))


def _behind(place: str) -> str:
    return f" ({place})" if place else ""


def text_of(error: BaseException) -> str:
    """The text of an exception as valid UTF-8 of bounded length. Never raises, even if `__str__` does."""
    try:
        text = str(error)
        shown = text[:MAX_TEXT_CHARS].encode("utf-8", "backslashreplace").decode()
    except BaseException:  # noqa: BLE001 - `__str__` may be the user's code
        return "(its text cannot be read)"
    return shown if len(text) <= MAX_TEXT_CHARS else f"{shown}…"


def _leaves(error: BaseException) -> list[BaseException]:
    """The first exceptions in a group, which may be nested, that are no groups themselves."""
    found: list[BaseException] = []
    waiting = [error] if issubclass(type(error), BaseExceptionGroup) else []
    while waiting and len(found) < _MAX_LEAVES:
        part = waiting.pop(0)
        if isinstance(part, BaseExceptionGroup):
            waiting = [*part.exceptions, *waiting]
        else:
            found.append(part)
    return found


def _place(error: BaseException, folder: Path | None) -> str:
    """`file:line` of the innermost frame of the user's code, else of a library; empty if there is none."""
    found = place_of(error)
    if found is None:
        return ""
    filename, line = found
    if folder is not None:
        filename = filename.removeprefix(f"{folder}/")
    return f"{filename[-MAX_PLACE_CHARS:]}:{line}"


def place_of(error: BaseException) -> tuple[str, int] | None:
    """File and line of the innermost frame of the user's code, else of a library; None if there is none."""
    users = library = None
    trace = error.__traceback__
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if not is_streamd(filename):
            if is_installed(filename):
                library = filename, trace.tb_lineno
            else:
                users = filename, trace.tb_lineno
        trace = trace.tb_next
    return users or library
