import json
import sqlite3
from pathlib import Path

import pytest

from streamd.cli import main
from streamd.state.store import _TABLE

AT = "2026-01-01T00:00:00.000000Z"
ROWS = [
    ("main", "count[0]", None, None, b"{}"),
    ("main", "count[1]", AT, "the settings or the code of the step have changed", b"12345"),
    ("old", "count[0]", AT, "pipeline old has no step with state", b""),
]  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute(_TABLE)
    connection.executemany(
        "INSERT INTO state (pipeline, step, type, config_hash, version, format, saved_at, inputs,"
        " set_aside_at, why, state) VALUES (?, ?, 'count', 'ab', 1, 1, '2026-01-01T00:00:00.000000Z', '{}',"
        " ?, ?, ?)",
        ROWS,
    )
    connection.commit()
    connection.close()
    return path


def listed(file: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    assert main(["state", "list", "--json", "--db", str(file)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_states_in_use_and_set_aside_are_listed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(file, capsys)
    assert [(row["id"], row["use"], row["bytes"], row["why"]) for row in rows] == [
        (number, "current" if at is None else "set aside", len(state), why)
        for number, (_, _, at, why, state) in enumerate(ROWS, 1)
    ]
    assert main(["state", "list", "--db", str(file)]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split("\t")[:4] == ["id", "pipeline", "step", "use"]
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("chosen", "left"), [(["1"], [2, 3]), (["2", "3", "3"], [1]), (["--set-aside"], [1]), (["--all"], [])]
)
def test_states_are_dropped(
    file: Path, chosen: list[str], left: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["state", "drop", *chosen, "--yes", "--db", str(file)]) == 0
    count = 3 - len(left)
    assert capsys.readouterr().out == f"deleted {count} state{'s' * (count > 1)}\n"
    assert [row["id"] for row in listed(file, capsys)] == left


@pytest.mark.parametrize(
    ("arguments", "why", "code"),
    [
        ([], "name the states to delete", 2),
        (["1", "--all"], "name the states to delete", 2),
        (["1", "9"], "no state with the number 9", 2),
        (["1"], "without a terminal, confirm it with --yes", 2),
    ],
)
def test_nothing_is_dropped_that_was_not_clearly_meant(
    file: Path, arguments: list[str], why: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["state", "drop", *arguments, "--db", str(file)]) == code
    assert why in capsys.readouterr().err
    assert len(listed(file, capsys)) == 3


def test_nothing_is_dropped_while_somebody_has_the_file_open(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    user = sqlite3.connect(file)
    user.execute("SELECT count(*) FROM state").fetchall()
    assert main(["state", "drop", "--all", "--yes", "--db", str(file)]) == 1
    assert "a daemon would store its states again; stop it first" in capsys.readouterr().err
    user.close()
    assert len(listed(file, capsys)) == 3


def test_without_a_file_there_is_nothing_to_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for action in (["list"], ["drop", "--all", "--yes"]):
        assert main(["state", *action, "--db", str(tmp_path / "state.db")]) == 1
        assert f"there is no {tmp_path / 'state.db'}: no step has stored a state" in capsys.readouterr().err


PROCESS = """
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"

[pipelines.main]
sources = ["lab"]
steps = [{ type = "python", function = "steps.py:Clock", executor = "process" }]
sinks = ["out"]

[sinks.out]
type = "sqlite"
path = "out.db"
table = "out"
"""


@pytest.mark.parametrize(
    ("pair", "fault"),
    [
        (("tick(self, now)", "next_deadline(self)"), "needs open(self, context) beside tick"),
        (("snapshot(self)", "restore(self, _)"), "snapshot"),
    ],
)
def test_a_clock_or_a_state_of_their_own_in_worker_processes_is_refused(
    tmp_path: Path, pair: tuple[str, str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    methods = "".join(f"    def {method}:\n        pass\n" for method in ("__call__(self, record)", *pair))
    (tmp_path / "steps.py").write_text(f"class Clock:\n{methods}")
    (tmp_path / "streamd.toml").write_text(PROCESS)
    assert main(["check", "--offline", "--config", str(tmp_path / "streamd.toml")]) == 2
    told = capsys.readouterr().err
    assert "streamd.toml:8: pipelines.main.steps[0]: executor: " in told
    assert fault in told


def test_no_sink_may_write_to_the_file_of_the_states(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PROCESS.replace("out.db", "state.db").replace("steps = [", "# steps = [")
    (tmp_path / "streamd.toml").write_text(text)
    assert main(["check", "--offline", "--config", str(tmp_path / "streamd.toml")]) == 2
    assert "the state of steps is in this file" in capsys.readouterr().err


def test_a_configuration_whose_steps_keep_no_state_has_an_empty_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "streamd.toml"
    config.write_text(
        f'[daemon]\nstate_dir = "{tmp_path}"\n[sources.lab]\ntype = "udp"\nlisten = "127.0.0.1:0"\n'
        '[pipelines.main]\nsources = ["lab"]\nsinks = ["out"]\n[sinks.out]\ntype = "stdout"\n'
    )
    for action in (["list"], ["drop", "--all"]):
        assert main(["state", *action, "--config", str(config)]) == 0
        said = capsys.readouterr()
        assert (said.out, said.err) == (
            "",
            f"no step has stored a state: there is no {tmp_path / 'state.db'}\n",
        )


def test_a_table_of_another_program_is_refused_with_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE state (x)")
    assert main(["state", "list", "--db", str(path)]) == 2
    assert capsys.readouterr().err == f"streamd: {path}: no such column: id\n"
