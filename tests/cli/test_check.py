"""Also about `host/notes.py` and `host/step_files.py`."""

import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path

import pytest

from streamd import config
from streamd.cli import main
from streamd.host.notes import notes

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
    assert (
        "\n"
        "┌── lab      udp 127.0.0.1:0, codec json, schema reading, buffer 64 MiB drop_oldest\n"
        "├── floor    tcp 127.0.0.1:0, framing newline, codec json, schema reading, buffer 64 MiB block\n"
        "▼ pipeline main\n"
        '│   step 0: filter where = "value > 20"\n'
        '│   step 1: set remove = ["seq"]\n'
        f'└─▶ records  sqlite {folder}/var/data.db, schema reading, table = "readings", buffer 64 MiB block\n'
    ) in told.out
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
            "every host that reaches 0.0.0.0:0 may send",
        ),
        (
            'type = "udp"\n',
            'type = "udp"\nbuffer.when_full = "block"\n',
            "with block the kernel drops datagrams instead",
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
        (
            'type = "tcp"\n',
            'type = "tcp"\nmax_frame = "16MiB"\n',
            "sources.floor: in addition to its buffer, its connections may hold 16 GiB of unfinished frames",
        ),
        (
            'type = "tcp"\nlisten = "127.0.0.1:0"\n',
            'type = "file"\npath = "app.log"\n',
            "sinks.records blocks: while it is full, pipeline main stops: the reading of floor; lab, which",
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


def test_the_admin_address_that_is_taken_is_called_by_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert check(changed('[admin]\nlisten = "127.0.0.1:0"', f'[admin]\nlisten = "127.0.0.1:{port}"')) == 1

    assert capsys.readouterr().err.startswith(f"[admin]: cannot listen on 127.0.0.1:{port}")


def test_a_folder_that_is_a_file_is_an_environment_fault(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "var").write_text("in the way")

    assert check(GOOD) == 1

    assert f"cannot write the database {folder}/var/data.db: File exists" in capsys.readouterr().err


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


def test_every_path_is_shown_absolute_and_every_setting_as_it_was_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "steps.py").write_text("def keep(record):\n    return record\n")
    more = """
[sources.log]
type = "file"
path = "../app.log"
[sources.local]
type = "unix"
path = "run/in.sock"
idle_timeout = "90m"
[sources.safe]
type = "tcp"
listen = "127.0.0.1:0"
tls = { cert = "a.pem", key = { credential = "a.key" } }
[pipelines.more]
sources = ["log", "local", "safe"]
sinks = ["kept"]
steps = [{ type = "python", function = "steps.py:keep" }]
[sinks.kept]
type = "sqlite"
path = "kept.db"
retention = { max_age = "30d", max_size = "10GiB" }
"""
    assert check(GOOD + more, "--offline") == 0

    told = capsys.readouterr().out
    assert f"file {folder.parent}/app.log," in told
    assert f"unix {folder}/var/run/in.sock," in told
    assert 'idle_timeout = "90m"' in told
    assert f'sqlite {folder}/var/kept.db, retention = {{ max_age = "30d", max_size = "10GiB" }}, ' in told
    lines = [line.split() for line in told.splitlines()]
    assert ["reads", "sources.log", f"{folder.parent}/app.log"] in lines
    assert ["sources.log", "position", f"{folder}/var/positions/log.json"] in lines
    assert ["sources.safe", "tls.cert", f"{folder}/a.pem"] in lines
    assert ["sources.safe", "tls.key", "$CREDENTIALS_DIRECTORY/a.key"] in lines
    assert ["pipelines.more.steps[0]", f"{folder}/steps.py"] in lines

    assert check(GOOD + more, "--offline", "--json") == 0
    assert json.loads(capsys.readouterr().out)["files"]["sources.safe tls.cert"] == f"{folder}/a.pem"


def test_every_file_of_a_step_is_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Path(__file__).parents[1] / "models" / "above_3.onnx"
    for name in ("m.onnx", "shadow.onnx"):
        (folder / name).write_bytes(model.read_bytes())
    (folder / "t.csv").write_text("k,v\n1,2\n")
    (folder / "rows.py").write_text("from pydantic import BaseModel\nclass Row(BaseModel):\n    n: int = 0\n")
    (folder / "models.py").write_text(
        "from river import linear_model\ndef build():\n    return linear_model.LinearRegression()\n"
    )
    (folder / "models.py").chmod(0o666)
    (folder / "secret").write_text("0" * 32)
    (folder / "secret").chmod(0o600)
    steps = """[
    { type = "model", file = "m.onnx", shadow = "shadow.onnx", inputs = ["n"] },
    { type = "river", model = "models.py:build", fields = ["n"], learn = "y" },
    { type = "lookup", path = "t.csv", key = ["k"], fields = ["v"] },
    { type = "validate", rules = [
        { name = "row", check = "model", model = "rows.py:Row" },
        { name = "known", check = "reference", field = "k", path = "t.csv" },
    ] },
    { type = "redact", key = "secret", rules = [{ action = "hash", fields = ["n"] }] },
]"""
    more = f"""
[sources.log]
type = "file"
path = "app.log"
codec = "json"
[pipelines.more]
sources = ["log"]
sinks = ["kept"]
steps = {steps}
[sinks.kept]
type = "stdout"
"""
    assert check(GOOD + more, "--offline", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    at = "pipelines.more.steps"
    assert {place: path for place, path in found["files"].items() if place.startswith(at)} == {
        f"{at}[0] file": f"{folder}/m.onnx",
        f"{at}[0] shadow": f"{folder}/shadow.onnx",
        f"{at}[1]": f"{folder}/models.py",
        f"{at}[2] path": f"{folder}/t.csv",
        f"{at}[3] rules[0].model": f"{folder}/rows.py",
        f"{at}[3] rules[1].path": f"{folder}/t.csv",
        f"{at}[4] key": f"{folder}/secret",
    }
    assert any(f"{at}[1]: users other than this one may change" in note for note in found["notes"])


def test_a_second_daemon_on_a_state_folder_is_refused_and_the_first_is_no_fault(folder: Path) -> None:
    text = GOOD + '[sinks.out]\ntype = "file"\npath = "out.ndjson"\n'
    (folder / "first.toml").write_text(text)
    (folder / "second.toml").write_text(text)
    command = [sys.executable, "-m", "streamd"]
    with subprocess.Popen(
        [*command, "run", "--config", "first.toml"], cwd=folder, stderr=subprocess.PIPE, text=True
    ) as daemon:
        try:
            assert daemon.stderr is not None
            assert any('"ready"' in line for line in daemon.stderr), "it runs"
            assert main(["check", "--config", "first.toml"]) == 0
            again = subprocess.run(
                [*command, "run", "--config", "second.toml"],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            told = subprocess.run(
                [*command, "check", "--config", "second.toml"],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            daemon.terminate()
            daemon.communicate()
    refusal = f"[control]: cannot listen on {folder}/var/control.sock: it is taken"
    assert refusal in again.stderr
    assert told.returncode == 1
    assert told.stderr.startswith(refusal)
    assert told.stderr.endswith(f"the daemon there runs on {folder}/first.toml\n")


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


def test_pipelines_that_share_a_source_and_conditions_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = (
        '[pipelines.more]\nsources = ["lab"]\nsinks = [{ name = "other", where = "value > 90" }]\n'
        f'[sinks.other]\ntype = "sqlite"\npath = "{folder}/other.db"\n'
    )
    assert check(GOOD + more) == 0
    told = capsys.readouterr().out
    assert f'└─▶ other  where "value > 90": sqlite {folder}/other.db, ' in told
    assert re.search(r"┌── lab .* \(shared with pipeline more\)\n", told)
    assert re.search(r"┌── lab .* \(shared with pipeline main\)\n", told)
    stopped = "lab, which then drops; pipeline main, which shares a source"
    assert f"sinks.other blocks: while it is full, pipeline more stops: {stopped}" in told


@pytest.mark.usefixtures("folder")
def test_a_sink_of_two_pipelines_has_one_note(capsys: pytest.CaptureFixture[str]) -> None:
    more = '[sources.made]\ntype = "generate"\n[pipelines.more]\nsources = ["made"]\nsinks = ["records"]\n'
    assert check(GOOD + more) == 0
    (note,) = [line for line in capsys.readouterr().out.splitlines() if "sinks.records blocks" in line]
    assert "while it is full, pipelines main, more stop: the senders of floor, made; lab, which" in note


def test_workers_that_write_a_file_are_told_that_it_has_to_be_the_same(folder: Path) -> None:
    path = folder / "worker.toml"
    text = (
        '[sources.{name}]\ntype = "nats"\nservers = ["127.0.0.1:4222"]\nstream = "s"\nconsumer = "w"\n'
        '{more}\n[pipelines.{name}]\nsources = ["{name}"]\nsinks = ["rows"]\n'
    )
    sink = '[sinks.rows]\ntype = "sqlite"\npath = "rows.db"\n'
    exact = text.format(name="exact", more='subject = "s.{partition}"\npartitions = 4')
    path.write_text(exact + text.format(name="any", more="") + sink)
    (found,) = [note for note in notes(config.load(path)) if "one file" in note]
    assert found.startswith("sinks.rows: records of exact are stored once only if all workers write this")
    assert found.endswith("workers on several machines need a sink postgresql")
    path.write_text(text.format(name="any", more="") + sink)
    assert not [note for note in notes(config.load(path)) if "one file" in note]


def test_no_message_repeats_all_names_of_a_large_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"n{number:02d}" for number in range(80)]
    text = f'[daemon]\nstate_dir = "{tmp_path}"\n' + "".join(
        f'[sources.{name}]\ntype = "generate"\n[sinks.{name}]\ntype = "file"\npath = "{name}.txt"\n'
        for name in names
    )
    text += f"[pipelines.main]\nsources = {json.dumps(names)}\nsinks = {json.dumps(names)}\n"
    path = tmp_path / "streamd.toml"
    path.write_text(text)
    found = [note for note in notes(config.load(path)) if " blocks: while it is full" in note]
    assert len(found) == 80
    assert found[0].count(" and 70 more") + found[0].count(" and 69 more") == 2  # the sources and other sinks
    assert max(map(len, found)) < 300
    path.write_text(text.replace('sources = ["n00"', 'sources = ["zzz"', 1))
    assert main(["check", "--offline", "--config", str(path)]) == 2
    assert "n08, n09 and 70 more" in capsys.readouterr().err


def test_resolved_has_every_default_and_loads_as_the_same_configuration(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = changed('table = "readings"', 'table = "readings"\nbatch.max_wait = "250ms"')
    assert check(text, "--resolved") == 0
    told = capsys.readouterr().out
    document = tomllib.loads(told)
    assert document["daemon"]["workers"] == 5
    assert document["sources"]["lab"]["buffer"]["max_bytes"] == "64MiB"
    assert document["sinks"]["records"]["batch"] == {"max_records": 4000, "max_wait": "250ms"}
    assert document["schemas"]["reading"]["sensor"] == {"type": "str", "required": True}

    assert check(text, "--resolved", "--json") == 0
    assert json.loads(capsys.readouterr().out) == document

    before = config.load(folder / "c.toml").config
    assert check(told, "--resolved") == 0
    assert capsys.readouterr().out == told
    after = config.load(folder / "c.toml").config
    assert after.sinks == before.sinks
    assert after.schemas == before.schemas
    assert (after.daemon, after.log, after.admin) == (before.daemon, before.log, before.admin)


def test_a_python_file_that_others_may_change_is_noted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = folder / "steps.py"
    step.write_text("def keep(record):\n    return record\n")
    text = changed('{ type = "set", remove = ["seq"] }', '{ type = "python", function = "steps.py:keep" }')
    step.chmod(0o644)
    assert check(text, "--offline") == 0
    assert "may change" not in capsys.readouterr().out
    step.chmod(0o666)
    assert check(text, "--offline") == 0
    assert f"pipelines.main.steps[1]: users other than this one may change {step}" in capsys.readouterr().out


def test_python_of_a_module_and_of_an_open_folder_is_noted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = folder / "checked_steps"
    package.mkdir()
    package.chmod(0o755)
    for file in ("__init__.py", "main.py"):
        (package / file).write_text("def keep(record):\n    return record\n")
        (package / file).chmod(0o644)
    reference = '{ type = "python", function = "checked_steps.main:keep" }'
    text = changed('{ type = "set", remove = ["seq"] }', reference)
    place, step = "pipelines.main.steps[1]: users other than this one may", package / "main.py"
    assert check(text, "--offline") == 0
    assert "users other than this one" not in capsys.readouterr().out
    for mode, told in ((0o777, f"{place} replace {step}"), (0o1777, None)):
        package.chmod(mode)
        assert check(text, "--offline") == 0
        out = capsys.readouterr().out
        assert told in out if told else "users other than this one" not in out
    step.chmod(0o666)
    assert check(text, "--offline") == 0
    assert f"{place} change {step}" in capsys.readouterr().out


def test_more_connections_than_files_are_noted(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(changed('type = "tcp"', 'type = "tcp"\nmax_connections = 1000000000'), "--offline") in (0, 2)
    told = capsys.readouterr()
    assert "sources accept 1,000,000,000 connections in all" in told.out, told.err


@pytest.mark.parametrize(
    ("columns", "code", "words"),
    [
        ("sensor TEXT, value REAL, extra TEXT", 0, ""),
        ("sensor TEXT, extra TEXT", 0, 'ALTER TABLE "readings" ADD COLUMN "value" REAL'),
        ("sensor TEXT, value TEXT, extra TEXT", 1, "holds TEXT, the configuration says REAL"),
    ],
)
def test_the_table_that_is_there_is_compared_and_left_as_it_is(
    columns: str, code: int, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "var" / "data.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE readings ({columns}) STRICT")
    before = path.read_bytes()
    assert check(GOOD) == code
    told = capsys.readouterr()
    assert words in told.out + told.err
    assert ("a start would run" in told.out) == ("ALTER" in words)
    assert path.read_bytes() == before
    assert check(GOOD, "--offline") == 0


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([("a", 1.0), ("b", 1.0)], 0),
        ([("a", 1.0), ("b", 1.0), ("a", 2.0)], 1),
        ([(None, 1.0), (None, 1.0)], 0),
        ([], 0),
    ],
)
def test_rows_that_unique_would_refuse_are_found_before_a_start(
    rows: list[tuple[str | None, float]], code: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "var" / "data.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE readings (sensor TEXT, value REAL, extra TEXT) STRICT")
        connection.executemany("INSERT INTO readings (sensor, value) VALUES (?, ?)", rows)
        connection.commit()
    before = path.read_bytes()
    text = changed('table = "readings"', 'table = "readings"\nunique = ["sensor"]')

    assert check(text) == code

    told = capsys.readouterr()
    assert ("CREATE UNIQUE INDEX" in told.out) == (code == 0)
    assert ("rows that are equal in unique = ['sensor']; see SELECT" in told.err) == (code == 1)
    assert path.read_bytes() == before
    assert check(text, "--offline") == 0


def test_a_unique_column_that_is_not_there_yet_has_no_equal_rows(folder: Path) -> None:
    path = folder / "var" / "data.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE readings (value REAL, extra TEXT) STRICT")
        connection.execute("INSERT INTO readings (value) VALUES (1), (2)")
        connection.commit()

    assert check(changed('table = "readings"', 'table = "readings"\nunique = ["sensor"]')) == 0


def test_a_terminal_without_boxes_gets_ascii_and_no_traceback(folder: Path) -> None:
    (folder / "c.toml").write_text(GOOD.replace("value > 20", "sensor != '数'"), encoding="utf-8")
    command = [sys.executable, "-m", "streamd", "check", "--offline", "--config", "c.toml"]
    told, resolved = (
        subprocess.run(
            [*command, *options],
            check=True,
            capture_output=True,
            cwd=folder,
            env=os.environ | {"PYTHONIOENCODING": "ascii"},
        ).stdout
        for options in ([], ["--resolved"])
    )
    assert b",-- lab " in told
    assert b"v pipeline main\n|   step 0: filter where = \"sensor != '\\u6570'\"\n" in told
    assert b"`-> records " in told
    assert tomllib.loads(resolved.decode())["pipelines"]["main"]["steps"][0]["where"] == "sensor != '数'"


def test_the_picture_in_the_documentation_is_what_is_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = Path(__file__).parents[2]
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/streamd")
    assert main(["check", "--offline", "--config", str(project / "config" / "sensors.toml")]) == 0
    _, told = capsys.readouterr().out.split("\n\n", 1)
    shown = [line[4:] for line in (project / "docs/how-to/check.md").read_text().splitlines()]
    assert told in "\n".join(shown) + "\n"
