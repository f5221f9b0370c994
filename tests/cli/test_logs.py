import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamd.cli import main
from streamd.cli.logs import MAX_LINE_BYTES, parse

COMMAND = [sys.executable, "-m", "streamd", "logs"]
ANSWER_S = 30.0

Logs = Callable[..., list[str]]


def event(name: str, level: str = "info", **fields: Any) -> str:
    return json.dumps({"timestamp": "2026-01-31T08:00:00.000000Z", "level": level, "event": name, **fields})


def entry(message: Any, priority: str = "6", **fields: Any) -> str:
    return json.dumps(
        {"__REALTIME_TIMESTAMP": "1769846400000000", "PRIORITY": priority, "MESSAGE": message, **fields}
    )


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Logs:
    """What `streamd logs` prints of these lines on standard input."""

    def run(lines: list[str | bytes], *options: str) -> list[str]:
        data = b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert main(["logs", *options]) == 0
        return capsys.readouterr().out.splitlines()

    return run


SHOWN = "2026-01-31T08:00:00.000000Z [warning  ] sink_retrying            reason=locked sink=readings"


@pytest.mark.parametrize("wrap", [str, entry], ids=["cat", "json"])
def test_an_event_is_shown_as_on_a_console_from_either_output_of_journalctl(
    logs: Logs, wrap: Callable[[str], str]
) -> None:
    assert logs([wrap(event("sink_retrying", "warning", sink="readings", reason="locked"))]) == [SHOWN]


def test_outputs_may_be_mixed_and_other_lines_are_passed_through(logs: Logs) -> None:
    lines = ["books balance", event("ready"), entry("Started streamd."), "{not json", '{"other": 1}', ""]
    shown = logs([*lines])
    assert shown[1].split()[-1] == "ready"
    assert [shown[0], *shown[2:]] == ["books balance", "Started streamd.", "{not json", '{"other": 1}', ""]


def test_a_traceback_stands_below_its_event(logs: Logs) -> None:
    shown = logs([event("step_failed", "error", exception=["Traceback:", "ValueError: x"])])
    assert shown[1:] == ["    | Traceback:", "    | ValueError: x"]


