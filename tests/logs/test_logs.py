import asyncio
import json
import logging
import os
import pty
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from streamd.logs import logs
from streamd.logs.line import render_json, safe
from streamd.logs.rate_limit import BURST
from tests.terminal import shown

HOSTILE = (
    '"}\n{"level":"critical","event":"forged"}\r\n<0>'
    "\x1b[2J\x00\x7f\x85\x9b\u2028\u2029\u202e\u2066\ud800\udcff"
)


class Pipe:
    """A pipe that stands for stderr."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()
        os.set_blocking(self.read_fd, False)

    def raw(self) -> bytes:
        """All that was written since the last call."""
        chunks: list[bytes] = []
        while True:
            try:
                chunk = os.read(self.read_fd, 1 << 20)
            except BlockingIOError:
                return b"".join(chunks)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)

    def lines(self) -> list[dict[str, Any]]:
        """The same, each line parsed."""
        text = self.raw().decode("utf-8")
        assert text == "" or text.endswith("\n")
        return [json.loads(line, parse_constant=pytest.fail) for line in text.split("\n")[:-1]]


@pytest.fixture
def stderr() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.read_fd)
    os.close(pipe.write_fd)


class Ticking:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_line_is_json_with_time_level_and_event_first(stderr: Pipe) -> None:
    logs.configure("info", "json", fd=stderr.write_fd)
    structlog.get_logger().warning("listening", source="lab", port=9999, share=0.5, tls=None)
    (line,) = stderr.lines()
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line["timestamp"].endswith("Z")
    assert {**line, "timestamp": ""} == {
        "timestamp": "", "level": "warning", "event": "listening",
        "source": "lab", "port": 9999, "share": 0.5, "tls": None,
    }  # fmt: skip


@pytest.mark.parametrize(("level", "shown"), [("debug", 5), ("info", 4), ("warning", 3), ("error", 2)])
def test_levels_below_the_configured_one_are_left_out(stderr: Pipe, level: str, shown: int) -> None:
    logs.configure(level, "json", fd=stderr.write_fd)
    log = structlog.get_logger()
    for name in ("debug", "info", "warning", "error", "critical"):
        getattr(log, name)(name)
    assert [line["event"] for line in stderr.lines()] == ["debug", "info", "warning", "error", "critical"][
        -shown:
    ]


@pytest.mark.parametrize("line_format", ["json", "console"])
@pytest.mark.parametrize("where", ["event", "value", "key", "nested", "bytes", "exception"])
def test_hostile_text_stays_on_one_line_and_shows_no_control_character(
    stderr: Pipe, line_format: Any, where: str
) -> None:
    logs.configure("info", line_format, fd=stderr.write_fd)
    log = structlog.get_logger()
    cases: dict[str, dict[str, Any]] = {
        "event": {},
        "value": {"peer": HOSTILE},
        "key": {HOSTILE: 1},
        "nested": {"record": {"a": [{HOSTILE: (HOSTILE, HOSTILE.encode("utf-8", "surrogatepass"))}]}},
        "bytes": {"frame": HOSTILE.encode("utf-8", "surrogatepass") + bytes(range(256))},
        "exception": {"exc_info": ValueError(HOSTILE)},
    }
    log.info(HOSTILE if where == "event" else "got", **cases[where])
    text = stderr.raw().decode("utf-8")
    first, *more = text.removesuffix("\n").split("\n")
    assert all(line.isprintable() for line in [first, *more])
    assert all(line.startswith("    | ") for line in more)
    assert (len(more) > 0) == (line_format == "console" and where == "exception")
    assert "forged" in text


def test_fields_cannot_replace_time_and_level(stderr: Pipe) -> None:
    logs.configure("info", "json", fd=stderr.write_fd)
    structlog.get_logger().info("e", level="forged", timestamp="forged")
    (line,) = stderr.lines()
    assert line["level"] == "info"
    assert line["timestamp"] != "forged"


def _fail_at_length() -> None:
    raise ValueError("\n".join(f"<0>line {n}" for n in range(500)))


def test_a_traceback_is_in_the_line_and_a_long_message_is_cut(stderr: Pipe) -> None:
    logs.configure("info", "json", fd=stderr.write_fd)
    try:
        _fail_at_length()
    except ValueError:
        structlog.get_logger().exception("step_failed", step="calibrate")
    (line,) = stderr.lines()
    assert line["level"] == "error"
    assert line["exception"][0] == "Traceback (most recent call last):"
    assert line["exception"][-1] == "… [488 more lines]"
    assert len(line["exception"]) < 30


def test_libraries_and_warnings_come_through_the_same_chain(stderr: Pipe) -> None:
    logs.configure("warning", "json", fd=stderr.write_fd)
    logging.getLogger("some.library").error("broke on %r\n", "x\n")
    for handler in logging.root.handlers:
        if isinstance(handler, logs._Bridge):  # pytest's own handler raises for a wrong format
            handler.emit(logging.LogRecord("some.library", 40, "", 0, "wrong %d", ("format",), None))
    logging.getLogger("some.library").info("not shown")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("watch\nout", stacklevel=1)
    loop = asyncio.new_event_loop()
    loop.call_exception_handler({"message": "task\nlost"})
    loop.close()
    seen = [(line["level"], line["event"], line["message"].partition(" ")[0]) for line in stderr.lines()]
    assert seen[:2] == [("error", "some.library", "broke"), ("error", "some.library", "wrong")]
    assert [event for _, event, _ in seen[2:]] == ["py.warnings", "asyncio"]


def test_configuring_again_does_not_double_the_lines_of_libraries(stderr: Pipe) -> None:
    logs.configure("info", "json", fd=stderr.write_fd)
    logs.configure("info", "json", fd=stderr.write_fd)
    logging.getLogger("some.library").error("once")
    assert len(stderr.lines()) == 1


def test_libraries_are_silent_at_debug(stderr: Pipe) -> None:
    logs.configure("debug", "json", fd=stderr.write_fd)
    assert not logging.getLogger("aiosqlite").isEnabledFor(logging.DEBUG)


def test_a_kind_is_limited_and_what_was_held_back_is_told_with_the_next(stderr: Pipe) -> None:
    clock = Ticking()
    logs.configure("info", "json", fd=stderr.write_fd, clock=clock)
    log = structlog.get_logger()
    for n in range(100):
        log.info("bad_frame", n=n)
    log.info("other")
    clock.now_s += 1.0
    log.info("bad_frame", n=100)
    lines = stderr.lines()
    assert [line["event"] for line in lines] == ["bad_frame"] * BURST + ["other", "bad_frame"]
    assert lines[-1]["suppressed"] == 100 - BURST
    logs.flush_suppressed()
    assert stderr.lines() == []


def test_what_no_line_has_told_is_flushed_even_below_the_level(stderr: Pipe) -> None:
    logs.configure("error", "json", fd=stderr.write_fd, clock=Ticking())
    for _ in range(BURST + 7):
        structlog.get_logger().error("bad_frame")
    stderr.raw()
    logs.flush_suppressed()
    (line,) = stderr.lines()
    assert (line["event"], line["kind"], line["suppressed"]) == ("suppressed", "bad_frame", 7)
    logs.flush_suppressed()
    assert stderr.lines() == []


def test_threads_do_not_mix_their_lines(stderr: Pipe) -> None:
    logs.configure("info", "json", fd=stderr.write_fd)

    def speak(name: str) -> None:
        for _ in range(10):
            structlog.get_logger().info(name, text="x" * 200)

    threads = [threading.Thread(target=speak, args=(f"thread {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stderr.lines()) == 80


def test_auto_is_console_on_a_terminal_and_json_elsewhere(stderr: Pipe) -> None:
    logs.configure("info", "auto", fd=stderr.write_fd)
    structlog.get_logger().info("listening")
    assert stderr.lines()[0]["event"] == "listening"
    ours, theirs = pty.openpty()
    try:
        logs.configure("info", "auto", fd=theirs)
        structlog.get_logger().info("listening", source="lab")
        text = shown(ours, "\n")
    finally:
        os.close(ours)
        os.close(theirs)
    assert "listening" in text
    assert not text.startswith("{")


PROGRAM = """
import sys, threading
from streamd.logs import logs
logs.configure("info", "json")
class Dying:
    def __del__(self): raise ValueError("in\\nfinalizer")
