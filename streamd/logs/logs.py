"""The log: structlog on stderr or in the journal, one safe line for each event. Logging never blocks.

Components call `structlog.get_logger()`. The daemon calls `configure` once, and `flush_suppressed`
periodically and at its end. All quoted text is printable and bounded, so that bytes from the network cannot
forge, break or flood a line.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from streamd.logs.journal import FIELDS, SOCKET_PATH, Journal, is_journal, prefixed
from streamd.logs.line import console_renderer, render_json, safe
from streamd.logs.rate_limit import RateLimit
from streamd.logs.stderr import Stderr

_LEVELS = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"))


def _with_fields(render: Processor) -> Processor:
    """A structlog processor that returns the rendered line and the values of its journal fields."""

    def both(logger: WrappedLogger, method: str, event: EventDict) -> tuple[tuple[Any], dict[str, str]]:
        fields = {key: event[key] for key in FIELDS if isinstance(event.get(key), str)}
        return (render(logger, method, event),), fields  # last, because `render` may remove keys

    return both


class _Bridge(logging.Handler):
    """Logs the records of `logging` and `warnings` from libraries. The event is the name of their logger."""

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
    more: Mapping[str, Any] | None = None,
    journal_path: str = SOCKET_PATH,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Set up the log of this process. Call it once, before the first event.

    `level` is debug, info, warning or error. `auto` means console if `fd` is a terminal, else json. `more`
    are fields of every event. If `fd` is a unit's stream to the journal, lines go to the journal with
    priority and fields.
    Records of libraries are shown at info and above, because at debug they quote every SQL statement.
    """
    for standard in {0, 1, 2, fd}:
        _keep_open(standard)
    terminal = os.isatty(fd)
    console = line_format == "console" or (line_format == "auto" and terminal)
    render = console_renderer(terminal and "NO_COLOR" not in os.environ) if console else render_json

    def notice(lost: int) -> str:
        event = safe(None, "warning", {"event": "log_lines_lost", "lost": lost})
        return str(render(None, "warning", event))

    output: Stderr | Journal
    if is_journal(fd):
        output = Journal(Stderr(fd, lambda lost: prefixed("warning", notice(lost))), notice, journal_path)
    else:
        output = Stderr(fd, notice)
    structlog.configure(
        processors=[
            RateLimit(clock),
            *([] if more is None else [lambda _logger, _method, event: {**event, **more}]),
            safe,
            _with_fields(render) if isinstance(output, Journal) else render,
        ],
        logger_factory=lambda *_args: output,
        cache_logger_on_first_use=False,
    )
    for handler in [known for known in logging.root.handlers if isinstance(known, _Bridge)]:
        logging.root.removeHandler(handler)
    logging.root.addHandler(_Bridge())
    set_level(level)
    logging.captureWarnings(True)
    _catch_the_uncaught()


def set_level(level: str) -> None:
    """Show events of this level and above from now on."""
    structlog.configure(
        **structlog.get_config() | {"wrapper_class": structlog.make_filtering_bound_logger(level)}
    )
    logging.root.setLevel(max(logging.INFO, logging.getLevelNamesMapping()[level.upper()]))


def flush_suppressed() -> None:
    """Log a `suppressed` event for each kind whose held-back lines no other line has reported."""
    processors = structlog.get_config()["processors"]
    for limit in [processor for processor in processors if isinstance(processor, RateLimit)]:
        rest = [processor for processor in processors if processor is not limit]
        log = structlog.wrap_logger(
            None, processors=rest, wrapper_class=structlog.make_filtering_bound_logger("notset")
        )
        for kind, n in limit.take_suppressed().items():
            log.warning("suppressed", kind=kind, suppressed=n)


def print_line(line: str) -> None:
    """Write one line unchanged to the output of the log. Like an event, it is lost if the output is full."""
    structlog.get_config()["logger_factory"]().info(line)


def _keep_open(fd: int) -> None:
    try:
        os.fstat(fd)
    except OSError:  # closed by the parent process: the next opened file, a database, would get its number
        os.dup2(os.open(os.devnull, os.O_RDWR), fd)


def _catch_the_uncaught() -> None:
    """Log uncaught exceptions. Python would print their tracebacks unescaped, with bytes from the network."""
    log = structlog.get_logger()
    sys.excepthook = lambda _kind, error, _trace: log.critical("uncaught_exception", exc_info=error)
    sys.unraisablehook = lambda args: log.error("unraisable_exception", exc_info=args.exc_value)
    threading.excepthook = lambda args: log.error("thread_died", exc_info=args.exc_value)
