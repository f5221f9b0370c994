import io
import os
import pty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import pytest

from streamd.charts.screen import screen_of


@contextmanager
def terminal(encoding: str = "utf-8") -> Iterator[TextIO]:
    ours, theirs = pty.openpty()
    try:
        with os.fdopen(theirs, "w", encoding=encoding) as out:
            yield out
    finally:
        os.close(ours)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_a_terminal_has_colours_unless_somebody_asks_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal() as out:
        assert screen_of(out).colour
        monkeypatch.setenv("NO_COLOR", "1")
        assert not screen_of(out).colour
        monkeypatch.setenv("NO_COLOR", "")  # empty means not set, by no-color.org
        assert screen_of(out).colour
        monkeypatch.setenv("TERM", "dumb")
        assert not screen_of(out).colour


def test_a_file_has_no_colours_and_a_fixed_width() -> None:
    screen = screen_of(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert not screen.colour
    assert (screen.width, screen.height, screen.unicode) == (100, 20, True)


def test_columns_set_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "61")
    monkeypatch.setenv("LINES", "14")
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    assert (screen_of(out).width, screen_of(out).height) == (61, 10)
    monkeypatch.setenv("COLUMNS", "3")
    monkeypatch.setenv("LINES", "2")
    assert (screen_of(out).width, screen_of(out).height) == (20, 6)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_an_encoding_without_the_characters_is_plain(encoding: str) -> None:
    assert not screen_of(io.TextIOWrapper(io.BytesIO(), encoding=encoding)).unicode
