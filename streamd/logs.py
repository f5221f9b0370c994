"""The log: structlog on stderr, one safe line an event, never in the way of the data.

Components call `structlog.get_logger()`; the daemon calls `configure` once, and `flush_suppressed` now and
then and at its end. Whatever a line quotes is made printable and is bounded, so that nothing from the
network can forge, break or flood it.
"""

import json
import logging
import math
import os
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from streamd.core.printable import printable

BURST = 20
"""Lines of one kind that may come at once."""
PER_SECOND = 1.0
"""Lines of one kind a second in the long run."""
MAX_KINDS = 256
"""Kinds that are told apart; all others share one allowance and one count."""

MAX_TEXT_CHARS = 1024
"""Of a longer text the rest is left out; the same bound holds for one line of a traceback."""
MAX_KEY_CHARS = 64
MAX_ENTRIES = 32
"""Entries of a list or table that are shown."""
MAX_DEPTH = 4
"""Lists and tables within each other that are shown, the event being the first."""
MAX_LINE_CHARS = 8192
"""All texts of one event together, before escaping and without its traceback."""
MAX_TRACEBACK_LINES = 40

_OTHER_KINDS = "(other kinds)"
_INT_BITS = 64
_PIPE_CHUNK_BYTES = 4096  # what a pipe that polls as writable takes without blocking: PIPE_BUF of pipe(7)
_LEVELS = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"))


class RateLimit:
    """A structlog processor: a token bucket for each kind of event, the kind being the event's name.

    What is held back is counted; the count travels as `suppressed` on the next line of that kind, or is
    taken by `take_suppressed`. Safe to call from several threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.RLock()  # a finalizer that warns may come in while it is held
        self._tokens: dict[str, tuple[float, float]] = {}  # kind → (tokens, when they were counted)
        self._suppressed: dict[str, int] = {}

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        del logger, method
        suppressed = self.admit(str(event["event"])[:MAX_KEY_CHARS])
        if suppressed is None:
            raise structlog.DropEvent
        if suppressed:
            event["suppressed"] = suppressed
        return event

    def admit(self, kind: str) -> int | None:
        """How many of this kind were held back since the last one let through; None holds this one back."""
        with self._lock:
            now = self._clock()
            if kind not in self._tokens and len(self._tokens) >= MAX_KINDS:
                kind = _OTHER_KINDS
            tokens, then = self._tokens.get(kind, (float(BURST), now))
            tokens = min(float(BURST), tokens + (now - then) * PER_SECOND)
            if tokens < 1:
                self._tokens[kind] = (tokens, now)
                self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
                return None
            self._tokens[kind] = (tokens - 1, now)
            return self._suppressed.pop(kind, 0)

    def take_suppressed(self) -> dict[str, int]:
        """What was held back and not yet reported, by kind; it counts as reported from now on."""
        with self._lock:
            taken, self._suppressed = self._suppressed, {}
        return taken


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

    An exception becomes `exception`, its traceback as a list of lines, the middle left out of a long one.
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
        line["exception"] = _traceback(error)
    return line


def _traceback(error: BaseException) -> list[str]:
    lines = "".join(traceback.format_exception(error)).splitlines()
    left_out = len(lines) - MAX_TRACEBACK_LINES
    if left_out > 0:
        tail = MAX_TRACEBACK_LINES * 3 // 4  # the innermost calls and the message stand at the end
        head = MAX_TRACEBACK_LINES - tail
        lines = [*lines[:head], f"… [{left_out} lines]", *lines[-tail:]]
    return [printable(line, MAX_TEXT_CHARS // 4) for line in lines]


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
        if "exception" in event:
            event["exception"] = "\n".join(f"    | {line}" for line in event["exception"])
        return str(plain(logger, method, event))

    return render


class Stderr:
    """Writes whole lines to a file descriptor and never waits for it.

    A line that finds it full, closed or failing is lost and counted in `lost`; the number is told in front
    of the next line that gets through. Of a line that was begun the rest is kept and goes first.
    """

    def __init__(self, fd: int, notice: Callable[[int], str]) -> None:
        self.lost = 0
        self._fd = fd
        self._notice = notice
        self._rest = b""
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._lock = threading.RLock()  # a finalizer that warns may come in while it is held
        self._busy = False

    def write(self, line: str) -> None:
        """One line without its end."""
        with self._lock:
            if self._busy:
                self.lost += 1
                return
            self._busy = True
            try:
                self._write(line)
            finally:
                self._busy = False

    debug = info = warning = error = critical = write

    def _write(self, line: str) -> None:
        if self._rest:
            self._send(self._rest)
        if self.lost and not self._rest and self._send(self._encode(self._notice(self.lost))):
            self.lost = 0
        if self.lost or self._rest or not self._send(self._encode(line)):
            self.lost += 1

    @staticmethod
    def _encode(line: str) -> bytes:
        return line.encode("utf-8", "backslashreplace") + b"\n"

    def _send(self, data: bytes) -> bool:
        """Whether the line was begun; what could not be written of it is then in `_rest`."""
        sent = 0
        try:
            while sent < len(data) and self._poll.poll(0):
                sent += os.write(self._fd, data[sent : sent + _PIPE_CHUNK_BYTES])
        except OSError:
            pass  # no reader, no space, no such descriptor: the caller counts it
        if sent:
            self._rest = data[sent:]
        return sent > 0


class _Bridge(logging.Handler):
    """Takes what libraries say through `logging` and `warnings` into the same chain; event = logger name."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a library's wrong format must not break the log
            message = record.msg
        method = next((name for number, name in _LEVELS if record.levelno >= number), "debug")
        log = getattr(structlog.get_logger(), method)
        log(record.name, message=message, exc_info=record.exc_info)


