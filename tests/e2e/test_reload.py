"""The configuration is changed under load: nothing is lost, and what did not change is not disturbed."""

import json
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RELOADS = 20
LINES_FOR_EACH_RELOAD = 3_000
"""The most that each sender sends meanwhile: a slow machine gets no more to read back than a fast one."""

CONFIG = """
[admin]
listen = "none"
[schemas.reading]
sender = "str"
seq = "int"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
{floor}
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
{lab}
{more_source}
[pipelines.main]
sources = ["floor", "lab"]
sinks = ["main"]
steps = [{steps}]
[pipelines.more]
sources = ["{more_from}"]
sinks = ["more"]
[sinks.main]
type = "sqlite"
path = "{main_db}"
table = "{table}"
[sinks.more]
type = "{more_sink}"
path = "{more_path}"
"""
FIRST = {
    "floor": "",
    "lab": "",
    "more_source": "",
    "steps": "",
    "more_from": "floor",
    "main_db": "main.db",
    "table": "records",
    "more_sink": "file",
    "more_path": "more.ndjson",
}


def variant(number: int) -> str:
    """Each one differs from the one before in something else."""
    values = dict(FIRST)
    if number % 2:
        values["steps"] = f'{{ type = "set", fields = {{ round = "{number}" }} }}'
    if number % 3 == 1:
        values["floor"] = f"max_connections = {100 + number}\nbuffer = {{ max_records = {2000 + number} }}"
    if number % 3 == 2:
        values["lab"] = 'buffer = { max_records = 60000, when_full = "drop_newest" }'
    if number % 4 == 1:
        values["table"] = "others"
    if number % 4 == 2:
        values["more_path"] = "other.ndjson"
    if number % 4 == 3:
        values["more_sink"], values["more_path"] = "sqlite", "more.db"
    if number % 5 == 3:
        values["more_source"] = '[sources.late]\ntype = "tcp"\nlisten = "127.0.0.1:0"'
        values["more_from"] = "late"
    return CONFIG.format(**values)


