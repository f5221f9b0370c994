"""From start to end: signals, crashes, what is wrong at start, and a stderr nobody reads."""

import contextlib
import fcntl
import os
import pty
import random
import re
import signal
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

DELIVERY = ("floor", "main", "records")

CONFIG = """
[admin]
listen = "127.0.0.1:0"
[ledger]
interval = "0.2s"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
[pipelines.main]
sources = ["lab", "floor"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
"""


@pytest.fixture
def start(start: Callable[..., Any]) -> Callable[..., Any]:
    """Starts daemons as their users do."""
    return partial(start, copied=False)


def lines(count: int) -> bytes:
    return b"".join(b'{"seq":%d}\n' % seq for seq in range(count))


def numbers(daemon: Any, source: str = "floor") -> list[int]:
    rows = daemon.query(f"SELECT record ->> 'seq' FROM records WHERE source = '{source}' ORDER BY id")  # noqa: S608
    return [seq for (seq,) in rows]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def assert_sound(daemon: Any) -> None:
    assert daemon.query("PRAGMA integrity_check") == [("ok",)]
    assert "Traceback" not in daemon.stderr


def only_line(daemon: Any, code: int) -> str:
    """What a daemon that could not start says: one line beside the log's."""
    assert daemon.process.wait(60) == code, daemon.stderr
    assert "Traceback" not in daemon.stderr
    (said,) = [line for line in daemon.stderr.splitlines() if not line.startswith("{")]
    return str(said)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_with_data_in_flight_loses_nothing_that_was_read(number: signal.Signals, start: Any) -> None:
    daemon = start(CONFIG.replace('path = "streamd.db"', 'path = "streamd.db"\nbatch = { max_wait = "20s" }'))
    daemon.tcp(lines(1))
    daemon.wait_rows(1)  # the first commit comes at once, the next one would be 20 s away
    daemon.tcp(lines(3000))
    daemon.udp(*lines(100).splitlines())
    daemon.process.send_signal(number)
    assert daemon.process.wait(60) == 0, daemon.stderr
    daemon.assert_balanced()
    assert numbers(daemon) == [0, *range(3000)]
    assert numbers(daemon, "lab") == list(range(100))
    assert daemon.books()[*DELIVERY, "stored"] == 3001
    assert [event["signal"] for event in daemon.events("stopping")] == [number.name]
    assert_sound(daemon)


def test_a_stop_under_load_stores_all_that_was_read_of_senders_that_go_on(
    start: Any, wait_until: Callable[..., Any]
) -> None:
    daemon = start(CONFIG)
    senders = [threading.Thread(target=send_until_refused, args=(daemon.address("floor"),)) for _ in range(4)]
    for sender in senders:
        sender.start()
    wait_until(lambda: daemon.books()[*DELIVERY, "stored"] > 5000, "load")
    daemon.stop()
    for sender in senders:
        sender.join(60)
    books = daemon.books()
    ((stored,),) = daemon.query("SELECT count(*) FROM records")
    assert stored == books[*DELIVERY, "stored"] == books["floor", "", "", "received"]
    assert not daemon.reasons("dropped")
    assert_sound(daemon)


def send_until_refused(address: tuple[str, int]) -> None:
    """Send lines without end, until the other side is gone."""
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=60) as sock:
        while True:
            sock.sendall(b'{"seq":1,"fill":"0123456789"}\n' * 500)


