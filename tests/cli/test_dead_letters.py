"""Also about `dead_letters/reader.py`."""

import io
import json
import sqlite3
import time
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
"""2026-01-31T08:00:00Z"""
HOSTILE = b"\x1b]0;owned\x07\xc2\x9b2J\n"


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    store = DeadLetters(tmp_path / "dead-letters.db", DeadLetterSettings(), Databases())
    await store.open()
    await store.commit([
        DeadLetter(b'{"a":', "decode", "json:syntax", "at byte 5", "lab", "10.0.0.1", EIGHT, "main"),
        DeadLetter({"v": "x" * 100}, "sink", "type", "v", "lab", "10.0.0.2", EIGHT + 60, "main", "db"),
        DeadLetter(b"\xff\x00" + HOSTILE, "decode", "utf8", "", "floor", None, EIGHT + 120, "main"),
        DeadLetter(b"late", "step 1", "json:syntax", "", "floor", None, time.time(), "main"),
    ])  # fmt: skip
    await store.close()
    return store.path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["dead-letters", *arguments])
    found = capsys.readouterr()
    return code, found.out, found.err


def listed(capsys: pytest.CaptureFixture[str], file: Path, *more: str) -> list[int]:
    code, out, _ = run(capsys, "list", "--db", str(file), "--json", *more)
    assert code == 0
    return [json.loads(line)["id"] for line in out.splitlines()]


def test_the_newest_come_first_on_one_line_each(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "list", "--db", str(file))
    lines = [line.split("\t") for line in out.splitlines()]
    assert code == 0
    assert lines[0] == ["id", "received_at", "source", "peer", "stage", "reason", "detail", "payload"]
    assert [line[0] for line in lines[1:]] == ["4", "3", "2", "1"]
    assert lines[2][7] == r"\xff\x00\x1b]0;owned\x07\x9b2J\n"
    assert lines[3][7] == '{"v":"' + "x" * 54 + "… [48 more]"


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ((), [4, 3, 2, 1]),
        (("--reason", "json:syntax"), [4, 1]),
        (("--source", "floor"), [4, 3]),
        (("--stage", "decode"), [3, 1]),
        (("--reason", "json:syntax", "--source", "lab"), [1]),
        (("--since", "2026-01-31T08:01:00Z"), [4, 3, 2]),
        (("--since", "2026-01-31T09:01:30+01:00"), [4, 3]),
        (("--since", "10m"), [4]),
        (("--pipeline", "main"), [4, 3, 2, 1]),
        (("--pipeline", "other"), []),
        (("--limit", "2"), [4, 3]),
        (("--reason", "' OR 1=1 --"), []),
    ],
)
def test_filters(
    filters: tuple[str, ...], found: list[int], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert listed(capsys, file, *filters) == found


@pytest.mark.parametrize("since", ["yesterday", "10", "2026-02-30T00:00:00Z", "9999999999999d"])
def test_a_time_that_is_none_is_wrong_use(since: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["dead-letters", "list", "--db", str(file), "--since", since])
    assert exited.value.code == 2
    assert "--since" in capsys.readouterr().err


def test_json_has_payloads_whole_and_says_where_they_are_no_text(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run(capsys, "list", "--db", str(file), "--json")
    found: dict[int, dict[str, Any]] = {line["id"]: line for line in map(json.loads, out.splitlines())}
    assert found[1]["payload"] == '{"a":'
    assert found[1]["received_at"] == "2026-01-31T08:00:00.000000Z"
    assert json.loads(found[2]["payload"]) == {"v": "x" * 100}
    assert "payload" not in found[3]
    assert found[3]["payload_base64"] == "/wAbXTA7b3duZWQHwpsySgo="


def test_counts_by_source_stage_and_reason(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "count", "--db", str(file), "--json", "--source", "lab")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"source": "lab", "stage": "decode", "reason": "json:syntax", "count": 1,
         "first": "2026-01-31T08:00:00.000000Z", "last": "2026-01-31T08:00:00.000000Z"},
        {"source": "lab", "stage": "sink", "reason": "type", "count": 1,
         "first": "2026-01-31T08:01:00.000000Z", "last": "2026-01-31T08:01:00.000000Z"},
    ]  # fmt: skip


def test_show_has_all_of_it_and_nothing_a_terminal_obeys(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "show", "3", "--db", str(file))
    assert code == 0
    assert all(line.isprintable() for line in out.split("\n"))
    assert "utf8" in out
    assert out.endswith("\n\\xff\\x00\\x1b]0;owned\\x07\\x9b2J\\n\n")
    _, out, _ = run(capsys, "show", "2", "--db", str(file))
    assert "x" * 100 in out


def test_raw_is_the_payload_byte_for_byte(file: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["dead-letters", "show", "3", "--raw", "--db", str(file)]) == 0
    assert capfdbinary.readouterr().out == b"\xff\x00" + HOSTILE


def test_show_in_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", "1", "--json", "--db", str(file))
    assert json.loads(out)["peer"] == "10.0.0.1"


def test_a_number_that_is_not_there(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "show", "99", "--db", str(file))[::2] == (
        2, "streamd: there is no dead letter 99; a full file evicts its oldest\n",
    )  # fmt: skip


def test_no_file_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = run(capsys, "list", "--db", str(tmp_path / "none.db"))
    assert code == 1
    assert "there is no" in error


def test_a_file_without_dead_letters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE x (y)")
    code, _, error = run(capsys, "list", "--db", str(tmp_path / "other.db"))
    assert code == 2
    assert f"{tmp_path / 'other.db'}: no such table: dead_letters" in error