class Lines(threading.Thread):
    """One connection that stays open until `finish`; it sends until `sent` reaches `allowed`."""

    def __init__(self, address: tuple[str, int], sender: str) -> None:
        super().__init__(daemon=True)
        self.sent = self.allowed = 0
        self.error: OSError | None = None
        self._sender, self._address, self._end = sender, address, threading.Event()
        self.start()

    def run(self) -> None:
        try:
            with socket.create_connection(self._address, timeout=60) as sock:
                while not self._end.is_set():
                    if self.sent >= self.allowed:
                        self._end.wait(0.002)
                        continue
                    lines = [{"sender": self._sender, "seq": self.sent + n} for n in range(50)]
                    sock.sendall(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
                    self.sent += 50
                    time.sleep(0.005)  # a rate, not a wait
                sock.shutdown(socket.SHUT_WR)
                assert sock.recv(1) == b""
        except OSError as error:
            self.error = error

    def finish(self) -> int:
        self._end.set()
        self.join(60)
        assert not self.is_alive()
        assert self.error is None
        return self.sent


class Datagrams(threading.Thread):
    """Numbered datagrams at a rate that no buffer is too small for, until `sent` reaches `allowed`."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(daemon=True)
        self.sent = self.allowed = 0
        self._address, self._end = address, threading.Event()
        self.start()

    def run(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(self._address)
            while not self._end.is_set():
                for _ in range(10 if self.sent < self.allowed else 0):
                    sock.send(b'{"sender":"lab","seq":%d}' % self.sent)
                    self.sent += 1
                time.sleep(0.002)  # a rate, not a wait

    def finish(self) -> int:
        self._end.set()
        self.join(60)
        return self.sent


def in_table(path: Path, table: str) -> list[tuple[str, int]]:
    if not path.exists():
        return []
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute(f"SELECT record FROM {table} ORDER BY rowid").fetchall()  # noqa: S608 - a test's own
    except sqlite3.OperationalError:
        return []
    finally:
        connection.close()
    return [(record["sender"], record["seq"]) for record in (json.loads(text) for (text,) in rows)]


def in_file(path: Path) -> list[tuple[str, int]]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [(record["sender"], record["seq"]) for record in map(json.loads, lines)]


def reload(daemon: Any, config: str, until: Callable[..., Any]) -> dict[str, Any]:
    """Write the configuration, and wait for what the log says of it."""
    before = len(daemon.events("reloaded")) + len(daemon.events("reload_failed"))
    daemon.config.write_text(config)
    daemon.process.send_signal(signal.SIGHUP)

    def told() -> list[dict[str, Any]]:
        events = sorted(
            daemon.events("reloaded") + daemon.events("reload_failed"), key=lambda e: str(e["timestamp"])
        )
        return events[before:]

    event: dict[str, Any] = until(told, "the reload")[0]
    return event


def test_twenty_reloads_under_load_lose_nothing_and_drop_no_connection(
    start: Any, wait_until: Callable[..., Any]
) -> None:
    daemon = start(variant(0))
    connections = [Lines(daemon.address("floor"), f"c{n}") for n in range(5)]
    datagrams = Datagrams(daemon.address("lab"))
    for number in range(1, RELOADS + 1):
        for connection in connections:
            connection.allowed += LINES_FOR_EACH_RELOAD
        datagrams.allowed += LINES_FOR_EACH_RELOAD
        event = reload(daemon, variant(number), wait_until)
        assert event["event"] == "reloaded", event
    sent = {f"c{n}": connection.finish() for n, connection in enumerate(connections)}
    sent["lab"] = datagrams.finish()
    daemon.stop()
    books = daemon.books("streamd.db")
    assert books["floor", "", "", "received"] == sum(sent[f"c{n}"] for n in range(5))
    assert books["lab", "", "", "received"] == sent["lab"], "the kernel's buffer was large enough"
    assert not [key for key, n in books.items() if key[3] == "dropped" and n]
    var = daemon.folder / "var"
    tables = [in_table(var / "main.db", table) for table in ("records", "others")]
    stored = tables[0] + tables[1]
    assert sorted(stored) == sorted((sender, seq) for sender, count in sent.items() for seq in range(count))
    for rows in tables:
        for sender in sent:
            of_sender = [seq for name, seq in rows if name == sender]
            assert of_sender == sorted(of_sender), "the order of each sender is kept"
    more = in_file(var / "more.ndjson") + in_file(var / "other.ndjson") + in_table(var / "more.db", "records")
    assert len(more) == len(set(more)) == books["floor", "more", "more", "stored"], "nothing twice"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("nonsense", "streamd.toml:"),
        (CONFIG.format(**(FIRST | {"steps": '{ type = "filter", where = "1 +" }'})), "steps[0]"),
        (CONFIG.format(**FIRST).replace('listen = "none"', 'listen = "127.0.0.1:0"'), "[admin]"),
        (CONFIG.format(**(FIRST | {"more_path": "/proc/nowhere/x"})).replace('"file"', '"sqlite"'), "/proc"),
    ],
)
def test_a_bad_configuration_keeps_the_one_before_running(
    start: Any, wait_until: Callable[..., Any], config: str, why: str
) -> None:
    daemon = start(CONFIG.format(**FIRST))
    with socket.create_connection(daemon.address("floor"), timeout=30) as sock:
        sock.sendall(b'{"sender":"a","seq":0}\n')
        event = reload(daemon, config, wait_until)
        assert event["event"] == "reload_failed"
        assert why in event["why"]
        assert "Traceback" not in daemon.stderr
        sock.sendall(b'{"sender":"a","seq":1}\n')
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    daemon.stop()
    assert in_table(daemon.folder / "var" / "main.db", "records") == [("a", 0), ("a", 1)]


def test_a_step_keeps_its_state_while_its_configuration_and_its_file_stay(
    start: Any, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "count.py").write_text(
        "seen = 0\n\ndef process(record):\n    global seen\n    seen += 1\n"
        "    record['seen'] = seen\n    return record\n"
    )
    step = f'{{ type = "python", function = "{tmp_path}/count.py:process" }}'
    config = CONFIG.format(**(FIRST | {"steps": step}))
    daemon = start(config)

    def seen(seq: int) -> int:
        daemon.tcp(b'{"sender":"a","seq":%d}\n' % seq)
        sql = (
            f"SELECT json_extract(record, '$.seen') FROM records WHERE json_extract(record, '$.seq') = {seq}"  # noqa: S608 - a number
        )
        rows = wait_until(lambda: daemon.query(sql, "main.db"), f"row {seq}")
        number: int = rows[0][0]
        return number

    assert seen(0) == 1
    event = reload(daemon, config.replace('path = "more.ndjson"', 'path = "other.ndjson"'), wait_until)
    assert (event["steps_kept"], event["sinks_replaced"]) == ("1", "more")
    assert seen(1) == 2
    event = reload(
        daemon,
        CONFIG.format(**(FIRST | {"steps": f'{{ type = "set", fields = {{ a = "1" }} }}, {step}'})),
        wait_until,
    )
    assert event["steps_kept"] == "1", "it has only moved"
    assert seen(2) == 3
    (tmp_path / "count.py").write_text((tmp_path / "count.py").read_text().replace("seen = 0", "seen = 100"))
    event = reload(daemon, config, wait_until)
    assert event["steps_added"] == "main > python[0]"
    assert seen(3) == 101
    daemon.stop()


def test_a_removed_source_ends_with_all_it_has_read_stored(
    start: Any, wait_until: Callable[..., Any]
) -> None:
    with_late = CONFIG.format(
        **(
            FIRST
            | {"more_source": '[sources.late]\ntype = "tcp"\nlisten = "127.0.0.1:0"', "more_from": "late"}
        )
    )
    daemon = start(with_late)
    with socket.create_connection(daemon.address("late"), timeout=30) as sock:
        sock.sendall(b"".join(b'{"sender":"late","seq":%d}\n' % n for n in range(5000)))
        wait_until(lambda: in_file(daemon.folder / "var" / "more.ndjson"), "the first record")
        event = reload(daemon, CONFIG.format(**FIRST), wait_until)
        assert event["sources_removed"] == "late"
        with pytest.raises(OSError):  # noqa: PT011 - refused, or reset
            socket.create_connection(daemon.address("late"), timeout=30).close()
    daemon.stop()
    books = daemon.books("streamd.db")
    stored = in_file(daemon.folder / "var" / "more.ndjson")
    assert len(stored) == books["late", "", "", "received"] == books["late", "more", "more", "stored"] > 0
    assert stored == [("late", n) for n in range(len(stored))]


def test_reloading_without_a_change_changes_nothing(start: Any, wait_until: Callable[..., Any]) -> None:
    daemon = start(CONFIG.format(**FIRST))
    event = reload(daemon, CONFIG.format(**FIRST), wait_until)
    assert {
        key: value for key, value in event.items() if key.split("_")[0] in ("sources", "sinks", "steps")
    } == {
        "sources_kept": "2",
        "sinks_kept": "2",
    }
    daemon.udp(b'{"sender":"a","seq":1}')
    wait_until(lambda: daemon.query("SELECT * FROM records", "main.db"), "the row")
    daemon.stop()


def test_the_level_of_the_log_follows(start: Any, wait_until: Callable[..., Any]) -> None:
    daemon = start(CONFIG.format(**FIRST))
    late = {"more_source": '[sources.late]\ntype = "tcp"\nlisten = "127.0.0.1:0"', "more_from": "late"}
    daemon.config.write_text(CONFIG.format(**(FIRST | late)) + '[log]\nlevel = "error"\n')
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(daemon.events("listening")) == 3, "the new listener")
    event = reload(daemon, "nonsense", wait_until)
    assert (event["event"], event["level"]) == ("reload_failed", "error")
    daemon.tcp(b'{"sender":"a","seq":1}\n')
    daemon.stop()
    assert not daemon.events("stopping"), "an info"


def test_a_listener_is_opened_to_the_world_on_its_port(start: Any, wait_until: Callable[..., Any]) -> None:
    with socket.socket() as sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        sock.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = sock.getsockname()[1], other.getsockname()[1]
    narrow = CONFIG.format(**FIRST)
    for port in ports:
        narrow = narrow.replace('listen = "127.0.0.1:0"', f'listen = "127.0.0.1:{port}"', 1)
    daemon = start(narrow)
    event = reload(daemon, narrow.replace('listen = "127.0.0.1:', 'listen = "0.0.0.0:'), wait_until)
    assert event["sources_replaced"] == "floor, lab"
    wait_until(lambda: len(daemon.events("listening")) == 4, "the new listeners")
    daemon.tcp(b'{"sender":"a","seq":0}\n')
    daemon.udp(b'{"sender":"a","seq":1}')
    wait_until(lambda: len(daemon.query("SELECT * FROM records", "main.db")) == 2, "both records")
    daemon.stop()


def test_a_sink_that_stands_still_does_not_hold_up_a_reload(
    start: Any, wait_until: Callable[..., Any]
) -> None:
    config = CONFIG.format(**(FIRST | {"floor": "buffer = { max_records = 100 }"})).replace(
        'path = "main.db"', 'path = "main.db"\nbuffer = { max_records = 100 }'
    )
    daemon = start(config)
    other = sqlite3.connect(daemon.folder / "var" / "main.db", isolation_level=None, timeout=30)
    other.execute("BEGIN IMMEDIATE")
    connection = Lines(daemon.address("floor"), "c0")
    connection.allowed = 100_000
    wait_until(lambda: daemon.events("sink_retrying"), "the lock to be noticed")
    for number in range(3):
        changed = config.replace("max_records = 100 }", f"max_records = {90 + number} }}", 1)
        event = reload(daemon, changed, wait_until)
        assert event["sources_changed"] == "floor"
    other.execute("ROLLBACK")
    other.close()
    sent = connection.finish()
    daemon.stop()
    assert in_table(daemon.folder / "var" / "main.db", "records") == [("c0", n) for n in range(sent)]


SMALL = """
[admin]
listen = "none"
[sources.{source}]
{reads}
[pipelines.main]
sources = [{sources}]
sinks = ["{sink}"]
[sinks.{sink}]
{writes}
"""


def small(**other: str) -> str:
    """One source, one sink."""
    values = {
        "source": "floor",
        "reads": 'type = "tcp"\nlisten = "127.0.0.1:0"\ncodec = "json"',
        "sink": "out",
        "writes": 'type = "file"\npath = "out.ndjson"',
    }
    values |= other
    return SMALL.format(**({"sources": f'"{values["source"]}"'} | values))


def numbered(first: int, count: int) -> bytes:
    return b"".join(b'{"sender":"x","seq":%d}\n' % number for number in range(first, first + count))


def test_a_sink_and_a_unix_socket_may_get_another_name(start: Any, wait_until: Callable[..., Any]) -> None:
    unix = 'type = "unix"\npath = "in.sock"\ncodec = "json"'
    daemon = start(small(reads=unix))
    path = daemon.folder / "var" / "in.sock"

    def send(data: bytes) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""

    send(numbered(0, 100))
    event = reload(daemon, small(reads=unix, source="other", sink="renamed"), wait_until)
    assert event["sources_added"], event
    wait_until(lambda: len(daemon.events("listening")) == 2, "the socket under its other name")
    send(numbered(100, 100))
    daemon.stop()
    assert in_file(daemon.folder / "var" / "out.ndjson") == [("x", n) for n in range(200)]


def test_a_table_gets_its_rows_in_order_from_a_sink_with_another_name(
    start: Any, wait_until: Callable[..., Any]
) -> None:
    table = 'type = "sqlite"\npath = "x.db"\nbatch = { max_records = 10 }'
    daemon = start(small(writes=table))
    with socket.create_connection(daemon.address("floor"), timeout=60) as sock:
        sock.sendall(numbered(0, 5000))
        event = reload(daemon, small(writes=table, sink="renamed"), wait_until)
        assert event["event"] == "reloaded", event
        sock.sendall(numbered(5000, 5000))
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    daemon.stop()
    assert in_table(daemon.folder / "var" / "x.db", "records") == [("x", n) for n in range(10000)]


def test_a_file_that_cannot_be_written_is_refused_before_anything_changes(
    start: Any, wait_until: Callable[..., Any]
) -> None:
    daemon = start(small())
    event = reload(daemon, small(writes='type = "file"\npath = "/proc/nowhere/x"'), wait_until)
    assert event["event"] == "reload_failed"
    daemon.tcp(numbered(0, 10))
    daemon.stop()
    assert len(in_file(daemon.folder / "var" / "out.ndjson")) == 10


def test_a_listener_that_waits_for_its_port_is_gone_with_the_next_reload(
    start: Any, wait_until: Callable[..., Any]
) -> None:
    listen = 'type = "tcp"\nlisten = "{}:{}"\ncodec = "json"'
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", 0))
        taken.listen()
        port = taken.getsockname()[1]
        daemon = start(small(reads=listen.format("127.0.0.1", port)))
        reload(daemon, small(reads=listen.format("[::]", port)), wait_until)
        wait_until(lambda: daemon.events("reload_cannot_open"), "the port that is taken")
        event = reload(daemon, small(source="other"), wait_until)
        assert event["sources_removed"] == "floor"
    daemon.tcp(numbered(0, 10), source="other")
    with socket.socket() as free:
        free.bind(("", port))  # nobody listens there
    daemon.stop()


def test_connections_that_wait_for_room_go_on_after_a_reload_that_failed(
    start: Any, wait_until: Callable[..., Any]
) -> None:
    tight = "\nbuffer = {{ max_records = 100 }}"
    reads = 'type = "tcp"\nlisten = "127.0.0.1:{}"\ncodec = "json"' + tight
    writes = 'type = "sqlite"\npath = "x.db"' + tight.format()
    daemon = start(small(reads=reads.format(0), writes=writes))
    lock = sqlite3.connect(daemon.folder / "var" / "x.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    with (
        socket.create_connection(daemon.address("floor"), timeout=60) as sock,
        socket.socket() as taken,
        socket.socket() as free,
    ):
        sock.sendall(numbered(0, 5000))
        wait_until(lambda: daemon.events("sink_retrying"), "the lock")
        for each in (taken, free):
            each.bind(("127.0.0.1", 0))
        taken.listen()
        port = free.getsockname()[1]
        free.close()
        second = f'[sources.more]\ntype = "tcp"\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n'
        event = reload(
            daemon,
            small(reads=reads.format(port), writes=writes, sources='"floor", "more"') + second,
            wait_until,
        )
        assert event["event"] == "reload_failed"
        lock.execute("ROLLBACK")
        lock.close()
        daemon.wait_rows(5000, db="x.db")
    daemon.stop()


def test_a_followed_file_is_read_once_through_reloads_that_change_its_source(
    start: Any, wait_until: Callable[..., Any]
) -> None:
    reads = 'type = "file"\npath = "app.log"\ncodec = "json"\nbuffer = {{ max_records = {} }}'
    table = 'type = "sqlite"\npath = "x.db"'
    daemon = start(small(reads=reads.format(1000), writes=table))
    log = daemon.folder / "app.log"
    for number in range(5):
        with log.open("ab") as file:
            file.write(numbered(2000 * number, 2000))
        event = reload(daemon, small(reads=reads.format(1001 + number), writes=table), wait_until)
        assert event["sources_changed"] == "floor"
    daemon.wait_rows(10000, db="x.db")
    daemon.stop()
    assert in_table(daemon.folder / "var" / "x.db", "records") == [("x", n) for n in range(10000)]


@pytest.mark.parametrize(
    ("reads", "writes", "make", "words"),
    [
        ("", 'type = "file"\npath = "out.csv"\nformat = "csv"\ncolumns = ["seq"]', "",
         "does not begin like a file of this sink"),
        ("", 'type = "file"\npath = "foreign.log"', "foreign.log", "does not begin like a file of this sink"),
        ('type = "unix"\npath = "run/in.sock"\ncodec = "json"', "", "", "make its folder"),
        ('type = "unix"\npath = "foreign.log"\ncodec = "json"', "", "foreign.log",
         "a file that is no socket"),
        ('type = "tcp"\nlisten = "192.0.2.1:9999"\ncodec = "json"', "", "", "this host has no such address"),
    ],
)  # fmt: skip
def test_what_this_host_refuses_is_told_by_a_dry_run_and_by_the_reload_in_the_same_words(
    start: Any, wait_until: Callable[..., Any], reads: str, writes: str, make: str, words: str
) -> None:
    first = {
        "reads": 'type = "tcp"\nlisten = "127.0.0.1:0"\ncodec = "json"',
        "writes": 'type = "file"\npath = "out.csv"\nformat = "csv"\ncolumns = ["seq", "sender"]',
    }
    daemon = start(small(**first))
    out = daemon.folder / "var" / "out.csv"
    daemon.tcp(numbered(0, 10))
    wait_until(lambda: out.stat().st_size, "lines in the file")
    if make:
        (daemon.folder / "var" / make).write_text("somebody else's\n")
    before = sorted((daemon.folder / "var").rglob("*"))
    daemon.config.write_text(small(reads=reads or first["reads"], writes=writes or first["writes"]))
    code, said = daemon.control("POST", "/reload?dry_run=1")
    assert (code, words in said) == (503, True), said
    assert daemon.control("POST", "/reload") == (code, said)
    assert sorted((daemon.folder / "var").rglob("*")) == before
    daemon.tcp(numbered(0, 10))
    daemon.stop()
    assert out.read_bytes().count(b"\r\n") == 21


HANGING = """
[admin]
listen = "none"
[daemon]
drain_timeout = "{timeout}"
workers = 2
[ledger]
interval = "0.2s"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["floor"]
sinks = ["main"]
steps = [{{ type = "python", function = "step.py:{function}", timeout = "600s" }}]
[pipelines.other]
sources = ["floor"]
sinks = ["other"]
[sinks.main]
type = "sqlite"
path = "main.db"
[sinks.other]
type = "sqlite"
path = "other.db"
"""


def test_a_reload_that_runs_out_of_time_counts_what_it_gives_up_and_the_rest_goes_on(
    start: Any, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "step.py").write_text(
        "import asyncio\n\nasync def hang(record):\n    await asyncio.sleep(3600 if record['seq'] else 0)\n"
        "    return record\n\nasync def go_on(record):\n    return record\n"
    )
    daemon = start(HANGING.format(timeout="30s", function="hang"))
    with socket.create_connection(daemon.address("floor"), timeout=30) as sock:

        def send(*seqs: int) -> None:
            sock.sendall(b"".join(b'{"sender":"a","seq":%d}\n' % seq for seq in seqs))

        send(0)
        daemon.wait_rows(1, db="main.db")
        send(1, 2, 3)
        wait_until(lambda: daemon.books()["floor", "main", "", "in_flight"] == 3, "the batch that hangs")
        event = reload(daemon, HANGING.format(timeout="1s", function="go_on"), wait_until)
        assert event["event"] == "reloaded", event
        (late,) = daemon.events("reload_timeout")
        assert (late["records_left"], late["waited_s"]) == (3, 1.0)
        send(4, 5)
        daemon.wait_rows(3, db="main.db")
        daemon.wait_rows(6, db="other.db")
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    daemon.stop()
    books = daemon.books()
    assert {
        counter: books["floor", "main", "", counter] for counter in ("in", "out", "dropped", "in_flight")
    } == {"in": 6, "out": 3, "dropped": 3, "in_flight": 0}
    assert daemon.reasons("dropped") == {"reload": 3}
    assert books["floor", "other", "other", "stored"] == 6
    assert books["floor", "", "", "decoded"] == 6
