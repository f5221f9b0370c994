"""Draws the page each second, and takes keys, until the user quits."""

import contextlib
import io
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.text import Text

from streamd.charts.screen import has_characters
from streamd.core.errors import EnvironmentFault
from streamd.top.controls import Controls
from streamd.top.feed import News, StatusFeed
from streamd.top.flow_units import flow_units
from streamd.top.keys import Keys
from streamd.top.page import Shown, page
from streamd.top.tty import taken

_TICK_S = 1.0
"""The page is drawn at least so often, because the age of its figures grows."""
_SEQUENCE_S = 0.05
"""How long an Esc may wait for the rest of a sequence."""
_LEAST_WIDTH = 20
_PLAIN = {"✓": "*", "✕": "x", "·": "-", "…": "...", "▲": "^", "▼": "v"}


class LossMemory:
    """Turns news into what the page shows. It remembers when it last saw a loss."""

    def __init__(self) -> None:
        self._lost: tuple[str, int] | None = None
        self._lost_at: datetime | None = None

    def shown(self, news: News, mono_s: float) -> Shown:
        """What the page shows now."""
        if news.status is None:
            return Shown(fault=news.fault)
        units = flow_units(news.status, news.before)
        run, lost = news.status.run_id, sum(unit.counts.all_lost for unit in units)
        if self._lost is None or self._lost[0] != run:
            self._lost_at = None
        elif lost > self._lost[1]:
            self._lost_at = datetime.now(UTC)
        self._lost = run, lost
        age_s = max(0.0, mono_s - news.at_mono_s)
        return Shown(news.status, units, age_s, news.fault, self._lost_at, *news.senders)


def once(socket: Path) -> list[Text]:
    """One page, with the rates of a second. Raises `EnvironmentFault` if no daemon answers."""
    with _waking() as (reader, wake):
        feed = StatusFeed(socket, wake)
        feed.start()
        while feed.news.before is None:
            if feed.news.fault is not None:
                raise EnvironmentFault(feed.news.fault)
            select.select([reader], [], [])
            os.read(reader, 4096)
        feed.close()
    return page(LossMemory().shown(feed.news, feed.news.at_mono_s), Controls(), width_of(), None)


def width_of() -> int:
    """The width of the page."""
    return max(_LEAST_WIDTH, shutil.get_terminal_size((100, 24)).columns)


def write(lines: Sequence[Text]) -> None:
    """Print lines on standard output, with colours if it is a terminal that has them."""
    console = Console(width=width_of(), highlight=False, soft_wrap=True)
    for line in lines:
        console.print(_encodable(line))


def watch(socket: Path) -> int:
    """Show the page until the user quits. Returns 0."""
    controls, keys, memory = Controls(), Keys(), LossMemory()
    fd = sys.stdin.fileno()
    with _waking() as (reader, wake), _resizes(wake):
        feed = StatusFeed(socket, wake)
        with taken(fd, sys.stdout, wake):
            feed.start()
            shown = memory.shown(feed.news, time.monotonic())
            while not controls.quit:
                if not controls.paused:
                    shown = memory.shown(feed.news, time.monotonic())
                _draw(page(shown, controls, *_size()))
                for key in _pressed(fd, reader, keys):
                    controls.press(key)
            feed.close()
    return 0


def _pressed(fd: int, reader: int, keys: Keys) -> Iterator[str]:
    """Wait for keys, news or the next tick. Returns the keys."""
    ready, _, _ = select.select([fd, reader], [], [], _TICK_S)
    if reader in ready:
        os.read(reader, 4096)
    if fd in ready:
        data = os.read(fd, 1024)
        if not data and _is_hung_up(fd):
            _lost_terminal()
        yield from keys.of(data)
        if not select.select([fd], [], [], _SEQUENCE_S)[0]:
            yield from keys.rest()


def _is_hung_up(fd: int) -> bool:
    """Whether the terminal is closed. An empty read alone may come from the change of modes after Ctrl-Z."""
    poll = select.poll()
    poll.register(fd, 0)  # a hang-up is reported without being asked for
    return bool(poll.poll(0))


def _lost_terminal() -> NoReturn:
    raise EnvironmentFault("the terminal is closed")


def _size() -> tuple[int, int]:
    size = os.get_terminal_size(sys.stdout.fileno())
    return max(_LEAST_WIDTH, size.columns or 80), size.lines or 24


def _draw(lines: Sequence[Text]) -> None:
    """Write the page over the one before. Only what is behind the lines is erased, so nothing flickers."""
    width, _ = _size()
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=width, highlight=False, legacy_windows=False)
    frame = []
    for line in lines:
        console.print(_encodable(line), end="", no_wrap=True, overflow="crop", crop=False)
        frame.append(text.getvalue())
        text.seek(0)
        text.truncate()
    sys.stdout.write("\x1b[H" + "\x1b[K\n".join(frame) + "\x1b[K\x1b[J")
    sys.stdout.flush()


def _encodable(line: Text) -> Text:
    """The line in characters that the encoding of the terminal has."""
    if has_characters(sys.stdout, "".join(_PLAIN)):
        return line
    shown = line.copy()
    for character, plain in _PLAIN.items():
        if character in shown.plain:
            shown = Text(plain).join(shown.split(character, allow_blank=True))
    return shown


@contextlib.contextmanager
def _waking() -> Iterator[tuple[int, Callable[[], None]]]:
    """A pipe that a thread writes to when the page has to be drawn anew."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def wake() -> None:
        with contextlib.suppress(OSError):  # it is full, so the page will be drawn anyway; or it is closed
            os.write(writer, b".")

    try:
        yield reader, wake
    finally:
        os.close(
            reader
        )  # the writing end stays open: another file could get its number, and a thread write to it


@contextlib.contextmanager
def _resizes(wake: Callable[[], None]) -> Iterator[None]:
    before = signal.signal(signal.SIGWINCH, lambda *_: wake())
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