def test_the_configuration_says_where_the_file_is(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "streamd.toml"
    config.write_text(
        f'[daemon]\nstate_dir = "{file.parent}"\n'
        '[sources.lab]\ntype = "udp"\nlisten = "127.0.0.1:9999"\n'
        '[pipelines.main]\nsources = ["lab"]\nsinks = ["db"]\n'
        '[sinks.db]\ntype = "sqlite"\npath = "streamd.db"\n'
    )
    code, out, _ = run(capsys, "list", "--config", str(config), "--limit", "1", "--json")
    assert code == 0
    assert json.loads(out)["id"] == 4


def test_purge_deletes_what_the_filters_mean_and_says_how_many(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--db", str(file), "--yes")
    assert run(capsys, "purge", "--reason", "json:syntax", *where)[:2] == (0, "deleted 2 dead letters\n")
    assert listed(capsys, file) == [3, 2]
    assert run(capsys, "purge", "--reason", "json:syntax", *where)[:2] == (
        0,
        "no dead letters match\n",
    )
    assert run(capsys, "purge", "--all", *where)[:2] == (0, "deleted 2 dead letters\n")
    assert listed(capsys, file) == []


def test_purge_without_a_filter_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = run(capsys, "purge", "--yes", "--db", str(file))
    assert code == 2
    assert "--all" in error
    assert len(listed(capsys, file)) == 4


def test_purge_where_nobody_can_be_asked_is_refused(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    code, _, error = run(capsys, "purge", "--all", "--db", str(file))
    assert code == 2
    assert error == "streamd: 4 dead letters would be deleted; without a terminal, confirm it with --yes\n"
    assert len(listed(capsys, file)) == 4


@pytest.mark.parametrize(("answer", "left"), [("y\n", []), ("n\n", [4, 3, 2, 1]), ("", [4, 3, 2, 1])])
def test_purge_asks_on_a_terminal(
    answer: str,
    left: list[int],
    file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    code, _, asked = run(capsys, "purge", "--source", "lab", "--db", str(file))
    assert asked == "delete 2 dead letters for good? [y/N] "
    assert code == (1 if left else 0)
    assert listed(capsys, file, "--source", "lab") == [n for n in left if n < 3]


def test_purge_makes_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = run(capsys, "purge", "--all", "--yes", "--db", str(tmp_path / "none.db"))
    assert code == 1
    assert "there is no" in error
    assert not (tmp_path / "none.db").exists()


CONFIG = """
[admin]
listen = "none"
[daemon]
state_dir = "{folder}"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
[pipelines.main]
sources = ["lab"]
sinks = ["db"]
[sinks.db]
type = "sqlite"
path = "streamd.db"
"""


@pytest.fixture
def config(file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("streamd.logs.logs.configure", lambda *_: None)  # it is this process's for good
    path = file.parent / "streamd.toml"
    path.write_text(CONFIG.format(folder=file.parent))
    return path


def test_replay_says_what_became_of_each_letter(
    file: Path, config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = main(["dead-letters", "replay", "--config", str(config)])
    out, error = capfd.readouterr()
    assert code == 1
    assert out.splitlines() == [
        "4 dead letters:",
        "  2 stored, and no longer in the dead letters",
        "  2 cannot be replayed: there is no source 'floor' now",
    ]
    assert error == ""
    assert listed(capfd, file) == [4, 3]


def test_replay_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "replay", "--config", str(config), "--json", "--stage", "sink")
    assert code == 0
    assert json.loads(out) == {
        "letters": 1, "stored": 1, "filtered": 0, "rejected": 0, "kept": 0, "held": 0, "impossible": 0,
        "not_reached": 0, "unconfirmed": 0, "held_by": {}, "why_impossible": {},
    }  # fmt: skip


def test_a_dry_run_says_the_ways_and_touches_nothing(
    file: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "replay", "--config", str(config), "--dry-run")
    assert code == 1
    assert out.splitlines() == [
        "4 dead letters would be sent",
        "  1 of the source 'lab': from its codec through the pipeline 'main'",
        "  1 of the source 'lab': from the first step of the pipeline 'main' to the sink 'db' only",
        "  2 of the source 'floor': cannot be replayed: there is no source 'floor' now",
    ]
    assert listed(capsys, file) == [4, 3, 2, 1]
    assert not (file.parent / "streamd.db").exists()


def test_replay_of_nothing(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "replay", "--config", str(config), "--reason", "none") == (
        0,
        "no dead letters match\n",
        "",
    )


def test_replay_without_a_file(file: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.unlink()
    code, _, error = run(capsys, "replay", "--config", str(config))
    assert code == 1
    assert "there is no" in error


def test_letters_are_purged_by_their_numbers(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "purge", "2", "3", "--yes", "--db", str(file))[0] == 0
    assert listed(capsys, file) == [4, 1]
    assert run(capsys, "purge", "1", "4", "--source", "lab", "--yes", "--db", str(file))[0] == 0
    assert listed(capsys, file) == [4], "all that is given has to hold"


def test_letters_are_replayed_by_their_numbers(
    file: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "replay", "2", "--config", str(config))
    assert code == 0
    assert "1 stored" in out
    assert listed(capsys, file) == [4, 3, 1]


@pytest.mark.parametrize("action", ["purge", "replay"])
def test_nothing_is_done_if_one_of_the_numbers_is_not_there(
    action: str, file: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = run(capsys, action, "1", "7", "9", "--config", str(config))
    assert code == 2
    assert "there are no dead letters 7, 9" in error
    assert listed(capsys, file) == [4, 3, 2, 1]
