import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streamd.cli import main
from streamd.config import DeadLetterSettings
from streamd.core.dead_letter import DeadLetter
from streamd.dead_letters.dead_letters import DeadLetters
from streamd.sqlite.databases import Databases

EIGHT = 1_769_846_400.0
CONFIG = """
[admin]
listen = "none"
[daemon]
state_dir = "{folder}"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["lab"]
sinks = ["db"]
[sinks.db]
type = "sqlite"
path = "streamd.db"
columns = {{ v = "int" }}
"""
FRAME, RECORD, TEXT, FOREIGN = 1, 2, 3, 4


@pytest.fixture
async def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("streamd.logs.logs.configure", lambda *_: None)  # it would stay so for other tests
    (tmp_path / "drafts").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "drafts"))
    (tmp_path / "streamd.toml").write_text(CONFIG.format(folder=tmp_path))
    store = DeadLetters(tmp_path / "dead-letters.db", DeadLetterSettings(), Databases())
    await store.open()
    await store.commit([
        DeadLetter(b'{"v": 1', "decode", "json:syntax", "", "lab", "10.0.0.1", EIGHT, "main"),
        DeadLetter({"v": "x"}, "sink", "type", "v", "lab", "10.0.0.2", EIGHT, "main", "db"),
        DeadLetter(b"v=3\n", "decode", "json:syntax", "", "lab", None, EIGHT, "main"),
        DeadLetter(b"elsewhere", "decode", "json:syntax", "", "gone", None, EIGHT, "main"),
    ])  # fmt: skip
    await store.close()
    return tmp_path


def edit(folder: Path, *arguments: str) -> int:
    return main(["dead-letters", "edit", *arguments, "--config", str(folder / "streamd.toml")])


def ask(folder: Path, sql: str, db: str = "streamd.db") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / db)) as connection:
        return connection.execute(sql).fetchall()


def ids(folder: Path) -> list[int]:
    return [number for (number,) in ask(folder, "SELECT id FROM dead_letters ORDER BY id", "dead-letters.db")]


def drafts(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in (folder / "drafts").iterdir()]


@pytest.mark.parametrize(
    ("number", "editor"),
    [(FRAME, "sed -i 's/$/}/'"), (RECORD, """sed -i 's/"x"/1/'""")],
    ids=["frame", "record"],
)
def test_the_mended_content_is_stored_and_the_letter_gone(
    number: int,
    editor: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EDITOR", editor)
    monkeypatch.delenv("VISUAL", raising=False)
    assert edit(folder, str(number)) == 0
    assert "1 stored" in capsys.readouterr().out
    assert ask(folder, "SELECT v FROM records") == [(1,)]
    assert number not in ids(folder)
    assert drafts(folder) == []


def test_visual_is_asked_before_editor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "sed -i 's/$/}/'")
    monkeypatch.setenv("EDITOR", "false")
    assert edit(folder, str(FRAME)) == 0


def test_a_file_is_taken_byte_for_byte_but_for_the_newline_of_an_editor(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mended = folder / "mended"
    mended.write_bytes(b'{"v": 7}\n')
    assert edit(folder, str(FRAME), "--with", str(mended), "--json") == 0
    assert json.loads(capsys.readouterr().out)["stored"] == 1
    assert ask(folder, "SELECT v FROM records") == [(7,)]
    mended.write_bytes(b'{"v": 8\n')
    assert edit(folder, str(TEXT), "--with", str(mended)) == 1
    assert ask(folder, "SELECT payload FROM dead_letters ORDER BY id DESC LIMIT 1", "dead-letters.db") == [
        (b'{"v": 8\n',)
    ], "the letter ended with a newline before"


def test_standard_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"v": 5}')))
    assert edit(folder, str(FRAME), "--with", "-") == 0
    assert ask(folder, "SELECT v FROM records") == [(5,)]


def test_what_is_rejected_again_has_the_new_content_and_the_present_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VISUAL", """sed -i 's/"x"/"y"/'""")
    assert edit(folder, str(RECORD)) == 1
    shown = capsys.readouterr()
    assert "1 rejected again" in shown.out
    assert ids(folder) == [1, 3, 4, 5]
    letter = "SELECT reason, json_extract(payload, '$.v') FROM dead_letters WHERE id = 5"
    assert ask(folder, letter, "dead-letters.db") == [("schema:type", "y")]
    assert len(drafts(folder)) == 1
    assert f"edit {RECORD} --with {folder / 'drafts'}" in shown.err


@pytest.mark.parametrize(
    ("number", "editor", "said"),
    [
        (FRAME, "true", "the content has not changed"),
        (FRAME, "false", "ended with code 1"),
        (FRAME, "no-such-editor", "cannot run the editor 'no-such-editor'"),
        (FRAME, "'", "cannot run the editor"),
        (FOREIGN, "true", "there is no source 'gone' now"),
        (99, "true", "there is no dead letter 99"),
    ],
)
def test_nothing_is_sent(
    number: int,
    editor: str,
    said: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VISUAL", editor)
    assert edit(folder, str(number)) != 0
    assert said in capsys.readouterr().err
    assert ids(folder) == [1, 2, 3, 4]
    assert drafts(folder) == []


@pytest.mark.parametrize(("text", "said"), [("[1]", "this is list"), ('{"v":', "Expecting value")])
def test_a_record_stays_json_and_the_text_is_not_lost(
    text: str,
    said: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VISUAL", f"sh -c 'printf %s \"$0\" > \"$1\"' '{text}'")
    assert edit(folder, str(RECORD)) != 0
    assert said in capsys.readouterr().err
    assert drafts(folder) == [text.encode()]
    assert ids(folder) == [1, 2, 3, 4]


def test_a_file_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert edit(folder, str(FRAME), "--with", str(folder / "none")) == 1
    assert "cannot read" in capsys.readouterr().err
