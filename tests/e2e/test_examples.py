"""Every shipped configuration is run by the daemon, with the input it is meant for."""

import contextlib
import logging
import re
import shutil
import socket
import struct
import threading
from collections.abc import Callable
from logging.handlers import SysLogHandler
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from streamd.sensors import FaultySensors

FOLDER = Path(__file__).parents[2] / "config"


class Example(NamedTuple):
    """Source and bytes of each sending, then what a query of a database gives."""

    sent: list[tuple[str, bytes]]
    db: str
    sql: str
    rows: list[tuple[Any, ...]]
    rejected: int = 0
    filtered: int = 0
    awaited: int = 0
    """Rows of `records` that come by themselves: nothing drains a file or a generator at the stop."""
    stored: int | None = None
    """Where it is another number than that of `rows`."""
    unmatched: int = 0


MADE = len(FaultySensors(7, 1000, gaps=0.02).lines(500))
"""What `generate` makes of its 500 readings, in whatever pieces: some are missing."""
READING = b'{"ts":"2026-01-31T09:00:00+01:00","sensor":"s-1","value":%d}'
COLD = b"\n".join(
    b'{"ts":"2026-01-31T08:%02d:%02dZ","sensor":"s-1","value":%d}'
    % (n // 6, n % 6 * 10, 60 if n == 40 else 20 + n % 2)
    for n in range(50)
)
"""50 readings, one every ten seconds; the one of 08:06:40 is too high."""
PLANT = b'{"ts":"2026-01-31T08:%b","sensor":"s-%02d","seq":%d,"value":%d,"unit":"C"}'
BINARY = struct.Struct("<Q8sIf")
EXAMPLES = {
    "streamd.toml": Example(
        [
            ("datagrams", b'{"sensor":"s-1","value":21.5}\n'),
            ("datagrams", "数据".encode()),
            ("lines", b'{"sensor":"s-2"}\n17 <13>hello, world!hello\n'),
        ],
        "streamd.db",
        "SELECT source, record FROM records ORDER BY source, id",
        [
            ("datagrams", '{"sensor":"s-1","value":21.5}'),
            ("datagrams", '{"message":"数据"}'),
            ("lines", '{"sensor":"s-2"}'),
            ("lines", '{"message":"<13>hello, world!"}'),
            ("lines", '{"message":"hello"}'),
        ],
    ),
    "sensors.toml": Example(
        [
            ("lab", READING % 20),
            ("lab", READING % 151),
            ("floor", READING % 21 + b"\n" + READING % -51 + b"\n" + b'{"sensor":"s-1","value":1}\n'),
        ],
        "sensors.db",
        "SELECT ts, sensor, seq, value, source FROM readings ORDER BY value",
        [
            ("2026-01-31T08:00:00.000000Z", "s-1", None, 20.0, "lab"),
            ("2026-01-31T08:00:00.000000Z", "s-1", None, 21.0, "floor"),
        ],
        rejected=3,
    ),
    "gelf.toml": Example(
        [
            (
                "gelf_udp",
                b'{"host":"web-1","short_message":"hello","timestamp":1769846400.5,"level":6,"_a":1}',
            ),
            ("gelf_udp", b"\x1e\x0f12345678\1\2" + b'"bye","timestamp":0}'),
            ("gelf_udp", b"\x1e\x0f12345678\0\2" + b'{"short_message":'),
            (
                "gelf_tcp",
                b'{"short_message":"two\\nlines","timestamp":1,"_container_name":"db"}\0{"host":"h"}\0',
            ),
        ],
        "logs.db",
        "SELECT timestamp, host, level, short_message, container_name, extra, source FROM logs"
        " ORDER BY timestamp DESC",
        [
            ("2026-01-31T08:00:00.500000Z", "web-1", 6, "hello", None, '{"a":1}', "gelf_udp"),
            ("1970-01-01T00:00:01.000000Z", None, None, "two\nlines", "db", None, "gelf_tcp"),
            ("1970-01-01T00:00:00.000000Z", None, None, "bye", None, None, "gelf_udp"),
        ],
        rejected=1,
    ),
    "iot-sensors.toml": Example(
        [
            ("radio", PLANT % (b"00:00Z", 2, 1, 20)),
            ("radio", PLANT % (b"00:00Z", 2, 1, 20)),
            ("cable", PLANT % (b"00:00Z", 1, 1, 20) + b"\n" + PLANT % (b"00:10Z", 1, 2, 52)),
            ("cable", PLANT % (b"00:20Z", 1, 3, -999) + b"\n" + PLANT % (b"01:30Z", 1, 20, 20)),
        ],
        "plant.db",
        "SELECT sensor, window_start, n, mean, lowest, highest, complete FROM minutes"
        " UNION ALL SELECT sensor, window_start, 0, 0, lowest, highest, 0 FROM alarms"
        " UNION ALL SELECT sensor, NULL, gap_from, gap_to, missing, 0, 0 FROM gaps",
        [
            ("s-01", "2026-01-31T08:00:00.000000Z", 2, 36.0, 20.0, 52.0, 0),
            ("s-01", "2026-01-31T08:00:00.000000Z", 0, 0, 20.0, 52.0, 0),
            ("s-01", None, 4, 8, 5, 0, 0),
        ],
        rejected=1,
        filtered=1,
        unmatched=6 + 8,  # readings that are no gaps, and readings and first signs of life that are no alarms
    ),
    "alarms.toml": Example(
        [("plant", COLD + b"\n")],
        "alarms.db",
        "SELECT 'reading', count(*), min(ts), max(ts) FROM readings"
        " UNION ALL SELECT sensor, value, ts, anomaly_high FROM alarms"
        " UNION ALL SELECT capture_flagged, count(*), min(ts), max(ts) FROM captured GROUP BY 1",
        [
            ("reading", 50, "2026-01-31T08:00:00.000000Z", "2026-01-31T08:08:10.000000Z"),
            ("s-1", 60.0, "2026-01-31T08:06:40.000000Z", 22.5),
            (0, 36, "2026-01-31T08:01:40.000000Z", "2026-01-31T08:07:40.000000Z"),
            (1, 1, "2026-01-31T08:06:40.000000Z", "2026-01-31T08:06:40.000000Z"),
        ],
        stored=50 + 1 + 37,
        unmatched=37 + (50 + 37 - 1) + 50,
    ),
    "csv.toml": Example(
        [
            ("streams", b"sensor,value\ns-1,21.5\ns-2,x\n"),
            ("streams", b'value,sensor,ts\n-3,"s-3",2026-01-31T08:00:00Z'),
            ("datagrams", b"s-4,4\n"),
        ],
        "readings.db",
        "SELECT sensor, value, ts, source FROM readings ORDER BY sensor",
        [
            ("s-1", 21.5, None, "streams"),
            ("s-3", -3.0, "2026-01-31T08:00:00.000000Z", "streams"),
            ("s-4", 4.0, None, "datagrams"),
        ],
        rejected=1,
    ),
    "influx.toml": Example(
        [
            (
                "datagrams",
                b"weather,site=lab temp=21.5,humidity=40i %(at)d\nweather,site=lab temp=99 %(at)d\n"
                b"weather,site=roof temp=-3 1769846400000000001\n" % {b"at": 1769846400000000000},
            ),
            ("streams", b'# hourly\r\nweather,site=hall temp=19,note="two\nlines" 1769850000000000000\n'),
        ],
        "weather.db",
        "SELECT timestamp, site, temp, humidity, json_remove(extra, '$.measurement') FROM weather"
        " ORDER BY temp",
        [
            ("2026-01-31T08:00:00.000000Z", "roof", -3.0, None, '{"timestamp_ns":1769846400000000001}'),
            ("2026-01-31T09:00:00.000000Z", "hall", 19.0, None, '{"note":"two\\nlines"}'),
            ("2026-01-31T08:00:00.000000Z", "lab", 21.5, 40, "{}"),
        ],
        rejected=1,
    ),
    "binary-sensors.toml": Example(
        [
            (
                "radio",
                BINARY.pack(1769846400000, b"s-1", 1, 21.5) + BINARY.pack(1769846401000, b"s-1", 2, 999.0),
            ),
            ("radio", b"no reading"),
            ("gateway", b"\0\x18" + BINARY.pack(1769846402500, b"s-2\0old", 3, -5.25)),
        ],
        "readings.db",
        "SELECT ts, sensor, seq, value, source FROM readings ORDER BY sensor",
        [
            ("2026-01-31T08:00:00.000000Z", "s-1", 1, 21.5, "radio"),
            ("2026-01-31T08:00:02.500000Z", "s-2", 3, -5.25, "gateway"),
        ],
        rejected=2,
    ),
    "log-lines.toml": Example(
        [
            ("datagrams", b"<13>Nov 22 09:00:00 host tag: one\n"),
            ("datagrams", b"DEBUG: left out"),
            ("streams", b"two\n9 <13>three\xe6\x95\xb0\n"),
        ],
        "lines.db",
        "SELECT message, source, length(received_at) FROM lines ORDER BY source, rowid",
        [
            ("<13>Nov 22 09:00:00 host tag: one", "datagrams", 27),
            ("two", "streams", 27),
            ("<13>three", "streams", 27),
            ("数", "streams", 27),
        ],
        filtered=1,
    ),
    "syslog.toml": Example(
        [
            ("datagrams", b"<131>Nov 22 09:00:00 host app[7]: disk failure\n"),
            ("streams", b"<13>CEF:0|a|b|1|2|worm|9|src=10.0.0.1\n"),
            ("streams", b"42 <34>1 2026-01-31T08:00:00Z h a - - - hello"),
        ],
        "syslog.db",
        "SELECT source, severity_name, facility_name, hostname, appname, procid, message,"
        " extra ->> '$.cef.name' FROM syslog_named ORDER BY severity",
        [
            ("streams", "crit", "auth", "h", "a", None, "hello", None),
            ("datagrams", "err", "local0", "host", "app", "7", "disk failure", None),
            ("streams", "notice", "user", None, None, None, "CEF:0|a|b|1|2|worm|9|src=10.0.0.1", "worm"),
        ],
    ),
    "python-step.toml": Example(
        [
            ("floor", b'{"sensor":"s-1","fahrenheit":70.7}\n{"sensor":"s-2","fahrenheit":32}\n'),
            ("floor", b'{"sensor":"test","fahrenheit":1}\n{"sensor":"s-3"}\n'),
        ],
        "calibrated.db",
        "SELECT record FROM records ORDER BY record ->> 'sensor'",
        [
            ('{"sensor":"s-1","celsius":21.5,"outlier":false,"warm":true}',),
            ('{"sensor":"s-2","celsius":0.0,"outlier":false,"warm":false}',),
        ],
        rejected=1,
        filtered=1,
    ),
    "local-sources.toml": Example(
        [("programs", b'{"sensor":"s-1"}\n{"sensor":"s-2"}\n'), ("app_log", b"hello\n{no JSON\n")],
        "local.db",
        "SELECT source, count(*), count(DISTINCT record) FROM records GROUP BY 1",
        [("app_log", 2, 2), ("programs", 2, 2), ("simulator", MADE, MADE)],
        awaited=4 + MADE,
        stored=4 + MADE,
    ),
    "more-sinks.toml": Example(
        [
            (
                "floor",
                b'{"sensor":"s-1","fahrenheit":70.7}\n{"sensor":"s-2","fahrenheit":32}\n{"sensor":"x"}\n',
            )
        ],
        "streamd.db",
        "SELECT sink, sum(n) FROM ledger WHERE counter = 'stored' GROUP BY 1 ORDER BY 1",
        [("archive", 2), ("console", 1), ("next", 2)],
        rejected=1,
        stored=5,
        unmatched=1,
    ),
}


def test_every_shipped_configuration_is_here() -> None:
    shipped = {path.name for path in FOLDER.glob("*.toml") if not path.name.endswith(".test.toml")}
    # test_jetstream.py, test_one_to_three_docs.py and test_statsd.py run these
    elsewhere = {"edge.toml", "worker.toml", "exact-worker.toml", "statsd.toml"}
    assert set(EXAMPLES) | elsewhere == shipped


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_shipped_configuration_stores_its_input(
    start: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    for path in FOLDER.glob("*.py"):
        shutil.copy(path, tmp_path)
    config = re.sub(r'(listen = "127\.0\.0\.1):\d+"', r'\1:0"', (FOLDER / name).read_text())
    with socket.create_server(("127.0.0.1", 0)) as receiver:
        config = re.sub(r'(address = "127\.0\.0\.1):\d+"', rf'\1:{receiver.getsockname()[1]}"', config)
        reading = threading.Thread(target=read_to_the_end, args=(receiver,), daemon=True)
        reading.start()
        try:
            run(start, tmp_path, EXAMPLES[name], config)
        finally:
            with contextlib.suppress(OSError):
                receiver.shutdown(socket.SHUT_RDWR)  # wakes who waits for a connection that never came
            reading.join(30)


def read_to_the_end(receiver: socket.socket) -> None:
    """Take what one connection brings, and end it when it ends."""
    with contextlib.suppress(OSError):
        connection, _ = receiver.accept()
        with connection:
            while connection.recv(65536):
                pass


def run(start: Callable[..., Any], folder: Path, example: Example, config: str) -> None:
    daemon = start(config + '\n[admin]\nlisten = "127.0.0.1:0"\n')
    for source, data in example.sent:
        kind = re.search(rf'\[sources\.{source}\]\ntype = "(\w+)"', config)
        assert kind is not None
        if kind[1] == "file":
            (folder / "app.log").write_bytes(data)
        elif kind[1] == "unix":
            with socket.socket(socket.AF_UNIX) as stream:
                stream.connect(str(folder / "var" / "streamd.sock"))
                stream.sendall(data)
        else:
            (daemon.udp if kind[1] == "udp" else daemon.tcp)(data, source=source)
    if example.awaited:
        daemon.wait_rows(example.awaited, db=example.db)
    daemon.stop()
    assert daemon.query(example.sql, example.db) == example.rows
    books = daemon.books()
    stored = sum(n for (*_, counter), n in books.items() if counter == "stored")
    rejected = sum(n for (*_, counter), n in books.items() if counter == "rejected")
    filtered = sum(n for (*_, counter), n in books.items() if counter == "filtered")
    unmatched = sum(n for (*_, counter), n in books.items() if counter == "unmatched")
    wanted = len(example.rows) if example.stored is None else example.stored
    assert (stored, rejected, filtered) == (wanted, example.rejected, example.filtered)
    assert unmatched == example.unmatched
    (letters,) = daemon.query("SELECT count(*) FROM dead_letters", "dead-letters.db")[0]
    assert letters == example.rejected


@pytest.mark.parametrize(
    ("name", "sources", "db", "message"),
    [
        ("streamd.toml", ("datagrams", "lines"), "streamd.db", "record ->> 'message' FROM records"),
        ("log-lines.toml", ("datagrams", "streams"), "lines.db", "message FROM lines"),
    ],
)
def test_each_message_of_pythons_own_syslog_handler_is_stored_once(
    start: Callable[..., Any], name: str, sources: tuple[str, str], db: str, message: str
) -> None:
    config = re.sub(r'(listen = "127\.0\.0\.1):\d+"', r'\1:0"', (FOLDER / name).read_text())
    daemon = start(config + '\n[admin]\nlisten = "127.0.0.1:0"\n')
    said = [f"{n} kept 数据 é %s \\0 <x> {{}}" for n in range(300)]
    for source, kind in zip(sources, (socket.SOCK_DGRAM, socket.SOCK_STREAM), strict=True):
        handler = SysLogHandler(daemon.address(source), socktype=kind)
        assert handler.append_nul
        logger = logging.Logger("app")  # noqa: LOG001 - none that the whole process has
        logger.addHandler(handler)
        for text in said:
            logger.warning(text)
        logger.error("two\nlines")
        handler.close()
    table = message.rpartition(" ")[2]
    daemon.wait_rows(2 * len(said) + 3, table, db)
    daemon.stop()
    one, other = (
        [text for (text,) in daemon.query(f"SELECT {message} WHERE source = '{source}' ORDER BY rowid", db)]
        for source in sources
    )
    assert one == [f"<12>{text}" for text in said] + ["<11>two\nlines"]
    assert other == [f"<12>{text}" for text in said] + ["<11>two", "lines"]  # the framing nul keeps it whole
    books = daemon.books()
    received = [books[source, "", "", "received"] for source in sources]
    assert received == [len(one), len(other)]
    assert sum(n for (*_, counter), n in books.items() if counter == "stored") == sum(received)
    assert sum(n for (*_, counter), n in books.items() if counter in ("dropped", "rejected")) == 0
