"""The terminal during a live page: another screen, single keys, and everything as before at the end."""

import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TextIO

from streamd.core.errors import StreamdError

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""The other screen, no cursor, no wrapping of long lines."""
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_ENDING = (signal.SIGTERM, signal.SIGHUP)


def is_interactive() -> bool:
    """Whether both standard input and output are terminals."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


@contextlib.contextmanager
def taken(fd: int, out: TextIO, again: Callable[[], None]) -> Iterator[None]:
    """Take the terminal, and give it back in every case: an exception, Ctrl-C, SIGTERM, a lost terminal.

    Ctrl-Z gives it back too, and `again` is called when the process goes on. Needs the main thread.
    """
    usual = termios.tcgetattr(fd)

    def put(text: str) -> None:
        try:
            out.write(text)
            out.flush()
        except RuntimeError:  # Ctrl-Z has interrupted a write of the stream, which may not begin another one
            os.write(out.fileno(), text.encode())

    def enter() -> None:
        tty.setcbreak(fd, termios.TCSANOW)
        put(_ENTER)

    def leave() -> None:
        with contextlib.suppress(OSError, StreamdError, termios.error):  # the terminal is gone
            put(_LEAVE)
        with contextlib.suppress(OSError, termios.error):  # the same
            termios.tcsetattr(fd, termios.TCSADRAIN, usual)

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    def stop(_number: int, _frame: FrameType | None) -> None:
        leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        enter()
        again()

    handlers = {number: signal.signal(number, end) for number in _ENDING}
    handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, stop)
    try:
        enter()
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        leave()
