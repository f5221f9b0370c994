import os
import pty
import signal
import termios
from collections.abc import Iterator

import pytest

from streamd.top.tty import taken
from tests.terminal import shown


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


class SomeError(Exception):
    """Anything that may happen while the page is shown."""


@pytest.mark.parametrize("end", [None, SomeError, KeyboardInterrupt, signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_as_before_in_every_case(
    end: type[BaseException] | signal.Signals | None, terminal: tuple[int, int]
) -> None:
    ours, theirs = terminal
    before = termios.tcgetattr(theirs)
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)]

    def run() -> None:
        with open(os.dup(theirs), "w") as out, taken(theirs, out, lambda: None):  # noqa: PTH123 - a descriptor
            assert not termios.tcgetattr(theirs)[3] & (termios.ECHO | termios.ICANON)
            if isinstance(end, signal.Signals):
                os.kill(os.getpid(), end)
            elif end is not None:
                raise end

    if end is None:
        run()
    else:
        with pytest.raises(SystemExit if isinstance(end, signal.Signals) else end) as raised:
            run()
        if isinstance(end, signal.Signals):
            assert isinstance(raised.value, SystemExit)
            assert raised.value.code == 128 + end
    assert termios.tcgetattr(theirs) == before
    written = shown(ours, "\x1b[?25h\x1b[?1049l")
    assert written.startswith("\x1b[?1049h\x1b[?25l")
    assert [
        signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)
    ] == handlers
