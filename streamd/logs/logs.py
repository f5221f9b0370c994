"""The log: structlog on stderr or in the journal, one safe line an event, never in the way of the data.

Components call `structlog.get_logger()`; the daemon calls `configure` once, and `flush_suppressed` now and
then and at its end. Whatever a line quotes is made printable and is bounded, so that nothing from the
network can forge, break or flood it.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from streamd.logs.journal import FIELDS, SOCKET_PATH, Journal, is_journal, prefixed
from streamd.logs.line import console_renderer, render_json, safe
from streamd.logs.rate_limit import RateLimit
from streamd.logs.stderr import Stderr

_LEVELS = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"))


def _with_fields(render: Processor) -> Processor:
    """A structlog processor: the rendered line, and beside it what `Journal` makes fields of."""

    def both(logger: WrappedLogger, method: str, event: EventDict) -> tuple[tuple[Any], dict[str, str]]:
        fields = {key: event[key] for key in FIELDS if isinstance(event.get(key), str)}
        return (render(logger, method, event),), fields  # it may take keys out of the event

    return both


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
    journal_path: str = SOCKET_PATH,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Set up the log of this process, once, before anything may be logged.

    `level` is debug, info, warning or error. `auto` is console where `fd` is a terminal, json elsewhere.
    Where `fd` is a unit's stream to the journal, lines go there with priority and fields.
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

    output: Stderr | Journal
    if is_journal(fd):
        output = Journal(Stderr(fd, lambda lost: prefixed("warning", notice(lost))), notice, journal_path)
    else:
        output = Stderr(fd, notice)
    structlog.configure(
        processors=[RateLimit(clock), safe, _with_fields(render) if isinstance(output, Journal) else render],
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
    """Show what is at least so serious from now on."""
    structlog.configure(
        **structlog.get_config() | {"wrapper_class": structlog.make_filtering_bound_logger(level)}
    )
    logging.root.setLevel(max(logging.INFO, logging.getLevelNamesMapping()[level.upper()]))


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
    except OSError:  # the parent has closed it: the next file opened, a database, would get its number
        os.dup2(os.open(os.devnull, os.O_RDWR), fd)


def _catch_the_uncaught() -> None:
    """Python itself would print tracebacks as they are, with whatever the network wrote into them."""
    log = structlog.get_logger()
    sys.excepthook = lambda _kind, error, _trace: log.critical("uncaught_exception", exc_info=error)
    sys.unraisablehook = lambda args: log.error("unraisable_exception", exc_info=args.exc_value)
    threading.excepthook = lambda args: log.error("thread_died", exc_info=args.exc_value)
