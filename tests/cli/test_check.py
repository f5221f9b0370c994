import json
import socket
from pathlib import Path

import pytest

from streamd.cli import main

GOOD = """\
[admin]
listen = "127.0.0.1:0"
[schemas.reading]
sensor = "str"
value = { type = "float", ge = -50 }
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
schema = "reading"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
schema = "reading"
[pipelines.main]
sources = ["lab", "floor"]
sinks = ["records"]
steps = [
  { type = "filter", where = "value > 20" },
  { type = "set", remove = ["seq"] },
]
[sinks.records]
type = "sqlite"
path = "data.db"
table = "readings"
schema = "reading"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STREAMD_CONFIG", raising=False)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    return tmp_path


def check(text: str, *options: str) -> int:
    Path("c.toml").write_text(text, encoding="utf-8")
    return main(["check", "--config", "c.toml", *options])


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, f"{old!r} should be in the good configuration once"
    return GOOD.replace(old, new)


def test_every_problem_is_told_once_in_the_order_of_lines(capsys: pytest.CaptureFixture[str]) -> None:
    text = changed('path = "data.db"', "path = 5").replace("-50", '"x"').replace('"udp"', '"upd"')

    assert check(text, "--offline") == 2

    lines = [line.split(":")[1] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["5", "7", "25"]


def test_a_good_configuration_is_told_back_with_absolute_paths(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(GOOD) == 0

    told = capsys.readouterr()
    assert told.err == ""
    assert f"configuration  {folder}/c.toml" in told.out
    assert f"state folder   {folder}/var" in told.out
    assert f"into records: sqlite {folder}/var/data.db, schema reading" in told.out
    assert "from lab: udp 127.0.0.1:0, codec json, schema reading" in told.out
    assert 'step 0: filter where = "value > 20"' in told.out
    blocks = "while it is full, pipeline main stops: the senders of floor; lab, which then drops"
    assert f"sinks.records blocks: {blocks}" in told.out
    assert "buffers        at most 192 MiB in all" in told.out
    assert list(folder.iterdir()) == [folder / "c.toml"], "check makes nothing"


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        (
            'type = "udp"\nlisten = "127.0.0.1:0"',
            'type = "udp"\nlisten = "0.0.0.0:0"',
            "everybody who reaches 0.0.0.0:0 may send",
        ),
        (
            'type = "udp"\n',
            'type = "udp"\nbuffer.when_full = "block"\n',
            "with block the kernel drops what comes",
        ),
        (
            "[sinks.records]",
            '[sinks.idle]\ntype = "sqlite"\ntable = "idle"\n[sinks.records]',
            "sinks.idle: no pipeline writes to it",
        ),
        (
            'type = "udp"\n',
            'type = "udp"\nbuffer.max_bytes = "900TiB"\n',
            "full buffers take more than half",
        ),
    ],
)
def test_what_may_surprise_is_noted(
    old: str, new: str, note: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(GOOD) == 0
    assert note not in capsys.readouterr().out

    assert check(changed(old, new), "--offline") == 0
    assert note in capsys.readouterr().out


def test_no_note_about_the_world_where_senders_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    listen = 'type = "udp"\nlisten = "0.0.0.0:0"\nallow = ["10.0.0.0/8"]'

    assert check(changed('type = "udp"\nlisten = "127.0.0.1:0"', listen), "--offline") == 0

    assert "everybody" not in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_a_port_in_use_is_an_environment_fault_and_offline_does_not_look(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket(type=socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == "tcp":
            taken.listen()
        port = taken.getsockname()[1]
        text = changed(
            f'type = "{kind}"\nlisten = "127.0.0.1:0"', f'type = "{kind}"\nlisten = "127.0.0.1:{port}"'
        )

        assert check(text, "--offline") == 0
        assert capsys.readouterr().err == ""
        assert check(text) == 1
        assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_a_folder_that_is_a_file_is_an_environment_fault(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "var").write_text("in the way")

    assert check(GOOD) == 1

    assert f"{folder}/var/data.db cannot be made" in capsys.readouterr().err


def test_a_file_that_is_no_database_is_found_before_a_start(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "var").mkdir()
    (folder / "var" / "data.db").write_bytes(b"this is no database, whatever its name says" * 100)

    assert check(GOOD) == 1

    assert f"{folder}/var/data.db is no sound database" in capsys.readouterr().err


def test_lines_that_are_there_already_are_no_fault(folder: Path) -> None:
    (folder / "var").mkdir()
    (folder / "var" / "out.ndjson").write_bytes(b'{"n":1}\n' * 100)

    assert check(GOOD + '[sinks.out]\ntype = "file"\npath = "out.ndjson"\n') == 0


def test_json_holds_the_same_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(GOOD, "--json") == 0

    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert told["state_dir"] == f"{folder}/var"
    assert told["outputs"]["sinks.records"] == f"{folder}/var/data.db"
    assert list(told["pipelines"]["main"]["sources"]) == ["lab", "floor"]

    assert check(changed('type = "tcp"', 'type = "tpc"'), "--json") == 2
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert told["problems"] == [
        'c.toml:12: sources.floor.type: there is no "tpc" among the sources (did you mean "tcp"?)'
    ]


def test_no_configuration_anywhere_names_the_places_looked_at(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check"]) == 2

    told = capsys.readouterr().err
    assert "$STREAMD_CONFIG is not set" in told
    assert f"{folder}/config/streamd.toml, /etc/streamd/streamd.toml" in told
