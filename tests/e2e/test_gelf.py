"""GELF from real clients, set up as docs/how-to/gelf-from-containers.md says: what they sent is stored."""

import gzip
import json
import logging
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/how-to/gelf-from-containers.md").read_text()
(CONFIG,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
ERRORS, DISKS = re.findall(r"```sql\n(.*?)```", GUIDE, re.DOTALL)
LONG = "a long message with 数据 and é; " * 500


def test_the_guide_shows_the_shipped_configuration() -> None:
    assert tomllib.loads(CONFIG) == tomllib.loads((ROOT / "config/gelf.toml").read_text())


def of_docker(level: int, text: str, container: str) -> bytes:
    """A line of a container's output, as Docker's log driver sends it."""
    fields = {
        "version": "1.1", "host": "node-1", "short_message": text, "timestamp": 1769846400.123,
        "level": level, "_command": "sh", "_container_id": "2f4a", "_container_name": container,
        "_created": "2026-01-31T07:59:59.5Z", "_image_id": "sha256:ab", "_image_name": "alpine",
        "_tag": "2f4a",
    }  # fmt: skip
    return gzip.compress(json.dumps(fields).encode(), 1)


def of_pygelf(daemon: Any) -> list[logging.Handler]:
    pygelf = pytest.importorskip("pygelf")
    udp, tcp = daemon.address("gelf_udp"), daemon.address("gelf_tcp")
    return [
        pygelf.GelfUdpHandler(*udp, include_extra_fields=True),
        pygelf.GelfUdpHandler(*udp, include_extra_fields=True, compress=False, chunk_size=500),
        pygelf.GelfTcpHandler(*tcp, include_extra_fields=True),
    ]


def of_graypy(daemon: Any) -> list[logging.Handler]:
    graypy = pytest.importorskip("graypy")
    udp, tcp = daemon.address("gelf_udp"), daemon.address("gelf_tcp")
    return [
        graypy.GELFUDPHandler(*udp),
        graypy.GELFUDPHandler(*udp, compress=False, gelf_chunker=graypy.handler.GELFWarningChunker(500)),
        graypy.GELFTCPHandler(*tcp),
    ]


@pytest.mark.parametrize("handlers", [of_pygelf, of_graypy])
def test_what_a_client_sent_is_in_the_table(
    start: Callable[..., Any], handlers: Callable[[Any], list[logging.Handler]]
) -> None:
    config = re.sub(r'(listen = "127\.0\.0\.1):\d+"', r'\1:0"', CONFIG)
    daemon = start(config + '\n[admin]\nlisten = "127.0.0.1:0"\n')
    texts = [LONG, "two\nlines", *(f"message {n} 数据" for n in range(20))]
    for number, handler in enumerate(handlers(daemon), 1):
        logger = logging.Logger("app")  # noqa: LOG001 - none that the whole process has
        logger.addHandler(handler)
        for text in texts:
            logger.error(text, extra={"disk": "/dev/sda1"})
        daemon.wait_rows(number * len(texts), "logs", "logs.db")  # so that the kernel's queue stays short
        handler.close()
    containers = [("web", 3), ("web", 6), ("db", 3)]
    daemon.udp(*(of_docker(level, f"line {level}", name) for name, level in containers), source="gelf_udp")
    count = 3 * len(texts) + len(containers)
    daemon.wait_rows(count, "logs", "logs.db")
    daemon.stop()

    def query(sql: str) -> list[Any]:
        found: list[Any] = daemon.query(sql, "logs.db")
        return found

    rows = query("SELECT short_message, level FROM logs WHERE container_name IS NULL ORDER BY short_message")
    assert rows == sorted((text, 3) for text in texts for _ in range(3))
    last = "2026-01-31T08:00:00.123000Z"
    assert query(ERRORS) == [("db", 1, last), ("web", 1, last)]
    assert sorted(query(DISKS)) == sorted(("/dev/sda1", text) for text in texts for _ in range(3))
    assert query("SELECT count(*) FROM logs WHERE timestamp IS NULL OR host IS NULL") == [(0,)]
    books = daemon.books()
    assert sum(books[source, "logs", "logs", "stored"] for source in ("gelf_udp", "gelf_tcp")) == count
    assert books["gelf_udp", "", "", "received"] > 2 * len(texts) + len(containers) + 40  # chunks
    assert sum(n for (*_, counter), n in books.items() if counter in ("dropped", "rejected")) == 0


def test_chunks_are_held_in_the_books_and_at_the_stop_they_are_dead_letters(
    start: Callable[..., Any], wait_until: Any
) -> None:
    config = re.sub(r'(listen = "127\.0\.0\.1):\d+"', r'\1:0"', CONFIG)
    config = config.replace('codec = "gelf"', 'codec = { type = "gelf", chunk_timeout = "10m" }', 1)
    daemon = start(config + '\n[admin]\nlisten = "127.0.0.1:0"\n')
    text = b'{"short_message":"in two parts","host":"h"}'
    one, two = b"\x1e\x0f12345678\0\2" + text[:20], b"\x1e\x0f12345678\1\2" + text[20:]
    lost = b"\x1e\x0fabcdefgh\1\3" + text
    daemon.udp(one, lost, source="gelf_udp")

    def held() -> int:
        sources = json.loads(daemon.control("GET", "/status")[1])["sources"]
        (udp,) = [source for source in sources if source["name"] == "gelf_udp"]
        return int(udp["frames"]["held"])

    wait_until(lambda: held() == 2)
    daemon.udp(two, source="gelf_udp")
    daemon.wait_rows(1, "logs", "logs.db")
    wait_until(lambda: held() == 1)
    daemon.stop()
    assert daemon.query("SELECT short_message, host FROM logs", "logs.db") == [("in two parts", "h")]
    assert daemon.dead_letters("gelf_udp") == [("decode", "gelf:incomplete", lost)]
