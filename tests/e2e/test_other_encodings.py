"""Compressed datagrams and text in Latin-1 come to the table as UTF-8, and all others to the dead letters."""

import gzip
from collections.abc import Callable
from typing import Any

CONFIG = """
[admin]
listen = "127.0.0.1:0"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
decompress = "gzip"
max_inflated = "1KiB"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "text"
encoding = "cp1252"
[pipelines.main]
sources = ["lab", "floor"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
"""


def test_what_is_sent_compressed_or_in_another_encoding_is_stored(
    start: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    daemon = start(CONFIG)
    bomb, plain = gzip.compress(b'{"a": "%b"}' % bytes(100_000)), b'{"n": 3}'
    daemon.udp(gzip.compress(b'{"n": 1}\n{"n": 2}'), bomb, plain)
    daemon.tcp(b"caf\xe9 10 \x80\n\x81\n")
    daemon.wait_rows(3)
    wait_until(
        lambda: len(daemon.dead_letters("lab") + daemon.dead_letters("floor")) == 3, "the dead letters"
    )
    rows = daemon.query("SELECT record ->> 'n', record ->> 'message' FROM records ORDER BY 1, 2")
    assert rows == [(None, "café 10 €"), (1, None), (2, None)]
    assert daemon.dead_letters("lab") == [
        ("decode", "compressed:size", bomb),
        ("decode", "compressed:syntax", plain),
    ]
    assert daemon.dead_letters("floor") == [("decode", "encoding:syntax", b"\x81")]
    daemon.stop()
