import os
import pty
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from streamd.cli import main, plot
from tests import terminal


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "streamd.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE readings (at TEXT, sensor TEXT, value REAL)")
        connection.executemany(
            "INSERT INTO readings VALUES (?, ?, ?)",
            [
                (
                    f"2026-12-01T12:00:{n:02d}.000000Z",
                    "a\x1b[2J\x07" if n % 2 else "b",
                    n % 7 if n != 30 else None,
                )
                for n in range(60)
            ],
        )
        connection.commit()
    return path


def draw(sql: str, database: Path, *more: str) -> int:
    return main(["plot", sql, "--db", str(database), *more])


def test_the_result_is_drawn_as_text_with_names_escaped(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert draw("select at, value, sensor from readings", database, "--by", "sensor", "--title", "T\x1b") == 0
    out, err = capsys.readouterr()
    assert (out.splitlines()[0], err) == ("T\\x1b", "")
    assert "12:00:20" in out
    assert "at, 2026-12-01 UTC" in out
    assert out.splitlines()[-1] == "* b   + a\\x1b[2J\\x07"
    assert out.replace("\n", "").isprintable()


def test_texts_are_bars(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert draw("select sensor, count(*) from readings group by 1 order by 1 desc", database) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].lstrip().startswith("b │█")
    assert lines[0].endswith(" 30")
    assert lines[1].startswith("a\\x1b[2J\\x07 │█")


@pytest.mark.parametrize("suffix", ["png", "svg", "SVG"])
def test_a_file_appears_whole(database: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = database.with_name(f"chart.{suffix}")
    assert draw("select at, value, sensor from readings", database, "--by=sensor", "--output", str(path)) == 0
    assert capsys.readouterr() == ("", "")
    if suffix == "png":
        assert path.read_bytes().startswith(b"\x89PNG")
    else:
        shown = "".join(ET.fromstring(path.read_text()).itertext())  # noqa: S314 - our own file
        assert "a\\x1b[2J\\x07" in shown
    assert sorted(p.name for p in path.parent.iterdir()) == sorted([path.name, "streamd.db"])


def test_a_database_is_not_replaced_by_a_chart(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = database.with_name("data.png")
    other.write_bytes(database.read_bytes())
    assert draw("select 1", database, "--output", str(other)) == 1
    assert "is a database or a part of one" in capsys.readouterr().err
    assert other.read_bytes() == database.read_bytes()
    link, gone = database.with_name("link.png"), database.with_name("gone.png")
    link.symlink_to(gone)
    assert draw("select 1", database, "--output", str(link)) == 1
    assert (
        f"is no regular file but a symbolic link to {gone}, which does not exist" in capsys.readouterr().err
    )
    assert not gone.exists()


@pytest.mark.parametrize(
    ("sql", "more", "code", "words"),
    [
        ("select value from readings where 0", [], 2, "the query has no rows"),
        ("select sensor from readings", [], 2, "no column of numbers"),
        ("select nope from readings", [], 2, "no such column: nope; readings has at, sensor, value"),
        ("delete from readings", [], 2, "only reading is possible"),
        ("select 1", ["--output", "x.pdf"], 2, "x.pdf: a chart is written as .png or .svg"),
        ("select 1", ["--output", "/nowhere/x.png"], 1, "cannot write /nowhere/x.png"),
        ("select 1, 2", ["--by", "3"], 2, "the query has no column 3; it has 1, 2"),
    ],
)
def test_mistakes_are_one_line(
    sql: str, more: list[str], code: int, words: str, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert draw(sql, database, *more) == code
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_without_matplotlib_the_extra_is_named_before_the_query_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # so that its import fails
    assert draw("select 1", Path("/nowhere.db"), "--output", "x.png") == 1
    assert capsys.readouterr().err.endswith("pip install 'streamd-daemon[plots]'\n")


def test_rows_beyond_the_limit_are_not_read(
    database: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n"
    monkeypatch.setattr(plot, "MOST_ROWS", 1000)
    assert draw(endless, database) == 0
    out, err = capsys.readouterr()
    assert "only the first 1,000 rows are drawn" in err
    assert "1,000" in out
    assert draw(endless, database, "--limit", "50") == 0
    assert capsys.readouterr().err == ""


def test_the_terminal_decides_about_width_colours_and_characters(database: Path) -> None:
    def shown(**environment: str) -> str:
        ours, theirs = pty.openpty()
        env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "LC_ALL")} | environment
        command = [
            sys.executable,
            "-m",
            "streamd",
            "plot",
            "select at, value from readings",
            "--db",
            str(database),
        ]
        subprocess.run(command, stdout=theirs, check=True, env=env, timeout=60)
        os.close(theirs)
        text = terminal.shown(ours)
        os.close(ours)
        return text

    usual = {"COLUMNS": "50", "LINES": "14", "TERM": "xterm", "PYTHONUTF8": "1"}
    coloured = shown(**usual)
    assert "\x1b[36m" in coloured
    assert "┤" in coloured
    plain = shown(**usual, NO_COLOR="1")
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) == 50
    assert shown(**(usual | {"LC_ALL": "C", "PYTHONUTF8": "", "PYTHONIOENCODING": ""})).isascii()