del_me = Dying()
del del_me
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise RuntimeError("at\\nthe top")
"""


def test_what_nobody_catches_is_logged_as_json_too() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=False, text=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["unraisable_exception", "thread_died", "uncaught_exception"]
    assert done.stdout == ""
    assert done.returncode == 1


def test_a_closed_stderr_is_not_taken_over_by_the_next_file(tmp_path: Path) -> None:
    target = tmp_path / "database"
    program = (
        "from streamd.logs import logs; import os, structlog; logs.configure('info', 'json')\n"
        f"fd = os.open({str(target)!r}, os.O_CREAT | os.O_WRONLY)\n"
        "structlog.get_logger().info('into the database?'); print(fd)"
    )
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, program], stdout=subprocess.PIPE, check=True
    )
    assert int(done.stdout) > 2
    assert target.read_bytes() == b""


@pytest.fixture
def journald(stderr: Pipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Journald's socket at `tmp_path / "socket"`; `stderr` is the stream to it."""
    there = os.fstat(stderr.write_fd)
    monkeypatch.setenv("JOURNAL_STREAM", f"{there.st_dev}:{there.st_ino}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(tmp_path / "socket"))
        found.setblocking(False)
        yield found
        structlog.get_config()["logger_factory"]().close()


@pytest.mark.parametrize("line_format", ["auto", "json"])
def test_under_systemd_an_event_goes_to_the_journal_with_priority_and_fields(
    journald: socket.socket, stderr: Pipe, tmp_path: Path, line_format: Any
) -> None:
    logs.configure("info", line_format, fd=stderr.write_fd, journal_path=str(tmp_path / "socket"))
    structlog.get_logger().warning("framing_error", source="lab", peer=HOSTILE)
    entry = journald.recv(1 << 16)
    size = int.from_bytes(entry[8:16], "little")
    assert entry.startswith(b"MESSAGE\n")
    assert json.loads(entry[16 : 16 + size])["source"] == "lab"
    assert [name for name in entry[16 + size :].split(b"\n") if name.isupper()] == [
        b"PRIORITY", b"SYSLOG_IDENTIFIER", b"STREAMD_EVENT", b"STREAMD_SOURCE",
    ]  # fmt: skip
    assert stderr.raw() == b""


def test_under_systemd_plain_lines_reach_the_journal_too(
    journald: socket.socket, stderr: Pipe, tmp_path: Path
) -> None:
    logs.configure("info", "json", fd=stderr.write_fd, journal_path=str(tmp_path / "socket"))
    logs.print_line("books balance")
    assert b"MESSAGE\n\x0d\0\0\0\0\0\0\0books balance\n" in journald.recv(1 << 16)


def test_under_systemd_what_was_held_back_is_told_in_the_journal(
    journald: socket.socket, stderr: Pipe, tmp_path: Path
) -> None:
    path = str(tmp_path / "socket")
    logs.configure("info", "json", fd=stderr.write_fd, journal_path=path, clock=Ticking())
    for n in range(BURST + 3):
        structlog.get_logger().info("bad_frame")
        if n < BURST:
            journald.recv(1 << 16)
    logs.flush_suppressed()
    assert b'"kind": "bad_frame", "suppressed": 3}' in journald.recv(1 << 16)


def test_names_that_a_sender_chose_are_no_fields() -> None:
    event = safe(
        None, "info", {"event": "e", "source": "lab\nPRIORITY=0", "_UID": "0", "sink": 7, "step": None}
    )
    rendered: Any = logs._with_fields(render_json)(None, "info", event)
    (line,), fields = rendered
    assert fields == {"event": "e", "source": "lab\\nPRIORITY=0"}
    assert json.loads(str(line))["_UID"] == "0"


@pytest.mark.usefixtures("journald")
def test_under_systemd_without_the_socket_stderr_takes_the_lines_with_their_priority(
    stderr: Pipe, tmp_path: Path
) -> None:
    logs.configure("info", "json", fd=stderr.write_fd, journal_path=str(tmp_path / "gone"))
    structlog.get_logger().error("sink_failed", sink="readings")
    assert stderr.raw().startswith(b'<3>{"timestamp"')
