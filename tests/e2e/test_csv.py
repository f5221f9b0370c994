"""CSV with headers, from real clients to rows, with books that balance."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CSV = """
[admin]
listen = "127.0.0.1:0"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "csv"
[sources.log]
type = "file"
path = "log.csv"
rotate_wait = "100ms"
codec = { type = "csv", types = "auto" }
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = { type = "csv", delimiter = ";" }
[sources.host]
type = "unix"
path = "s.sock"
codec = "csv"
[pipelines.main]
sources = ["floor", "log", "lab", "host"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
"""


def nc(daemon: Any, text: bytes) -> None:
    """What `nc -N` does: send, say that no more comes, and wait for the end of the other side."""
    with socket.create_connection(daemon.address("floor"), 30) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass


def data(daemon: Any, source: str) -> list[str]:
    rows = daemon.query(f"SELECT record FROM records WHERE source = '{source}' ORDER BY id")  # noqa: S608
    return [row[0] for row in rows]


def connect(daemon: Any) -> socket.socket:
    return socket.create_connection(daemon.address("floor"), timeout=30)


def test_each_connection_has_the_header_it_began_with(start: Callable[..., Any], wait_until: Any) -> None:
    daemon = start(CSV)
    one, two = connect(daemon), connect(daemon)
    one.sendall(b"sensor,value\ns-1,1\n")
    two.sendall(b"value,unit,sensor\n2,C,s-2\n")
    daemon.wait_rows(2)
    status = daemon.control("GET", "/status")[1]
    assert '"held": 2' in status or '"held":2' in status
    one.sendall(b"s-1,3\nbroken\n")
    two.sendall(b'4,"C, or F",s-2\n')
    daemon.wait_rows(4)
    one.close()
    nc(daemon, b"a\n5")  # another header, after a reconnect; the row has no line end
    nc(daemon, b"x,x\n1,2\n")  # refused, and what follows it
    daemon.wait_rows(5)
    two.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    two.close()  # with a reset
    wait_until(lambda: len(daemon.dead_letters("floor")) == 3)
    daemon.stop()
    assert sorted(data(daemon, "floor")) == sorted([
        '{"sensor":"s-1","value":"1"}', '{"sensor":"s-1","value":"3"}',
        '{"value":"2","unit":"C","sensor":"s-2"}', '{"value":"4","unit":"C, or F","sensor":"s-2"}',
        '{"a":"5","@flag":"unterminated"}',
    ])  # fmt: skip
    assert sorted(daemon.dead_letters("floor")) == [
        ("decode", "csv:fields", b"broken"), ("decode", "csv:header", b"x,x"),
        ("decode", "csv:no_header", b"1,2"),
    ]  # fmt: skip
    (event,) = daemon.events("frames_unusable")
    assert (event["reason"], event["source"]) == ("csv:header", "floor")
    books = daemon.books()
    assert books["floor", "", "", "received"] == 11
    assert books["floor", "", "", "decoded"] == 8, "three headers and five rows"


def test_a_stop_in_the_middle_of_connections_loses_no_frame(start: Callable[..., Any]) -> None:
    daemon = start(CSV)
    open_ones = [connect(daemon) for _ in range(20)]
    for n, sock in enumerate(open_ones):
        sock.sendall(b"n\n%d\n" % n)
    daemon.wait_rows(20)
    daemon.stop()
    assert daemon.books()["floor", "", "", "decoded"] == 40
    for sock in open_ones:
        sock.close()


def test_two_connections_of_one_process_have_headers_of_their_own(start: Callable[..., Any]) -> None:
    daemon = start(CSV)
    path = str(daemon.folder / "var" / "s.sock")
    socks = []
    for header in (b"a\n", b"b\n"):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        sock.sendall(header)
        socks.append(sock)
    for sock in socks:
        sock.sendall(b"1\n")
    daemon.wait_rows(2)
    daemon.stop()
    for sock in socks:
        sock.close()
    assert sorted(data(daemon, "host")) == ['{"a":"1"}', '{"b":"1"}']


def test_a_datagram_has_its_own_header(start: Callable[..., Any], wait_until: Any) -> None:
    daemon = start(CSV)
    daemon.udp(b"a;b\n1;2\n3;4\n", b"b\n5\n", b"1;2")
    daemon.wait_rows(3)
    wait_until(lambda: len(daemon.dead_letters("lab")) == 1)
    daemon.stop()
    assert data(daemon, "lab") == ['{"a":"1","b":"2"}', '{"a":"3","b":"4"}', '{"b":"5"}']
    assert daemon.dead_letters("lab") == [("decode", "csv:no_header", b"1;2")]


def test_a_file_goes_on_with_its_header_after_a_kill_and_a_rotation(
    start: Callable[..., Any], wait_until: Any
) -> None:
    daemon = start(CSV, ready=False)
    log = daemon.folder / "log.csv"
    log.write_text("sensor,value\ns-1,1\ns-1,2\n")
    daemon.wait_ready()
    daemon.wait_rows(2)
    position = daemon.folder / "var" / "positions" / "log.json"
    wait_until(lambda: position.exists() and f'"offset": {log.stat().st_size}' in position.read_text())
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()
    with log.open("a") as file:
        file.write("s-1,3\n")
    daemon = start(CSV)
    daemon.wait_rows(3)
    log.rename(daemon.folder / "log.csv.1")
    log.write_text("value,sensor,unit\n4,s-2,C\n")
    daemon.wait_rows(4)
    daemon.stop()
    assert data(daemon, "log") == [
        '{"sensor":"s-1","value":1}', '{"sensor":"s-1","value":2}', '{"sensor":"s-1","value":3}',
        '{"value":4,"sensor":"s-2","unit":"C"}',
    ]  # fmt: skip
    assert daemon.dead_letters("log") == []


@pytest.fixture
def reload(wait_until: Any) -> Callable[[Any, str], None]:
    """Gives the daemon another configuration, and waits until that is in force."""

    def change(daemon: Any, config: str) -> None:
        before = len(daemon.events("reloaded"))
        daemon.config.write_text(config)
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(daemon.events("reloaded")) > before)

    return change


CODEC = 'codec = "csv"'
SCHEMA = """
[schemas.reading]
a = "int"
"""


def test_a_reload_with_other_options_keeps_the_headers_of_open_connections(
    start: Callable[..., Any], reload: Callable[[Any, str], None]
) -> None:
    daemon = start(CSV)
    socks = [connect(daemon), connect(daemon)]
    for n, sock in enumerate(socks):
        sock.sendall(b"a,b\n1,2\n" if n else b"a\n1\n")
    daemon.wait_rows(2)
    for done, config in enumerate(
        [
            CSV.replace("rotate_wait", "# rotate_wait"),
            CSV.replace(CODEC, 'codec = { type = "csv", types = "auto" }', 1),
            CSV.replace(CODEC, 'codec = "csv"\nschema = "reading"', 1) + SCHEMA,
            CSV,
        ],
        2,
    ):
        reload(daemon, config)
        for n, sock in enumerate(socks):
            sock.sendall(b"%d,x\n" % done if n else b"%d\n" % done)
        daemon.wait_rows(2 * done)
        assert '"held":2' in daemon.control("GET", "/status")[1].replace(" ", "")
    socks[0].close()
    socks[1].sendall(b"b,c\n")  # a row like any other: the header stays the first one
    daemon.wait_rows(11)
    socks[1].close()
    daemon.stop()
    rows = [json.loads(text) for text in data(daemon, "floor")]
    assert [row["a"] for row in rows if "b" not in row] == ["1", "2", 3, 4, "5"]
    assert [row for row in rows if "b" in row] == [
        {"a": "1", "b": "2"}, {"a": "2", "b": "x"}, {"a": 3, "b": "x"}, {"a": 4, "b": "x"},
        {"a": "5", "b": "x"}, {"a": "b", "b": "c"},
    ]  # fmt: skip
    assert daemon.dead_letters("floor") == []
    assert daemon.books()["floor", "", "", "received"] == 13


@pytest.mark.parametrize(
    "other",
    [
        'codec = { type = "csv", delimiter = ";" }',
        """codec = { type = "csv", quote = "'" }""",
        'codec = "text"\n',
    ],
    ids=["delimiter", "quote", "another codec between"],
)
def test_a_codec_that_cannot_go_on_with_a_header_takes_no_row_for_one(
    start: Callable[..., Any], wait_until: Any, reload: Callable[[Any, str], None], other: str
) -> None:
    daemon = start(CSV)
    sock = connect(daemon)
    sock.sendall(b"a\n1\n")
    daemon.wait_rows(1)
    reload(daemon, CSV.replace(CODEC, other, 1))
    if "text" in other:
        reload(daemon, CSV)
    sock.sendall(b"3\n")
    wait_until(lambda: daemon.dead_letters("floor"))
    nc(daemon, b"b\n4\n")
    daemon.wait_rows(2)
    sock.close()
    daemon.stop()
    assert data(daemon, "floor") == ['{"a":"1"}', '{"b":"4"}']
    assert daemon.dead_letters("floor") == [("decode", "csv:no_header", b"3")]


SLOW = """
import asyncio
from pathlib import Path

async def wait(record):
    while not (Path(__file__).parent / "go").exists():
        await asyncio.sleep(0.01)
    return record
"""


def test_rows_that_wait_in_the_buffer_keep_their_header_over_a_reload_that_waits_for_no_step(
    start: Callable[..., Any], tmp_path: Path, wait_until: Any, reload: Callable[[Any, str], None]
) -> None:
    (tmp_path / "steps.py").write_text(SLOW)
    step = 'steps = [{ type = "python", function = "steps.py:wait", concurrency = 1, timeout = "1m" }]\nsinks'
    daemon_settings = '[daemon]\nworkers = 1\nmax_batch = 2\ndrain_timeout = "500ms"\n'
    config = daemon_settings + CSV.replace("sinks", step, 1)
    log = tmp_path / "log.csv"
    log.write_text("n\n0\n")
    daemon = start(config)

    def waiting() -> list[int]:
        sources = json.loads(daemon.control("GET", "/status")[1])["sources"]
        return [source["frames"]["waiting"] for source in sources if source["name"] in ("log", "floor")]

    with log.open("a") as file:
        for count in range(1, 51):
            file.write(f"{count}\n")
    sock = connect(daemon)
    sock.sendall(b"n\n" + b"".join(b"%d\n" % n for n in range(50)))
    wait_until(lambda: min(waiting()) > 30)
    auto = 'codec = { type = "csv", types = "auto" }'
    reload(daemon, config.replace('types = "auto"', 'types = "text"').replace(CODEC, auto, 1))
    (tmp_path / "go").touch()
    daemon.wait_rows(101 - daemon.events("reload_timeout")[0]["records_left"])
    sock.close()
    daemon.stop()
    assert (daemon.dead_letters("log"), daemon.dead_letters("floor")) == ([], [])
    for source, end in (("log", 51), ("floor", 50)):
        rows = [int(json.loads(text)["n"]) for text in data(daemon, source)]
        assert rows == [*range(end - len(rows), end)]


def test_a_codec_learns_at_a_reload_that_frames_are_no_datagrams_any_more(
    start: Callable[..., Any], wait_until: Any, reload: Callable[[Any, str], None]
) -> None:
    daemon = start(CSV)
    daemon.udp(b"a;b\n1;2\n")
    daemon.wait_rows(1)
    reload(daemon, CSV.replace('type = "udp"', 'type = "tcp"'))
    wait_until(lambda: len([e for e in daemon.events("listening") if e.get("source") == "lab"]) == 2)
    daemon.tcp(b"a;b\n3;4\n5;6\n", "lab")
    daemon.wait_rows(3)
    daemon.stop()
    assert data(daemon, "lab") == [f'{{"a":"{n}","b":"{n + 1}"}}' for n in (1, 3, 5)]
    assert daemon.dead_letters("lab") == []


def test_a_header_that_the_buffer_dropped_is_missed_and_not_replaced_by_a_row(
    start: Callable[..., Any], wait_until: Any
) -> None:
    daemon = start(CSV.replace('codec = "csv"', 'codec = "csv"\nmax_frame = "16B"\noversize = "drop"', 1))
    sock = connect(daemon)
    sock.sendall(b"a,%s\n1,2\n3,4\n" % (b"b" * 40))
    wait_until(lambda: len(daemon.dead_letters("floor")) == 2)
    sock.close()
    daemon.stop()
    assert [letter[1] for letter in daemon.dead_letters("floor")] == ["csv:no_header"] * 2
    assert daemon.reasons("dropped", "floor") == {"oversize": 1}


def streamd(folder: Path, *words: str, text: bytes = b"", **env: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "streamd", *words, "--config", "streamd.toml"]
    done = subprocess.run(
        command, input=text, capture_output=True, check=False, timeout=60, cwd=folder,
        env={**os.environ, **env},
    )  # fmt: skip
    return done.returncode, done.stdout.decode() + done.stderr.decode()


def test_a_row_that_lost_its_header_is_replayed_with_a_header_before_it(
    start: Callable[..., Any], wait_until: Any
) -> None:
    daemon = start(CSV)
    nc(daemon, b"a,b\n1,2,3\n")
    wait_until(lambda: daemon.dead_letters("floor"))
    daemon.stop()
    streamd(daemon.folder, "dead-letters", "replay", "--reason", "csv:fields")
    assert [letter[2] for letter in daemon.dead_letters("floor")] == [b"1,2,3"], "no header: it stays"
    (number,) = daemon.query("SELECT max(id) FROM dead_letters", "dead-letters.db")[0]
    editor = daemon.folder / "editor"
    editor.write_text("#!/bin/sh\nprintf 'a,b,c\\n1,2,3\\n' > \"$1\"\n")
    editor.chmod(0o755)
    code, said = streamd(daemon.folder, "dead-letters", "edit", str(number), EDITOR=str(editor), VISUAL="")
    assert code == 0, said
    assert data(daemon, "floor") == ['{"a":"1","b":"2","c":"3"}']
    assert daemon.dead_letters("floor") == []


def test_a_sample_is_tried_with_its_header(tmp_path: Path) -> None:
    (tmp_path / "streamd.toml").write_text(CSV)
    code, said = streamd(tmp_path, "try", "--source", "floor", text=b"a,b\n1,2\n3\n")
    assert code == 1
    assert "held      by the codec" in said
    assert '{"a":"1","b":"2"}' in said.replace("'", "")
    assert "csv:fields" in said


COUNTED = """
[ledger]
interval = "200ms"
[sources.log]
type = "file"
path = "log.csv"
framing = "nul"
codec = { type = "csv", types = "auto" }
[pipelines.main]
sources = ["log"]
steps = [{ type = "count", by = "key" }]
sinks = ["counted"]
[sinks.counted]
type = "sqlite"
path = "streamd.db"
table = "counted"
columns = { seq = "int", n = "int" }
"""
THIRD_PARTY = Path(__file__).parents[1] / "third_party"


@pytest.mark.parametrize("behind", [True, False], ids=["position behind the state", "both at the end"])
@pytest.mark.parametrize(
    ("framing", "first", "second"),
    [
        ("newline", b"seq,key\n1,a\n2,a\n", b"3,a\n"),
        ("nul", b"seq,key\n1,a\n2,a\n\0", b"3,a\n\0"),
    ],
    ids=["a header alone", "rows behind the header"],
)
def test_the_state_of_a_step_goes_on_over_a_kill_and_so_does_the_header(
    start: Callable[..., Any], wait_until: Any, framing: str, first: bytes, second: bytes, *, behind: bool
) -> None:
    config, env = COUNTED.replace('"nul"', f'"{framing}"'), {"PYTHONPATH": str(THIRD_PARTY)}
    daemon = start(config, ready=False, **env)
    log, position = daemon.folder / "log.csv", daemon.folder / "var" / "positions" / "log.json"
    log.write_bytes(first)
    daemon.wait_ready()
    wait_until(lambda: position.exists() and json.loads(position.read_text())["offset"] == len(first))
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()
    if behind:  # as after a kill between the two writes
        remembered = json.loads(position.read_text())
        position.write_text(json.dumps({**remembered, "offset": 0, "frames": 0, "before": ""}))
    with log.open("ab") as file:
        file.write(second)
    daemon = start(config, **env)
    daemon.wait_rows(3, "counted")
    daemon.stop()
    assert daemon.query("SELECT seq, n FROM counted ORDER BY rowid") == [(1, 1), (2, 2), (3, 3)]
    assert daemon.dead_letters("log") == []