def test_after_kill_9_under_load_the_ledger_says_unclean_and_table_and_ledger_agree(
    start: Any, wait_until: Callable[..., Any]
) -> None:
    daemon = start(CONFIG)
    sender = threading.Thread(target=send_until_refused, args=(daemon.address("floor"),))
    sender.start()
    wait_until(lambda: daemon.books()[*DELIVERY, "stored"] > 20000, "load")
    daemon.process.kill()
    daemon.process.wait(60)
    sender.join(60)
    ((killed,),) = daemon.query("SELECT run_id FROM ledger WHERE counter = 'start'")
    ((stored,),) = daemon.query("SELECT count(*) FROM records")
    assert daemon.books()[*DELIVERY, "stored"] == stored > 20000
    again = start(CONFIG)
    again.tcp(lines(10))
    again.wait_rows(stored + 10)
    again.stop()
    assert again.query("SELECT run_id, n FROM ledger WHERE counter = 'unclean'") == [(killed, None)]
    assert again.query("SELECT count(*) FROM records") == [(stored + 10,)]
    assert again.books()[*DELIVERY, "stored"] == 10
    assert_sound(again)


def test_a_clean_end_is_not_called_unclean(start: Any) -> None:
    for _ in range(2):
        daemon = start(CONFIG)
        daemon.tcp(lines(10))
        daemon.stop()
    assert daemon.query("SELECT count(*) FROM ledger WHERE counter = 'unclean'") == [(0,)]
    assert daemon.query("SELECT count(*) FROM records") == [(20,)]


