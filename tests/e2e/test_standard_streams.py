"""Every command with every kind of standard output, beside a running daemon: never a traceback.

Also about `cli/_standard_streams.py`.
"""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
[admin]
listen = "127.0.0.1:0"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["lab"]
sinks = ["rows"]
steps = [{ type = "filter", where = 'n != "数据"' }]
[sinks.rows]
type = "sqlite"
path = "streamd.db"
table = "数据"
metadata = true
columns = { "名" = { type = "str", from = "n" } }
"""
STREAMD = [sys.executable, "-W", "error", "-m", "streamd"]
COMMANDS: dict[str, tuple[list[str], int]] = {
    "help": (["--help"], 0),
    "help of a command": (["query", "--help"], 0),
    "version": (["--version"], 0),
    "status": (["status"], 0),
    "status --json": (["status", "--json"], 0),
    "reload": (["reload", "--dry-run"], 0),
    "query": (["query", 'select * from "数据"'], 0),
    "query --json": (["query", "--json", 'select * from "数据"'], 0),
    "query --csv": (["query", "--csv", 'select * from "数据"'], 0),
    "query as a table": (["query", "--format", "table", 'select * from "数据"'], 0),
    "tail": (["tail", "rows"], 0),
    "tail --json": (["tail", "--json", "rows"], 0),
    "dead-letters list": (["dead-letters", "list"], 0),
    "dead-letters list --json": (["dead-letters", "list", "--json"], 0),
    "dead-letters count": (["dead-letters", "count"], 0),
    "dead-letters show": (["dead-letters", "show", "1"], 0),
    "dead-letters show --raw": (["dead-letters", "show", "1", "--raw"], 0),
    "dead-letters replay": (["dead-letters", "replay", "--dry-run"], 0),
    "check": (["check"], 0),
    "check --json": (["check", "--json"], 0),
    "check --resolved": (["check", "--resolved"], 0),
    "doctor": (["doctor"], 0),
    "schema": (["schema"], 0),
    "schema of a table": (["schema", "sources.udp"], 0),
    "schema --markdown": (["schema", "--markdown"], 0),
    "logs": (["logs", "log"], 0),
    "logs --json": (["logs", "--json", "log"], 0),
    "send": (["send", "/dev/null", "--protocol", "udp", "--to", "127.0.0.1:1"], 0),
}
"""What to run, and its exit code where all is well."""
FOR_PROGRAMS = (
    "query", "query --json", "query --csv", "tail --json", "dead-letters list", "dead-letters list --json",
    "logs --json", "check --resolved", "schema", "schema --markdown",
)  # fmt: skip


ONE_OF_EACH_KIND = (
    "help", "status", "query", "query --json", "query --csv", "query as a table", "tail", "tail --json",
    "dead-letters list", "dead-letters list --json", "check", "schema", "logs --json",
)  # fmt: skip
"""Commands that write in every way there is: rows, tables, documents and sentences."""


@pytest.fixture(scope="module")
def folder(start_once: Callable[..., Any], wait_until: Callable[..., Any]) -> Iterator[Path]:
    daemon = start_once(CONFIG)
    daemon.udp('{"n": "数据😀"}'.encode(), '["数据"'.encode())
    daemon.wait_rows(1, "数据")
    wait_until(lambda: daemon.query("select 1 from dead_letters", "dead-letters.db"), "the dead letter")
    line = {"timestamp": "2026-01-31T08:00:00Z", "level": "info", "event": "ready", "text": "数据😀"}
    (daemon.folder / "log").write_text(json.dumps(line, ensure_ascii=False) + "\n")
    yield daemon.folder
    daemon.stop()


@pytest.fixture(scope="module")
def latin_1(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A real locale of ISO-8859-1."""
    if shutil.which("localedef") is None:
        pytest.skip("there is no localedef to make a locale of ISO-8859-1")
    folder = tmp_path_factory.mktemp("locales")
    command = ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(folder / "en_US.ISO-8859-1")]
    made = subprocess.run(command, capture_output=True, check=False)
    if not (folder / "en_US.ISO-8859-1").is_dir():
        pytest.skip(f"localedef makes no locale of ISO-8859-1: {made.stderr.decode(errors='replace')}")
    return {"LOCPATH": str(folder), "LC_ALL": "en_US.ISO-8859-1"}


