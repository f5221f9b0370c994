"""Unix sockets, followed files and generated readings, through a whole daemon with its books."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TAIL = """
[admin]
listen = "127.0.0.1:0"
[schemas.line]
n = "int"
[sources.app]
type = "file"
path = "app.log"
codec = "json"
schema = "line"
rotate_wait = "200ms"
buffer = { max_records = 2000 }
[pipelines.main]
sources = ["app"]
sinks = ["lines"]
[sinks.lines]
type = "sqlite"
path = "streamd.db"
table = "lines"
schema = "line"
EXTRA
"""
UNIX = """
[admin]
listen = "127.0.0.1:0"
[sources.stream]
type = "unix"
path = "stream.sock"
[sources.datagrams]
type = "unix"
path = "datagrams.sock"
mode = "datagram"
[pipelines.main]
sources = ["stream", "datagrams"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
"""
GENERATE = """
[admin]
listen = "127.0.0.1:0"
[schemas.reading]
ts = "timestamp"
sensor = "str"
seq = "int"
value = { type = "float", ge = 0, le = 45 }
unit = "str"
ok = "bool"
site = "str"
[sources.sensors]
type = "generate"
rate = 50_000
count = 10_000
seed = 11
gaps = 0.05
spikes = 0.01
codec = "json"
schema = "reading"
[pipelines.main]
sources = ["sensors"]
sinks = ["readings"]
[sinks.readings]
type = "sqlite"
path = "streamd.db"
table = "readings"
schema = "reading"
"""


def lines(first: int, count: int) -> bytes:
    return b"".join(b'{"n": %d}\n' % n for n in range(first, first + count))


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_unix_streams_and_datagrams_are_stored_with_the_process_that_sent_them(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    daemon = start(UNIX)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.connect(str(tmp_path / "var" / "stream.sock"))
        stream.sendall(lines(0, 5000))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.connect(str(tmp_path / "var" / "datagrams.sock"))
        for n in range(5000):
            datagrams.send(b'{"n": %d}' % n)
    daemon.wait_rows(10_000)
    daemon.stop()
    found = daemon.query("SELECT source, peer, count(*), count(DISTINCT record) FROM records GROUP BY 1, 2")
    me = f"pid={os.getpid()},uid={os.getuid()},gid={os.getgid()}"
    assert found == [("datagrams", me, 5000, 5000), ("stream", me, 5000, 5000)]
    assert not (tmp_path / "var" / "stream.sock").exists()
    assert not (tmp_path / "var" / "datagrams.sock").exists()


def test_a_killed_daemon_leaves_a_socket_that_the_next_one_replaces(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    first = start(UNIX)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    assert (tmp_path / "var" / "stream.sock").exists()
    second = start(UNIX)
    third = start(UNIX + '[ledger]\npath = "third.db"\n', ready=False)
    assert third.process.wait(30) == 1
    assert "it is taken" in third.stderr
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.connect(str(tmp_path / "var" / "stream.sock"))
        stream.sendall(b'{"n": 1}\n')
    second.wait_rows(1)
    second.stop()


@pytest.mark.parametrize("unique", [False, True])
def test_every_line_of_a_file_is_stored_though_the_daemon_is_killed_again_and_again(
    start: Callable[..., Any], wait_until: Callable[..., Any], tmp_path: Path, unique: bool
) -> None:
    config = TAIL.replace("EXTRA", 'unique = ["n"]' if unique else "")
    path = tmp_path / "app.log"
    count, rounds, waiting = 30_000, 4, 2000
    written = threading.Event()

    def write() -> None:
        for first in range(0, count, 500):
            append(path, lines(first, 500))
            if first == count // 2:
                path.rename(tmp_path / "app.log.1")
            written.wait(0.03)

    writer = threading.Thread(target=write)
    daemon = start(config)  # before the file is there: how long a start takes must not decide what it finds
    writer.start()
    try:
        for killed in range(1, rounds + 1):
            daemon = daemon if killed == 1 else start(config)
            daemon.wait_rows(killed * count // (2 * rounds), "lines")
            daemon.process.send_signal(signal.SIGKILL)
            daemon.process.wait()
    finally:
        writer.join()
    daemon = start(config)
    distinct_of = "SELECT count(DISTINCT n) FROM lines"
    wait_until(lambda: daemon.query(distinct_of)[0][0] == count, "every line")
    daemon.stop()
    rows, distinct, lowest, highest = daemon.query(
        "SELECT count(*), count(DISTINCT n), min(n), max(n) FROM lines"
    )[0]
    assert (distinct, lowest, highest) == (count, 0, count - 1)
    if unique:
        assert rows == count
    else:
        # Read since the position was last saved, about a second before, and committed.
        per_second = 500 / 0.03
        assert rows - count <= rounds * (2 * per_second + waiting)


def test_a_daemon_that_is_stopped_and_started_stores_every_line_once(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "app.log"
    config = TAIL.replace("EXTRA", "")
    append(path, lines(0, 3000) + b'{"n": 30')
    daemon = start(config)
    daemon.wait_rows(3000, "lines")
    daemon.stop()
    append(path, b"00}\n")
    path.rename(tmp_path / "app.log.1")
    append(path, lines(3001, 2000))
    daemon = start(config)
    daemon.wait_rows(5001, "lines")
    daemon.stop()
    assert daemon.query("SELECT count(*), count(DISTINCT n), max(n) FROM lines") == [(5001, 5001, 5000)]
    assert daemon.reasons("files_rotated") == {"": 1}
    assert daemon.books()["app", "", "", "received"] == 2001


def test_a_followed_file_whose_source_gets_another_name_in_a_reload_is_read_on(
    start: Callable[..., Any], wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    config = TAIL.replace("EXTRA", "")
    append(tmp_path / "app.log", lines(0, 500))
    daemon = start(config)
    daemon.wait_rows(500, "lines")
    renamed = config.replace("[sources.app]", "[sources.web]").replace('["app"]', '["web"]')
    (tmp_path / "streamd.toml").write_text(renamed)
    append(tmp_path / "app.log", lines(500, 500))
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.events("reloaded"), "the reload")
    append(tmp_path / "app.log", lines(1000, 500))
    wait_until(lambda: daemon.query("SELECT max(n) FROM lines") == [(1499,)], "the last line")
    (tmp_path / "app.log").unlink()
    wait_until(lambda: daemon.events("file_released"), "the end of the deleted file")
    daemon.stop()
    assert daemon.query("SELECT count(DISTINCT n) FROM lines") == [(1500,)]
    (event,) = daemon.events("position_taken_over")
    assert event["by"] == "app"
    assert [event["event"] for event in daemon.events("file_deleted")] == ["file_deleted"]


def test_a_file_full_of_rubbish_is_read_to_its_end_in_bounded_memory(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    rubbish = [b"\xff\x00 not json", b"{" * 5000, b"x" * 200_000, b"", b'{"n": "word"}', b'{"n": 1e999}']
    append(tmp_path / "app.log", b"\n".join(rubbish * 100) + b"\n" + lines(0, 1))
    daemon = start(TAIL.replace("EXTRA", ""))
    daemon.wait_rows(1, "lines")
    daemon.stop()
    books = daemon.books()
    assert books["app", "", "", "received"] == 501
    assert books["app", "", "", "truncated"] == 100
    assert books["app", "main", "lines", "stored"] == 1


def test_generated_readings_are_stored_and_their_faults_are_where_they_should_be(
    start: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    daemon = start(GENERATE)
    wait_until(lambda: daemon.events("generated_all"), "the last reading")
    daemon.stop()
    books = daemon.books()
    received = books["sensors", "", "", "received"]
    assert received + books["sensors", "", "", "generated_gaps"] == 10_000
    stored = books["sensors", "main", "readings", "stored"]
    assert 8500 < stored < received < 9700
    assert daemon.query("SELECT count(*), count(DISTINCT seq) FROM readings") == [(stored, stored)]
    assert set(daemon.reasons("rejected", "sensors")) == {"schema:range"}
