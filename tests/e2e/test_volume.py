"""Many records from many senders at once: the books hold to the record, and the table is what they say."""

import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

LINES_AT_ONCE = 1000
TYPED = """
[admin]
listen = "127.0.0.1:0"
[schemas.reading]
sender = "str"
seq = "int"
value = "float"
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
sinks = ["readings"]
[sinks.readings]
type = "sqlite"
table = "readings"
schema = "reading"
metadata = true
"""


def readings(sender: str, first: int, count: int) -> list[bytes]:
    return [
        b'{"sender":"%s","seq":%d,"value":%d.5}' % (sender.encode(), seq, seq % 100)
        for seq in range(first, first + count)
    ]


def connected(address: tuple[str, int]) -> socket.socket:
    sock = socket.create_connection(address, timeout=100)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def finish(sock: socket.socket) -> None:
    """Say that this is all, and wait until the daemon has read it."""
    with sock:
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""


def send_lines(address: tuple[str, int], sender: str, count: int) -> None:
    sock = connected(address)
    for first in range(0, count, LINES_AT_ONCE):
        lines = readings(sender, first, min(LINES_AT_ONCE, count - first))
        sock.sendall(b"\n".join(lines) + b"\n")
    finish(sock)


def send_datagrams(address: tuple[str, int], bind: str, sender: str, count: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((bind, 0))
        sock.connect(address)
        for first in range(0, count, LINES_AT_ONCE):
            for line in readings(sender, first, min(LINES_AT_ONCE, count - first)):
                sock.send(line)


def send_all(daemon: Any, connections: int, lines: int, sockets: int, datagrams: int) -> None:
    """Everything at once: `lines` on each connection, `datagrams` from each socket, each an address."""
    with ThreadPoolExecutor(connections + sockets) as senders:
        floor, lab = daemon.address("floor"), daemon.address("lab")
        waits = [senders.submit(send_lines, floor, f"tcp-{n}", lines) for n in range(connections)]
        waits += [
            senders.submit(send_datagrams, lab, f"127.0.0.{n + 1}", f"udp-{n}", datagrams)
            for n in range(sockets)
        ]
        for wait in waits:
            wait.result()


def in_order(daemon: Any, table: str = "readings", db: str = "streamd.db") -> Counter[str]:
    """Rows of each sender, after a look at every one: no sequence number twice or before a lower one."""
    last: dict[str, int] = {}
    rows: Counter[str] = Counter()
    for sender, seq in daemon.query(f"SELECT sender, seq FROM {table} ORDER BY rowid", db):  # noqa: S608
        assert seq > last.get(sender, -1), (sender, seq)
        last[sender] = seq
        rows[sender] += 1
    return rows


def lost_datagrams(books: Any) -> int:
    return int(books["lab", "", "", "dropped"] + books["lab", "", "", "kernel_dropped"])


def test_a_million_lines_and_300000_datagrams_at_once(start: Callable[..., Any]) -> None:
    daemon = start(TYPED)
    send_all(daemon, connections=50, lines=20_000, sockets=20, datagrams=15_000)
    peak_bytes = daemon.peak_bytes
    daemon.stop()

    books = daemon.books()
    assert books["floor", "", "", "received"] == 1_000_000
    assert books["floor", "main", "readings", "stored"] == 1_000_000
    assert books["lab", "", "", "received"] + books["lab", "", "", "kernel_dropped"] == 300_000
    stored = books["lab", "main", "readings", "stored"]
    assert stored + lost_datagrams(books) == 300_000
    rows = in_order(daemon)
    assert {sender: n for sender, n in rows.items() if sender.startswith("tcp")} == {
        f"tcp-{n}": 20_000 for n in range(50)
    }
    assert sum(n for sender, n in rows.items() if sender.startswith("udp")) == stored
    hosts = "SELECT DISTINCT sender, substr(peer, 1, instr(peer, ':') - 1) FROM readings WHERE source = 'lab'"
    assert all(host == f"127.0.0.{int(sender[4:]) + 1}" for sender, host in daemon.query(hosts))
    # Two source buffers and one sink buffer of 64 MiB each, and what the process itself needs.
    assert peak_bytes < (3 * 64 + 100) * 2**20


STEPS = """
import streamd

def enrich(record):
    record["twice"] = record["value"] * 2
    if record["seq"] % 10 == 1:
        return [record, record | {"copy": True}]
    if record["seq"] % 10 == 2:
        raise streamd.Reject("a two")
    return record
"""
STEPPED = """
[admin]
listen = "127.0.0.1:0"
[dead_letters]
burst = 1000000
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
buffer = { max_records = 2000 }
[pipelines.main]
sources = ["lab", "floor"]
sinks = ["one", "two"]
steps = [
  { type = "python", function = "steps.py:enrich" },
  { type = "filter", where = "seq % 10 != 0" },
]
[sinks.one]
type = "sqlite"
table = "one"
columns = { sender = "str", seq = "int", twice = "float", copy = "bool" }
[sinks.two]
type = "sqlite"
path = "second.db"
table = "two"
columns = { sender = "str", seq = "int" }
buffer = { max_records = 1000 }
"""


@pytest.mark.parametrize("mode", ["record", "batch"])
def test_a_python_step_a_filter_and_two_sinks_account_for_every_record(
    start: Callable[..., Any], tmp_path: Any, mode: str
) -> None:
    config, steps = STEPPED, STEPS
    if mode == "batch":
        config = config.replace("steps.py:enrich", 'steps.py:enrich_all", mode = "batch')
        steps += "\ndef enrich_all(records):\n    return [r | {'twice': r['value'] * 2} for r in records]\n"
    (tmp_path / "steps.py").write_text(steps)
    daemon = start(config)
    send_all(daemon, connections=20, lines=3_000, sockets=5, datagrams=2_000)
    daemon.stop()

    books = daemon.books()
    each = 6_000  # of 60,000 lines, those with one last digit
    expected = {"in": 60_000, "emitted": each, "rejected": each, "filtered": each, "out": 54_000}
    if mode == "batch":
        expected = {"in": 60_000, "emitted": 0, "rejected": 0, "filtered": each, "out": 54_000}
    assert {counter: books["floor", "main", "", counter] for counter in expected} == expected
    assert books["floor", "main", "one", "stored"] == books["floor", "main", "two", "stored"] == 54_000
    assert books["lab", "", "", "decoded"] + lost_datagrams(books) == 10_000
    for db, table in (("streamd.db", "one"), ("second.db", "two")):
        total = books["floor", "main", table, "stored"] + books["lab", "main", table, "stored"]
        assert daemon.query(f"SELECT count(*) FROM {table}", db) == [(total,)]  # noqa: S608
        assert daemon.query(
            f"SELECT count(*), count(DISTINCT seq) FROM {table} WHERE sender = 'tcp-7'",  # noqa: S608
            db,
        ) == [(2_700, 2_400 if mode == "record" else 2_700)]
    assert len(daemon.dead_letters("floor")) == expected["rejected"]
    assert {letter[:2] for letter in daemon.dead_letters("floor")} <= {("python[0]", "rejected")}


def test_lines_of_one_send_each_of_many_connections_keep_their_order(start: Callable[..., Any]) -> None:
    daemon = start(TYPED)
    sockets = [connected(daemon.address("floor")) for _ in range(200)]
    for seq in range(50):
        for n, sock in enumerate(sockets):
            sock.sendall(readings(f"tcp-{n}", seq, 1)[0] + b"\n")
    for sock in sockets:
        finish(sock)
    daemon.stop()
    assert in_order(daemon) == {f"tcp-{n}": 50 for n in range(200)}
    assert daemon.books()["floor", "main", "readings", "stored"] == 10_000
    peers = daemon.query("SELECT sender, count(DISTINCT peer) FROM readings GROUP BY sender")
    assert {count for _, count in peers} == {1}


@pytest.mark.parametrize("framing", ["newline", "octet_counting", "auto"])
def test_a_stream_in_writes_of_one_byte(start: Callable[..., Any], framing: str) -> None:
    daemon = start(TYPED.replace('type = "tcp"', f'type = "tcp"\nframing = "{framing}"'))
    lines = readings("tcp-0", 0, 200)
    if framing == "newline":
        stream = b"".join(line + b"\r\n" for line in lines)
    else:
        stream = b"".join(b"%d %s" % (len(line), line) for line in lines)
    sock = connected(daemon.address("floor"))
    for at in range(len(stream)):
        sock.send(stream[at : at + 1])
    finish(sock)
    daemon.stop()
    assert in_order(daemon) == {"tcp-0": 200}
    assert daemon.books()["floor", "main", "readings", "stored"] == 200
