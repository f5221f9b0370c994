"""Every shipped configuration is run by the daemon, with the input it is meant for."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

FOLDER = Path(__file__).parents[2] / "config"


class Example(NamedTuple):
    """Source and bytes of each sending, then what a query of a database gives."""

    sent: list[tuple[str, bytes]]
    db: str
    sql: str
    rows: list[tuple[Any, ...]]
    rejected: int = 0
    filtered: int = 0


READING = b'{"ts":"2026-01-31T09:00:00+01:00","sensor":"s-1","value":%d}'
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
    "python-step.toml": Example(
        [
            ("floor", b'{"sensor":"s-1","fahrenheit":70.7}\n{"sensor":"s-2","fahrenheit":32}\n'),
            ("floor", b'{"sensor":"test","fahrenheit":1}\n{"sensor":"s-3"}\n'),
        ],
        "calibrated.db",
        "SELECT record FROM records ORDER BY record ->> 'sensor'",
        [('{"sensor":"s-1","celsius":21.5,"warm":true}',), ('{"sensor":"s-2","celsius":0.0,"warm":false}',)],
        rejected=1,
        filtered=1,
    ),
}


def test_every_shipped_configuration_is_here() -> None:
    assert set(EXAMPLES) == {path.name for path in FOLDER.glob("*.toml")}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_shipped_configuration_stores_its_input(
    start: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    for path in FOLDER.glob("*.py"):
        shutil.copy(path, tmp_path)
    config, ports = re.subn(r'(listen = "127\.0\.0\.1):\d+"', r'\1:0"', (FOLDER / name).read_text())
    assert ports
    example = EXAMPLES[name]
    daemon = start(config + '\n[admin]\nlisten = "127.0.0.1:0"\n')
    for source, data in example.sent:
        kind = re.search(rf'\[sources\.{source}\]\ntype = "(\w+)"', config)
        assert kind is not None
        (daemon.udp if kind[1] == "udp" else daemon.tcp)(data, source=source)
    daemon.stop()
    assert daemon.query(example.sql, example.db) == example.rows
    books = daemon.books()
    stored = sum(n for (*_, counter), n in books.items() if counter == "stored")
    rejected = sum(n for (*_, counter), n in books.items() if counter == "rejected")
    filtered = sum(n for (*_, counter), n in books.items() if counter == "filtered")
    assert (stored, rejected, filtered) == (len(example.rows), example.rejected, example.filtered)
    (letters,) = daemon.query("SELECT count(*) FROM dead_letters", "dead-letters.db")[0]
    assert letters == example.rejected