@pytest.mark.parametrize("kind", ["tcp", "udp", "admin"])
def test_a_port_in_use_is_one_line(kind: str, start: Any) -> None:
    with socket.socket(type=socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind != "udp":
            taken.listen()
        port = taken.getsockname()[1]
        name = {"tcp": "sources.floor", "udp": "sources.lab"}.get(kind, kind)
        config = re.sub(rf"(\[{name}\][^\[]*127.0.0.1:)0", rf"\g<1>{port}", CONFIG)
        said = only_line(start(config, ready=False), 1)
    assert said.startswith("streamd: ")
    assert f"127.0.0.1:{port}" in said
    assert name.removeprefix("sources.") in said


@pytest.mark.parametrize(
    ("wrong", "line", "words"),
    [
        (CONFIG.replace('path = "streamd.db"', 'paht = "streamd.db"'), 17, ["sinks.records.paht", "path"]),
        (
            CONFIG.replace('sinks = ["records"]', 'sinks = ["record"]'),
            14,
            ["pipelines.main.sinks", "records"],
        ),
        (CONFIG.replace('"0.2s"', "5"), 5, ["ledger.interval", "unit"]),
        (CONFIG.replace("[admin]", "[admin"), 2, []),
    ],
)
def test_a_wrong_configuration_is_one_line_with_its_place(
    wrong: str, line: int, words: list[str], start: Any, tmp_path: Path
) -> None:
    said = only_line(start(wrong, ready=False), 2)
    assert f"streamd.toml:{line}" in said
    assert all(word in said for word in words)
    assert not (tmp_path / "var").exists()


def test_no_configuration_at_all_is_one_line(start: Any, tmp_path: Path) -> None:
    daemon = start(CONFIG, "sh", "-c", 'rm streamd.toml; exec "$@"', "sh", ready=False)
    assert str(tmp_path / "streamd.toml") in only_line(daemon, 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_ends_it_in_order(
    number: signal.Signals, start: Any, wait_until: Callable[..., Any]
) -> None:
    daemon = start(CONFIG, ready=False)
    wait_until((daemon.folder / "var" / "dead-letters.db").exists, "the start to have begun")
    daemon.process.send_signal(number)
    assert daemon.process.wait(60) == 0, daemon.stderr
    assert daemon.query("SELECT counter FROM ledger WHERE counter IN ('start', 'stop') ORDER BY counter") == [
        ("start",),
        ("stop",),
    ]
    assert_sound(daemon)


def test_sigterm_at_any_moment_of_the_start_ends_it_without_a_traceback(start: Any) -> None:
    daemon = start(CONFIG, ready=False)
    with contextlib.suppress(subprocess.TimeoutExpired):
        daemon.process.wait(random.uniform(0.1, 0.6))  # noqa: S311 - any moment is as good
    daemon.process.terminate()
    assert daemon.process.wait(60) in {0, -signal.SIGTERM}, daemon.stderr
    assert "Traceback" not in daemon.stderr


def with_step(start: Any, step: str, config: str = CONFIG, *, ready: bool = True) -> Any:
    function = 'steps = [{ type = "python", function = "steps.py:step" }]'
    write = f"cat > steps.py <<'END'\n{step}\nEND\n"
    wanted = config.replace('sinks = ["records"]', f'sinks = ["records"]\n{function}')
    return start(wanted, "sh", "-c", write + 'exec "$@"', "sh", ready=ready)


@pytest.mark.parametrize(
    "step",
    [
        "raise RuntimeError('no luck')",
        "import no_such_module",
        "def step(",
        "import sys; sys.exit(3)",
        "x = 1",
    ],
)
def test_a_step_file_that_cannot_be_loaded_is_one_line(step: str, start: Any) -> None:
    said = only_line(with_step(start, step, ready=False), 2)
    assert said.startswith("streamd: ")
    assert "steps.py" in said
    assert "pipelines.main.steps[0]" in said


def test_a_step_that_raises_costs_its_records_and_they_are_kept(start: Any) -> None:
    step = "def step(record):\n    if record['seq'] % 2:\n        raise ValueError('odd')\n    return record"
    daemon = with_step(start, step)
    daemon.tcp(lines(1000))
    daemon.wait_rows(500)
    daemon.stop()
    assert numbers(daemon) == list(range(0, 1000, 2))
    books = daemon.books()
    assert books["floor", "main", "", "rejected"] == 500
    letters = daemon.query("SELECT reason, count(*) FROM dead_letters GROUP BY 1", "dead-letters.db")
    assert letters == [("exception", 500)]
    (event,) = daemon.events("step_failed")
    assert "odd" in event["error"]


@pytest.mark.parametrize("raised", ["SystemExit(3)", "MemoryError()"])
def test_a_step_cannot_end_the_daemon(raised: str, start: Any) -> None:
    step = f"def step(record):\n    if record['seq'] == 0:\n        raise {raised}\n    return record"
    daemon = with_step(start, step)
    daemon.tcp(lines(1))
    daemon.tcp(lines(10)[len(b'{"seq":0}\n') :])
    daemon.wait_rows(9)
    daemon.stop()
    assert daemon.books()["floor", "main", "", "rejected"] == 1
    assert numbers(daemon) == list(range(1, 10))


def test_with_stderr_closed_data_is_stored(start: Any, wait_until: Callable[..., Any]) -> None:
    port = free_port()
    config = fixed(port)
    daemon = start(config, "sh", "-c", 'exec "$@" 2>&-', "sh", ready=False)
    send_when_listening(port, lines(1000), wait_until)
    daemon.wait_rows(1000)
    daemon.process.terminate()
    assert daemon.process.wait(60) == 0
    assert daemon.books()[*DELIVERY, "stored"] == 1000
    assert daemon.query("PRAGMA integrity_check") == [("ok",)]
    assert daemon.stderr == ""


def test_with_a_stderr_that_is_full_and_never_read_data_is_stored(
    start: Any, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    fifo = tmp_path / "nobody-reads"
    os.mkfifo(fifo)
    pipe = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x" * 4096)
    port = free_port()
    daemon = start(fixed(port), "sh", "-c", f'exec "$@" 2>"{fifo}"', "sh", ready=False)
    send_when_listening(port, lines(1000) + b"\xff\n" * 100, wait_until)
    daemon.wait_rows(1000)
    daemon.process.terminate()
    assert daemon.process.wait(60) == 0
    os.close(pipe)
    assert daemon.books()[*DELIVERY, "stored"] == 1000
    assert daemon.books()["floor", "", "", "rejected"] == 100
    assert daemon.query("PRAGMA integrity_check") == [("ok",)]


def test_a_reader_of_stderr_that_goes_away_costs_no_data(
    start: Any, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    fifo = tmp_path / "reader-goes-away"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    port = free_port()
    daemon = start(fixed(port), "sh", "-c", f'exec "$@" 2>"{fifo}"', "sh", ready=False)
    send_when_listening(port, lines(10), wait_until)
    os.close(reader)
    send_when_listening(port, lines(1000), wait_until)
    daemon.wait_rows(1010)
    daemon.process.terminate()
    assert daemon.process.wait(60) == 0
    assert daemon.books()[*DELIVERY, "stored"] == 1010


def fixed(port: int) -> str:
    """The configuration with a port that need not be read from the log."""
    return re.sub(r"(\[sources.floor\][^\[]*127.0.0.1:)0", rf"\g<1>{port}", CONFIG)


def send_when_listening(port: int, data: bytes, wait_until: Callable[..., Any]) -> None:
    def sent() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                return sock.recv(1) == b""
        except ConnectionRefusedError:
            return False

    wait_until(sent, "the port")


def test_lines_of_64_kib_are_stored_whole_and_longer_ones_flagged(start: Any) -> None:
    daemon = start(CONFIG)
    longest = b"x" * 65536
    daemon.tcp((longest + b"\n") * 200 + longest + b"y\n")
    daemon.wait_rows(201)
    daemon.stop()
    messages = "SELECT record ->> 'message', record ->> '@flag' FROM records ORDER BY id"
    rows = daemon.query(messages)
    assert rows[:-1] == [(longest.decode(), None)] * 200
    assert rows[-1][0] == longest.decode()
    assert daemon.books()["floor", "", "", "truncated"] == 1
    assert_sound(daemon)


def test_empty_lines_are_no_records(start: Any) -> None:
    daemon = start(CONFIG)
    daemon.tcp(b"\n\r\n" * 50000)
    daemon.tcp(lines(1))
    daemon.wait_rows(1)
    daemon.stop()
    assert numbers(daemon) == [0]
    assert daemon.books()["floor", "", "", "received"] == 1
    assert_sound(daemon)


def test_the_ledger_may_stand_in_a_file_of_its_own(start: Any) -> None:
    daemon = start(CONFIG.replace('path = "streamd.db"', 'path = "data.db"'))
    daemon.tcp(lines(1000))
    daemon.wait_rows(1000, db="data.db")
    daemon.stop()
    assert daemon.books()[*DELIVERY, "stored"] == 1000
    tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    assert "records" not in {name for (name,) in daemon.query(tables)}
    assert daemon.query(tables, "data.db") == [("records",)]


def test_the_ledger_locked_at_start_is_one_line(start: Any, tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "var" / "streamd.db", isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("BEGIN IMMEDIATE")
        said = only_line(start(CONFIG, ready=False), 1)
    assert "locked" in said
    assert str(tmp_path / "var" / "streamd.db") in said


def test_a_closed_terminal_ends_it_in_order(start: Any) -> None:
    ours, theirs = pty.openpty()
    terminal = os.ttyname(theirs)
    # The first terminal that the leader of a session opens is its own: closing it sends SIGHUP.
    config = CONFIG + '[log]\nformat = "json"\n'
    daemon = start(config, "setsid", "sh", "-c", f'exec "$@" 0<>{terminal} 2>&0', "sh", ready=False)
    shown = b""
    while b"ready" not in shown:
        shown += os.read(ours, 65536)
    (port,) = re.findall(rb'"floor".*127\.0\.0\.1:(\d+)', shown)
    with socket.create_connection(("127.0.0.1", int(port)), timeout=30) as sock:
        sock.sendall(lines(5000))
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    os.close(theirs)
    os.close(ours)
    assert daemon.process.wait(60) == 0
    assert daemon.query("SELECT count(*) FROM records") == [(5000,)]
    assert daemon.query("SELECT count(*) FROM ledger WHERE counter = 'stop'") == [(1,)]
    assert_sound(daemon)


def test_without_any_standard_stream_it_runs_and_ends_in_order(start: Any) -> None:
    daemon = start(CONFIG, "sh", "-c", 'exec "$@" 0<&- 1>&-', "sh")
    daemon.tcp(lines(100))
    daemon.stop()
    assert daemon.query("SELECT count(*) FROM records") == [(100,)]


def test_two_daemons_on_the_same_files_take_turns_and_each_ones_books_are_exact(start: Any) -> None:
    both = [start(CONFIG), start(CONFIG + '[control]\npath = "second.sock"\n')]
    senders = [threading.Thread(target=daemon.tcp, args=(lines(20000),)) for daemon in both]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(60)
    for daemon in both:
        daemon.process.terminate()
    for daemon in both:
        assert daemon.process.wait(60) == 0, daemon.stderr
        assert "books balance" in daemon.stderr
        assert_sound(daemon)
    assert both[0].query("SELECT count(*) FROM records") == [(40000,)]
    assert both[0].query("SELECT count(*) FROM ledger WHERE counter = 'unclean'") == [(0,)]
    stored = both[0].query("SELECT sum(n) FROM ledger WHERE counter = 'stored' GROUP BY run_id")
    assert stored == [(20000,), (20000,)]


def wait_until_signals_are_heard(daemon: Any, wait_until: Callable[..., Any]) -> None:
    """Until the first line of streamd's own has run; before it the interpreter answers signals."""
    ours = 1 << (signal.SIGHUP - 1)

    def heard() -> bool:
        status = Path(f"/proc/{daemon.process.pid}/status").read_text()
        return any(
            int(line.split()[1], 16) & ours
            for line in status.splitlines()
            if line[:6] in ("SigBlk", "SigCgt")
        )

    wait_until(heard, "the daemon to hear SIGHUP")


MOMENTS = [0.0, *sorted(random.Random(8).uniform(0, 0.8) for _ in range(3)), "listening", "ready"]  # noqa: S311
"""Seconds after the first line of streamd's own, or the event in the log."""


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_at_any_moment_of_the_start_says_no_traceback_and_leaves_nothing(
    number: signal.Signals,
    moment: float | str,
    start: Callable[..., Any],
    wait_until: Callable[..., Any],
    pace: Any,
) -> None:
    config = CONFIG.replace('["lab", "floor"]', '["lab", "floor", "local"]')
    config += '[sources.local]\ntype = "unix"\npath = "in.sock"\n'
    daemon = start(config, ready=False)
    wait_until_signals_are_heard(daemon, wait_until)
    if isinstance(moment, float):
        pace(moment)
    else:
        wait_until(lambda: daemon.events(moment), moment)
    daemon.process.send_signal(number)
    code = daemon.process.wait(60)
    assert not re.search("Traceback|KeyboardInterrupt|failed", daemon.stderr)
    assert [path for path in daemon.folder.rglob("*") if path.is_socket()] == []
    if code == -number:  # the kernel ended it before anything was opened
        assert daemon.stderr == ""
        assert isinstance(moment, float)
    else:
        assert code == 0
        assert "books balance" in daemon.stderr
    again = start(config)
    again.udp(b"x")
    again.wait_rows(1)
    again.stop()
    assert again.query("SELECT count(*) FROM ledger WHERE counter = 'unclean'") == [(0,)]


@pytest.mark.parametrize("after_ms", range(0, 400, 40))
def test_a_hangup_at_any_moment_of_the_start_is_a_reload_and_other_signals_end_nothing(
    start: Callable[..., Any], wait_until: Callable[..., Any], after_ms: int, pace: Any
) -> None:
    daemon = start(ready=False)
    wait_until_signals_are_heard(daemon, wait_until)
    pace(after_ms / 1000)
    for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGUSR2):
        daemon.process.send_signal(number)
    daemon.wait_ready()
    wait_until(lambda: daemon.events("reloaded"), "the reload")
    daemon.udp(b"x")
    daemon.wait_rows(1)
    daemon.stop()