def configure(
    level: str,
    line_format: Literal["auto", "json", "console"],
    *,
    fd: int = 2,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Set up the log of this process, once, before anything may be logged.

    `level` is debug, info, warning or error. `auto` is console where `fd` is a terminal, json elsewhere.
    What libraries log is shown from info on: at debug they would quote every statement.
    """
    for standard in {0, 1, 2, fd}:
        _keep_open(standard)
    terminal = os.isatty(fd)
    console = line_format == "console" or (line_format == "auto" and terminal)
    render = console_renderer(terminal and "NO_COLOR" not in os.environ) if console else render_json

    def notice(lost: int) -> str:
        event = safe(None, "warning", {"event": "log_lines_lost", "lost": lost})
        return str(render(None, "warning", event))

    stderr = Stderr(fd, notice)
    structlog.configure(
        processors=[RateLimit(clock), safe, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_args: stderr,
        cache_logger_on_first_use=False,
    )
    for handler in [known for known in logging.root.handlers if isinstance(known, _Bridge)]:
        logging.root.removeHandler(handler)
    logging.root.addHandler(_Bridge())
    logging.root.setLevel(max(logging.INFO, logging.getLevelNamesMapping()[level.upper()]))
    logging.captureWarnings(True)
    _catch_the_uncaught()


def flush_suppressed() -> None:
    """Report what the rate limit held back and no line has told yet: one line for each kind."""
    processors = structlog.get_config()["processors"]
    for limit in [processor for processor in processors if isinstance(processor, RateLimit)]:
        rest = [processor for processor in processors if processor is not limit]
        log = structlog.wrap_logger(
            None, processors=rest, wrapper_class=structlog.make_filtering_bound_logger("notset")
        )
        for kind, n in limit.take_suppressed().items():
            log.warning("suppressed", kind=kind, suppressed=n)


def print_line(line: str) -> None:
    """One line as it is, for people, among those of the log: it too is lost rather than waited for."""
    structlog.get_config()["logger_factory"]().info(line)


def _keep_open(fd: int) -> None:
    try:
        os.fstat(fd)
    except OSError:  # closed by whoever started us: the next file opened, a database, would get its place
        os.dup2(os.open(os.devnull, os.O_RDWR), fd)


def _catch_the_uncaught() -> None:
    """Python itself would print tracebacks as they are, with whatever the network wrote into them."""
    log = structlog.get_logger()
    sys.excepthook = lambda _kind, error, _trace: log.critical("uncaught_exception", exc_info=error)
    sys.unraisablehook = lambda args: log.error("unraisable_exception", exc_info=args.exc_value)
    threading.excepthook = lambda args: log.error("thread_died", exc_info=args.exc_value)