LINES = [
    event("listening", source="lab", port=9999),
    event("framing_error", "warning", source="lab", peer="a"),
    event("framing_error", "warning", source="floor", peer="b"),
    event("sink_failed", "error", sink="readings", ready=True, nothing=None),
    event("daemon_failed", "critical"),
    "a plain line",
    entry("Failed to start", "3"),
    entry("Started", "6"),
]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--level", "debug"], [0, 1, 2, 3, 4, 6, 7]),
        (["--level", "warning"], [1, 2, 3, 4, 6]),
        (["--level", "critical"], [4]),
        (["--source", "lab"], [0, 1]),
        (["--source", "lab", "--source", "floor"], [0, 1, 2]),
        (["--source", "lab", "--level", "warning"], [1]),
        (["--sink", "readings"], [3]),
        (["--event", "framing_error"], [1, 2]),
        (["--field", "peer=a"], [1]),
        (["--field", "peer=a", "--field", "source=floor"], []),
        (["--field", "port=9999"], [0]),
        (["--field", "ready=true"], [3]),
        (["--field", "nothing=null"], [3]),
        (["--field", "peer="], []),
        ([], [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_filters_leave_what_all_of_them_want(logs: Logs, options: list[str], wanted: list[int]) -> None:
    each = [logs([line])[0] for line in LINES]
    assert logs([*LINES], *options) == [each[number] for number in wanted]


def test_json_passes_events_on_as_they_are_and_nothing_else(logs: Logs) -> None:
    inside = event("ready", text="数据")
    shown = logs([*LINES, entry(inside)], "--json")
    assert shown == [line for line in LINES if '"event"' in line] + [inside]
    assert logs([*LINES], "--json", "--level", "error") == LINES[3:5]


HOSTILE = "\x1b]0;owned\x07\x7f\x9b\u2028\u202e\ud800\U000e0001"


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_what_a_hostile_line_holds_never_reaches_the_terminal(
    logs: Logs, options: list[str], ascii_only: bool
) -> None:
    fields = {
        "event": HOSTILE,
        "level": "info",
        "timestamp": HOSTILE,
        HOSTILE: [HOSTILE],
        "exception": [HOSTILE],
    }
    line = json.dumps(fields, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    for shown in logs([b"\t" + line, HOSTILE.encode("utf-8", "surrogatepass"), entry(list(line))], *options):
        assert shown.isprintable(), shown
        assert not options or json.loads(shown)["level"] == "info"


def test_time_level_and_event_are_shown_wherever_they_stand_and_however_much_else_there_is(
    logs: Logs,
) -> None:
    line = json.dumps({f"k{n}": "x" * 1000 for n in range(50)} | json.loads(event("ready")))
    (shown,) = logs([line])
    assert shown.startswith("2026-01-31T08:00:00.000000Z [info     ] ready")


def test_a_message_that_journalctl_left_out_is_made_of_its_fields(logs: Logs) -> None:
    line = entry(None, "3", STREAMD_EVENT="step_failed", STREAMD_PIPELINE="main")
    (shown,) = logs([line], "--level", "error", "--event", "step_failed")
    assert shown.startswith("2026-01-31T08:00:00.000000Z [error    ] step_failed")
    assert "--all shows them" in shown
    assert "pipeline=main" in shown


def test_a_message_of_bytes_or_of_several_texts_is_read(logs: Logs) -> None:
    data = list(event("ready").encode())
    assert logs([entry(data)], "--json") == [event("ready")]
    assert logs([entry(["one", "two"])]) == ["one", "two"]


def test_a_line_without_an_end_is_read_in_bounded_parts(logs: Logs) -> None:
    shown = logs(["x" * (2 * MAX_LINE_BYTES + 1)])
    assert [len(line) for line in shown] == [MAX_LINE_BYTES, MAX_LINE_BYTES, 1]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
KEYS = st.sampled_from(["event", "level", "timestamp", "MESSAGE", "PRIORITY", "__REALTIME_TIMESTAMP"])


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first texts of a fresh checkout take a second
@given(st.binary() | st.dictionaries(KEYS, JSON).map(lambda found: json.dumps(found).encode()))
def test_no_line_can_break_the_reader(data: bytes) -> None:
    line = parse(data)
    assert (line.event is None) or line.level in {"debug", "info", "warning", "error", "critical"}


@pytest.mark.parametrize("depth", [100, 900, 970, 990, 100_000])
def test_depth_breaks_nothing(logs: Logs, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    line = event("deep", x=0).replace('"x": 0', f'"x": {deep}, "exception": {deep}')
    assert len(logs([line])) == 1
    assert logs([line], "--field", "x=1") == []


def test_files_are_read_in_turn(logs: Logs, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(event(name))
    shown = logs(["from stdin"], str(tmp_path / "a"), "-", str(tmp_path / "b"))
    assert [line.split()[-1] for line in shown] == ["a", "stdin", "b"]


def test_a_file_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["logs", str(tmp_path / "gone")]) == 1
    assert capsys.readouterr().err == f"streamd: cannot read {tmp_path / 'gone'}: No such file or directory\n"


@pytest.mark.parametrize(
    ("redirection", "said"),
    [
        ("0> out", "streamd: cannot read standard input: Bad file descriptor\n"),
        ("<&-", "streamd: nothing to read: try `journalctl -u streamd -o cat | streamd logs`\n"),
    ],
)
def test_an_input_that_cannot_be_read_is_said(tmp_path: Path, redirection: str, said: str) -> None:
    command = ["sh", "-c", f'exec "$0" -m streamd logs {redirection}', sys.executable]
    done = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path, text=True)
    assert (done.returncode > 0, done.stderr) == (True, said)


@pytest.mark.parametrize("field", ["peer", "=x"])
def test_a_field_needs_a_key_and_a_value(field: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["logs", "--field", field])
    assert ended.value.code == 2
    assert "must be KEY=VALUE" in capsys.readouterr().err


def read_until(fd: int, text: bytes) -> bytes:
    data = b""
    while text not in data:
        assert select.select([fd], [], [], ANSWER_S)[0], data
        more = os.read(fd, 65536)
        assert more, data
        data += more
    return data


def test_each_line_is_shown_when_it_comes_and_ctrl_c_ends_quietly() -> None:
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        for name in ("first", "second"):
            process.stdin.write(event(name).encode() + b"\n")
            process.stdin.flush()
            read_until(process.stdout.fileno(), name.encode())
        process.send_signal(signal.SIGINT)
        assert process.wait(ANSWER_S) == -signal.SIGINT, "a shell says 130"
        assert process.stderr.read() == b""


def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    (tmp_path / "log").write_text((event("ready") + "\n") * 10_000)
    with subprocess.Popen(
        [*COMMAND, str(tmp_path / "log")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().split()[-1] == b"ready"
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize(("no_color", "colored"), [(None, True), ("1", False)])
def test_colours_are_for_a_terminal_without_no_color(
    tmp_path: Path, no_color: str | None, colored: bool
) -> None:
    (tmp_path / "log").write_text(event("ready") + "\n")
    env = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    if no_color:
        env["NO_COLOR"] = no_color
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen([*COMMAND, str(tmp_path / "log")], stdout=theirs, env=env) as process:
            shown = read_until(ours, b"\n")
        assert process.returncode == 0
    finally:
        os.close(ours)
        os.close(theirs)
    assert (b"\x1b[" in shown) is colored


def test_with_a_keyboard_as_input_it_says_what_to_do() -> None:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(COMMAND, stdin=theirs, capture_output=True, check=False, timeout=ANSWER_S)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 2
    assert done.stderr.startswith(
        b"streamd: nothing to read: try `journalctl -u streamd -o cat | streamd logs`"
    )


def test_a_screen_without_the_characters_shows_escapes(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(event("ready", text="数"))
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*COMMAND, str(tmp_path / "log")], capture_output=True, check=True, env=env)
    assert b"text=\\u6570" in done.stdout
