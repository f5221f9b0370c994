"""`streamd logs`: formats the daemon's log for people, and filters it."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from streamd.cli._standard_streams import for_programs, input_bytes
from streamd.cli._table import escape_json
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.printable import escape
from streamd.core.regular_file import open_regular
from streamd.logs.journal import FIELDS, PRIORITIES
from streamd.logs.line import console_renderer, shown_again

LEVELS = tuple(reversed(PRIORITIES))
MAX_LINE_BYTES = 1 << 20
"""A longer line is split, so that memory stays bounded for any file."""

_LEVELS_BY_PRIORITY = ("critical", "critical", "critical", "error", "warning", "info", "info", "debug")
_BLANKS = {ord("\t"): " ", ord("\r"): " "}  # blanks between JSON tokens; JSON strings contain neither


class LogLine(NamedTuple):
    """One line of the log. `event` is None if the line is no event."""

    text: str
    level: str | None
    event: dict[str, Any] | None


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="log files to read; standard input if none or -"
    )
    parser.add_argument("--level", choices=LEVELS, help="only events of this level or a more severe one")
    parser.add_argument(
        "--source", action="append", metavar="NAME", help="only events of this source (repeatable)"
    )
    parser.add_argument(
        "--sink", action="append", metavar="NAME", help="only events of this sink (repeatable)"
    )
    parser.add_argument(
        "--event", action="append", metavar="NAME", help="only events of this name (repeatable)"
    )
    parser.add_argument(
        "--field",
        action="append",
        type=_pair,
        metavar="KEY=VALUE",
        help="only events with this field (repeatable)",
    )
    parser.add_argument("--json", action="store_true", help="print events as JSON lines")
    parser.epilog = (
        "Reads lines of the log, or the output of `journalctl -o json`. A line that is no event is printed"
        " unchanged, except with --json or a filter."
    )


def main(options: argparse.Namespace) -> int:
    """Print line by line, until the end of the input or Ctrl-C."""
    if not options.files and (sys.stdin is None or sys.stdin.isatty()):
        raise ConfigError("nothing to read: try `journalctl -u streamd -o cat | streamd logs`")
    out = for_programs() if options.json else sys.stdout
    render = console_renderer(sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    with _ended_by_ctrl_c():
        for line in map(parse, _lines(options.files)):
            if not _is_wanted(line, options):
                continue
            if options.json:
                shown = escape_json(line.text.translate(_BLANKS), out.encoding or "utf-8")
            elif line.event is not None:
                shown = str(render(None, "", shown_again(line.event)))
            else:
                shown = "\n".join(map(escape, line.text.split("\n")))
            print(shown, file=out, flush=True)
    return 0


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """Let SIGINT end the process at once. Every line is flushed, so no output is lost.

    Python's own handler runs between two steps of the interpreter. A signal just before a read would be
    delayed until the next line.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def parse(data: bytes) -> LogLine:
    """Parse a line of the log, or a journal entry that contains one. Any other line is plain text."""
    text = data.decode("utf-8", "backslashreplace").rstrip("\r\n")
    found = _object(text)
    level: str | None = None
    if found is not None and "MESSAGE" in found and "__REALTIME_TIMESTAMP" in found:
        level = _LEVELS_BY_PRIORITY[_priority(found)]
        text = _message(found)
        found = _object(text)
    if found is not None and _is_event(found):
        return LogLine(text, found["level"], found)
    return LogLine(text, level, None)


def _lines(files: Sequence[str]) -> Iterator[bytes]:
    for name in files or ("-",):
        try:
            with input_bytes() if name == "-" else open_regular(name) as file:
                while line := file.readline(MAX_LINE_BYTES):
                    yield line
        except OSError as error:
            shown = "standard input" if name == "-" else escape(name)
            raise EnvironmentFault(f"cannot read {shown}: {error.strerror}") from error


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _is_event(found: dict[str, Any]) -> bool:
    return (
        isinstance(found.get("event"), str)
        and isinstance(found.get("timestamp"), str)
        and isinstance(found.get("level"), str)
        and found["level"] in PRIORITIES
    )


def _message(entry: dict[str, Any]) -> str:
    """The message of a journal entry. If journalctl has omitted it, an event made from the entry's fields."""
    message = entry["MESSAGE"]
    if message is None:
        event = {
            "timestamp": _time(entry["__REALTIME_TIMESTAMP"]),
            "level": _LEVELS_BY_PRIORITY[_priority(entry)],
            **{key: entry[name] for key, name in FIELDS.items() if isinstance(entry.get(name), str)},
            "hint": "journalctl omits values of more than 4,096 bytes; --all shows them",
        }
        return json.dumps(event)
    if isinstance(message, list):  # the bytes of an unprintable message, or several messages
        try:
            return bytes(message).decode("utf-8", "backslashreplace")
        except (TypeError, ValueError):
            return "\n".join(map(str, message))
    return str(message)


def _priority(entry: dict[str, Any]) -> int:
    text = entry.get("PRIORITY")
    return (
        int(text) if isinstance(text, str) and text in "01234567" and len(text) == 1 else PRIORITIES["info"]
    )


def _time(microseconds: Any) -> str:
    try:
        at = datetime.fromtimestamp(int(microseconds) / 1e6, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return "?"
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _is_wanted(line: LogLine, options: argparse.Namespace) -> bool:
    if options.level is not None and (
        line.level is None or PRIORITIES[line.level] > PRIORITIES[options.level]
    ):
        return False
    event = line.event
    if event is None:
        return not (options.json or options.source or options.sink or options.event or options.field)
    wanted: Iterable[tuple[str, list[str] | None]] = (
        (key, getattr(options, key)) for key in ("source", "sink", "event")
    )
    return all(names is None or event.get(key) in names for key, names in wanted) and all(
        key in event and _text(event[key]) == value for key, value in options.field or ()
    )


def _text(value: Any) -> str | None:
    """A value as a user types it: a text unchanged, a number as in JSON. None for lists and tables."""
    if isinstance(value, list | dict):
        return None
    return value if isinstance(value, str) else json.dumps(value)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, not {text!r}")
    return key, value