ENVIRONMENTS: dict[str, dict[str, str]] = {
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
}


def environ(more: dict[str, str]) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHON"))}
    return {**kept, "STREAMD_CONFIG": "streamd.toml", **more}


def run(folder: Path, arguments: list[str], shell: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    """A command of streamd, `"$@"` in a line of the shell."""
    command = ["bash", "-c", f"set -o pipefail; {shell}", "bash", *STREAMD, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False, env=environ(more))


def run_all(
    folder: Path, shell: str, commands: Iterable[str] = COMMANDS, **more: str
) -> dict[str, subprocess.CompletedProcess[bytes]]:
    """The commands, two at a time. None of them may end in a traceback."""
    names = list(commands)
    with ThreadPoolExecutor(2) as pool:
        outcomes = pool.map(lambda name: run(folder, COMMANDS[name][0], shell, **more), names)
        done = dict(zip(names, outcomes, strict=True))
    for name, outcome in done.items():
        assert b"Traceback" not in outcome.stderr + outcome.stdout, (name, outcome.stderr.decode())
        assert b"Exception ignored" not in outcome.stderr, (name, outcome.stderr.decode())
    return done


def on_terminal(folder: Path, arguments: list[str], **more: str) -> tuple[int, str]:
    """The exit code and what a terminal shows, which has only the characters of ASCII."""
    ours, theirs = pty.openpty()
    shown = b""
    command = [*STREAMD, *arguments]
    with subprocess.Popen(command, cwd=folder, stdout=theirs, stderr=theirs, env=environ(more)) as process:
        os.close(theirs)
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:
                break
    os.close(ours)
    return process.returncode, shown.decode("ascii")


@pytest.mark.parametrize(("name", "commands"), [("C", tuple(COMMANDS)), ("ascii", ONE_OF_EACH_KIND)])
def test_rows_and_documents_are_utf_8_in_every_locale(
    folder: Path, name: str, commands: Sequence[str]
) -> None:
    done = run_all(folder, '"$@"', commands, **ENVIRONMENTS[name])
    assert {name: out.returncode for name, out in done.items()} == {name: COMMANDS[name][1] for name in done}
    for command in done.keys() & FOR_PROGRAMS:
        done[command].stdout.decode("utf-8")
    assert "数据😀" in done["query"].stdout.decode()
    assert json.loads(done["query --json"].stdout)["名"] == "数据😀"
    assert "名" in done["query --csv"].stdout.decode()
    assert json.loads(done["tail --json"].stdout)["名"] == "数据😀"
    assert json.loads(done["logs --json"].stdout)["text"] == "数据😀"
    assert json.loads(done["dead-letters list --json"].stdout)["payload"] == '["数据"'


def test_a_latin_1_locale_shows_escapes_for_what_it_does_not_have(
    folder: Path, latin_1: dict[str, str]
) -> None:
    done = run_all(folder, '"$@"', ONE_OF_EACH_KIND, **latin_1)
    assert {name: out.returncode for name, out in done.items()} == {name: COMMANDS[name][1] for name in done}
    assert rb"\u6570\u636e\U0001f600" in done["tail"].stdout
    assert rb"\u6570\u636e\U0001f600" in done["query as a table"].stdout
    assert json.loads(done["query --json"].stdout)["名"] == "数据😀"
    (folder / "question.sql").write_text('select * from "数据"')
    asked = run(folder, ["query", "-", "--json"], '"$@" < question.sql', **latin_1)
    assert json.loads(asked.stdout)["名"] == "数据😀"
    by_the_locale = run(folder, ["query", "select 'é'"], '"$@"', **latin_1)
    assert by_the_locale.stdout.decode().splitlines()[1] == "é"


def test_a_path_that_the_locale_cannot_name_is_said(folder: Path, latin_1: dict[str, str]) -> None:
    (folder / "named.toml").write_text(CONFIG.replace('path = "streamd.db"', 'path = "数据.db"'))
    for command in (["check"], ["query", "select 1"], ["tail"], ["doctor"], ["run"]):
        done = run(folder, [*command, "--config", "named.toml"], '"$@"', **latin_1)
        assert done.returncode in (1, 2), (command, done.stderr)
        assert b"Traceback" not in done.stderr
        assert b"LC_ALL=C.UTF-8" in done.stderr, (command, done.stderr)


def test_a_terminal_without_the_characters_shows_escapes_and_json_that_is_json(folder: Path) -> None:
    for name in ("query", "query --json", "query --csv", "tail", "dead-letters list", "logs", "check"):
        code, shown = on_terminal(folder, COMMANDS[name][0], PYTHONIOENCODING="ascii", COLUMNS="200")
        assert (code, r"\u6570" in shown) == (0, True), (name, shown)
    _, shown = on_terminal(folder, COMMANDS["tail --json"][0], PYTHONIOENCODING="ascii")
    assert json.loads(shown)["名"] == "数据😀"


def test_a_full_disk_behind_standard_output_is_said_with_exit_code_1(folder: Path) -> None:
    done = run_all(folder, '"$@" > /dev/full')
    for name, outcome in done.items():
        assert outcome.returncode == 1, (name, outcome.stderr)
        assert outcome.stderr.decode().endswith(
            "streamd: cannot write to standard output: No space left on device\n"
        ), name


def test_a_closed_standard_output_is_said_with_exit_code_1(folder: Path) -> None:
    done = run_all(folder, '"$@" >&-', ONE_OF_EACH_KIND)
    for name, outcome in done.items():
        assert outcome.returncode == 1, (name, outcome.stderr)
        assert outcome.stderr.decode().endswith(
            "streamd: cannot write to standard output: Bad file descriptor\n"
        ), name


def test_a_reader_that_goes_ends_a_command_silently(folder: Path) -> None:
    rows = "with recursive n(i) as (select 1 union all select i + 1 from n limit 200000) select i from n"
    for style in ("table", "json", "csv"):
        done = run(folder, ["query", "--format", style, rows], '"$@" | head -1')
        assert (done.returncode, done.stderr) == (1, b""), style
    for name in ("status", "check", "doctor", "schema", "help", "query as a table", "logs"):
        done = run(folder, COMMANDS[name][0], '"$@" | (exec <&-; cat /dev/null)')
        assert (done.returncode, done.stderr) in ((1, b""), (0, b"")), name  # it may have written before


def test_closed_and_full_standard_error_and_closed_input_change_no_exit_code(folder: Path) -> None:
    for shell in ('"$@" 2>&-', '"$@" 2>/dev/full', '"$@" 2>&- >&-'):
        done = run(folder, ["query", "select nothing"], shell)
        assert (done.returncode, done.stdout) == (2, b""), shell
        done = run(folder, ["check", "--config", "nowhere.toml"], shell)
        assert (done.returncode, done.stdout) == (2, b""), shell
    for arguments in (["query", "-"], ["logs", "-"], ["send", "--protocol", "udp", "--to", "127.0.0.1:1"]):
        done = run(folder, arguments, '"$@" <&-')
        assert done.returncode == 1, (arguments, done.stderr)
        assert re.fullmatch(rb"streamd: cannot read .*Bad file descriptor.*\n", done.stderr), done.stderr


def test_sql_on_standard_input_that_is_no_utf_8_is_said(folder: Path) -> None:
    done = run(folder, ["query", "-"], r"printf 'select \xff' | " + '"$@"', PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert done.stderr == b"streamd: standard input is not UTF-8: invalid start byte at byte 7\n"
