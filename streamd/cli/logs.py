"""`streamd logs`: the daemon's log made readable, and lines picked from it."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from streamd.cli._standard_streams import for_programs, input_bytes
from streamd.cli._table import escape_json
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.printable import escape
from streamd.logs.journal import FIELDS, PRIORITIES
from streamd.logs.line import console_renderer, shown_again

LEVELS = tuple(reversed(PRIORITIES))
MAX_LINE_BYTES = 1 << 20
"""Of a longer line each part counts as a line: memory stays bounded whatever the file is."""

_LEVELS_BY_PRIORITY = ("critical", "critical", "critical", "error", "warning", "info", "info", "debug")
_BLANKS = {ord("\t"): " ", ord("\r"): " "}  # between the tokens of JSON; within a text it has none of them


class LogLine(NamedTuple):
    """One line of the log: an event where it is one, else the text as it came."""

    text: str
    level: str | None
    event: dict[str, Any] | None


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="logs to read; - or nothing: standard input")
    parser.add_argument("--level", choices=LEVELS, help="only this level and what is worse")
    parser.add_argument("--source", action="append", metavar="NAME", help="only of this source (repeatable)")
    parser.add_argument("--sink", action="append", metavar="NAME", help="only of this sink (repeatable)")
    parser.add_argument("--event", action="append", metavar="NAME", help="only this event (repeatable)")
    parser.add_argument(
        "--field", action="append", type=_pair, metavar="KEY=VALUE", help="only with this field (repeatable)"
    )
    parser.add_argument("--json", action="store_true", help="events as the JSON lines they are")
    parser.epilog = (
        "journalctl -u streamd -o cat -f | streamd logs --level warning."
        " What `journalctl -o json` prints is read too. Lines that are no events are shown as they are;"
        " a filter leaves them out, and so does --json."
    )


def main(options: argparse.Namespace) -> int:
    """Line by line, until the end of what is read or Ctrl-C."""
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
    """While inside, SIGINT ends the process at once. Every line is flushed, so nothing is lost.

    Python's own handler runs between two steps of the interpreter: a signal that comes just before a read
    begins would wait with it for the next line.
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
    """A line of the daemon's, or an entry of the journal with one inside; anything else is just text."""
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
            with input_bytes() if name == "-" else Path(name).open("rb") as file:
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
    """What `-o cat` would print of an entry; where journalctl left the message out, what its fields tell."""
    message = entry["MESSAGE"]
    if message is None:
        event = {
            "timestamp": _time(entry["__REALTIME_TIMESTAMP"]),
            "level": _LEVELS_BY_PRIORITY[_priority(entry)],
            **{key: entry[name] for key, name in FIELDS.items() if isinstance(entry.get(name), str)},
            "hint": "journalctl left out what is more than 4,096 bytes; --all shows it",
        }
        return json.dumps(event)
    if isinstance(message, list):  # bytes where it is not printable, texts where there are several
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
    """A value as somebody would type it: a text as it is, a number as JSON has it; lists and tables never."""
    if isinstance(value, list | dict):
        return None
    return value if isinstance(value, str) else json.dumps(value)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"KEY=VALUE is wanted, not {text!r}")
    return key, value
