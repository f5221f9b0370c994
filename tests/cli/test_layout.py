import io
import re
from pathlib import Path
from typing import Any

import pytest

from streamd.cli import main
from streamd.cli._layout import folded, laid_out, width_of
from streamd.cli._table import write_rows
from streamd.core.printable import cells

CONFIG = """
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
framing = "newline"
codec = "auto"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
[pipelines.main]
sources = ["lab", "floor"]
steps = [{ type = "filter", where = "value > 20 and sensor != 'test' and not startswith(sensor, 'x')" }]
sinks = ["records"]
[sinks.records]
type = "sqlite"
"""
NAMES = ["id", "received_at", "source", "kernel drops", "detail"]
ROWS = [
    ["1", "2026-01-31 08:00:00Z", "lab", "188", "数据" * 30],
    ["12", "2026-01-31 08:00:01Z", "floor", "0", ""],
]
RIGHT = [True, False, False, True, False]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200, 400])
def test_no_line_is_longer_than_the_screen_and_no_name_is_broken(width: int) -> None:
    lines = list(laid_out(NAMES, ROWS, RIGHT, width))
    assert max(map(cells, lines)) <= width
    text = "\n".join(lines)
    assert all(name in text for name in NAMES)
    assert all(value in text for value in ("2026-01-31 08:00:00Z", "floor", "188"))
    assert text.count("数") == text.count("据") == 30


def test_what_fits_is_a_table_with_aligned_wide_characters() -> None:
    assert list(laid_out(["a", "n"], [["数据", "1"], ["x", "22"]], [False, True], 80)) == [
        "a      n",
        "----  --",
        "数据   1",
        "x     22",
    ]


def test_one_long_value_stands_below_its_row() -> None:
    assert list(laid_out(["id", "text"], [["1", "x" * 25]], [True, False], 20)) == [
        "id",
        "--",
        " 1",
        "  text: " + "x" * 12,
        " " * 8 + "x" * 12,
        " " * 8 + "x",
    ]


def test_many_long_values_make_each_row_a_block() -> None:
    row = ["a" * 15, "b" * 15, "c" * 15, "d" * 15]
    assert list(laid_out(["k", "l", "m", "n"], [row, row], [False] * 4, 20))[:6] == [
        f"k  {row[0]}",
        f"l  {row[1]}",
        f"m  {row[2]}",
        f"n  {row[3]}",
        "",
        f"k  {row[0]}",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [40, 80])
def test_a_query_on_a_terminal_keeps_to_columns(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out = Terminal()
    rows: list[tuple[Any, ...]] = [(1, "2026-01-31T08:00:00.000000Z", "lab", None, '{"a": 1}' * 9)]
    write_rows(["id", "received_at", "source", "peer", "record"], rows, "auto", out)
    assert max(map(cells, out.getvalue().splitlines())) <= width
    assert "received_at" in out.getvalue()


def test_the_width_is_that_of_columns_even_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert width_of(io.StringIO(), 200) == 100
    monkeypatch.delenv("COLUMNS")
    assert width_of(io.StringIO(), 200) == 200


def test_prose_is_folded_at_blanks_and_a_path_stays_whole() -> None:
    path = "/var/lib/streamd/a-name-of-many-characters.db"
    line = f"fine     ports  one two three {path} four \u6570\u636e five"
    assert list(folded(line, 30, 16)) == [
        "fine     ports  one two three",
        f"    {path}",
        "    four \u6570\u636e five",
    ]
    assert list(folded(line, 40, 16))[-1] == " " * 16 + "four \u6570\u636e five"
    assert list(folded(line, 400, 16)) == [line]
    assert list(folded("", 40)) == [""]


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("command", ["check", "doctor"])
def test_no_word_of_check_and_doctor_is_broken_by_the_terminal(
    command: str,
    width: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    (tmp_path / "c.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    main([command, "c.toml"])
    wide = capsysbinary.readouterr().out.decode()
    assert any(len(line) > 80 for line in wide.split("\n"))
    monkeypatch.setenv("COLUMNS", str(width))
    main([command, "c.toml"])
    narrow = capsysbinary.readouterr().out.decode()
    pasted = [line for line in wide.split("\n") if line.startswith("    ") and command == "doctor"]
    for line in narrow.split("\n"):
        assert cells(line) <= width or len(line.split()) == 1 or line in pasted, line
    measured = re.compile(r"[\d.,]+")  # doctor measures anew
    assert measured.sub("0", narrow).split() == measured.sub("0", wide).split()
