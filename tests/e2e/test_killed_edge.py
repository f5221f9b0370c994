"""An edge that reads a file into a stream and is killed: each record is in the stream once."""

import asyncio
import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kills import append
from tests.nats_server import NatsServer, api, contents, needs_server
from tests.relay import Relay

pytestmark = needs_server

CONFIG = """
[admin]
listen = "127.0.0.1:0"
[ledger]
interval = "0.2s"
[sources.lines]
type = "file"
path = "readings.log"
codec = "json"
[pipelines.uplink]
sources = ["lines"]
sinks = ["jetstream"]
steps = [{ type = "filter", where = "seq % 7 != 3" }]
[sinks.jetstream]
type = "nats"
servers = ["ADDRESS"]
stream = "readings"
subject = "readings.{partition}"
partitions = 3
partition_by = ["sensor"]
max_message_records = 20
ack_timeout = "1s"
create = { max_bytes = "1GiB", duplicate_window = "10m" }
batch = { max_records = 50, max_wait = "20ms" }
"""
OTHER_SINK = """
[pipelines.kept]
sources = ["lines"]
sinks = ["other"]
[sinks.other]
type = "sqlite"
path = "other.db"
table = "other"
unique = ["seq"]
columns = { seq = "int", sensor = "str" }
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    made = NatsServer(tmp_path / "nats")
    yield made
    made.stop()


@pytest.fixture
def link(server: NatsServer) -> Iterator[Relay]:
    made = Relay(server.port)
    yield made
    made.close()


def readings(start: int, stop: int) -> list[dict[str, Any]]:
    return [{"sensor": f"s-{n % 5}", "seq": n} for n in range(start, stop)]


def expected(count: int) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for record in readings(0, count):
        if record["seq"] % 7 != 3:
            found[record["sensor"]].append(record["seq"])
    return found


def stored(server: NatsServer) -> dict[str, list[int]]:
    """The numbers of each sensor's records in the stream, in the order of the stream."""
    found: dict[str, list[int]] = defaultdict(list)
    for message in asyncio.run(contents(server, "readings")) if messages(server) else ():
        for line in message.data.splitlines():
            record = json.loads(line)
            found[record["sensor"]].append(record["seq"])
    return found


def messages(server: NatsServer) -> int:
    answer = asyncio.run(api(server, "STREAM.INFO.readings"))
    return int(answer.get("state", {}).get("messages", 0))


def kill(edge: Any) -> None:
    edge.process.kill()
    edge.process.wait()


def test_kills_at_any_moment_double_and_lose_nothing(
    start: Callable[..., Any], server: NatsServer, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    config = CONFIG.replace("ADDRESS", server.address)
    path = tmp_path / "readings.log"
    written = 0
    for turn in range(4):
        append(path, readings(written, written + 1500))
        written += 1500
        enough = messages(server) + 3 + 5 * turn
        edge = start(config)
        wait_until(lambda enough=enough: messages(server) >= enough, "some messages")
        kill(edge)
    edge = start(config)
    wait_until(lambda: stored(server) == expected(written), "all records")
    edge.stop()
    assert stored(server) == expected(written)


def test_what_was_published_is_left_out_and_counted_while_another_sink_gets_it_again(
    start: Callable[..., Any], server: NatsServer, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    config = CONFIG.replace("ADDRESS", server.address) + OTHER_SINK
    append(tmp_path / "readings.log", [])
    edge = start(config)
    with_lock = sqlite3.connect(tmp_path / "var" / "other.db", isolation_level=None, timeout=30)
    with_lock.execute("BEGIN IMMEDIATE")  # so no frame is settled, and the position stays
    append(tmp_path / "readings.log", readings(0, 700))
    wait_until(lambda: stored(server) == expected(700), "the records")
    kill(edge)
    with_lock.close()
    append(tmp_path / "readings.log", readings(700, 1000))
    edge = start(config)
    edge.wait_rows(1000, "other", "other.db")
    wait_until(lambda: stored(server) == expected(1000), "the other records")
    edge.stop()
    books = edge.books()
    known = sum(map(len, expected(700).values()))
    assert books["lines", "uplink", "jetstream", "left_out"] == known
    assert books["lines", "uplink", "jetstream", "stored"] == sum(map(len, expected(1000).values())) - known
    assert edge.reasons("left_out") == {"already_stored": known}
    assert stored(server) == expected(1000)


def test_messages_whose_acknowledgements_were_lost_with_the_process_are_stored_once(
    start: Callable[..., Any],
    server: NatsServer,
    link: Relay,
    tmp_path: Path,
    wait_until: Callable[..., Any],
) -> None:
    config = CONFIG.replace("ADDRESS", link.address)
    path = tmp_path / "readings.log"
    append(path, readings(0, 100))
    edge = start(config)
    wait_until(lambda: stored(server) == expected(100), "the first records")
    wait_until(lambda: edge.books()["lines", "uplink", "jetstream", "pending"] == 0, "their acknowledgements")
    link.cut("no_answers")
    append(path, readings(100, 400))
    wait_until(lambda: edge.events("sink_retrying"), "an attempt without an answer")
    in_doubt = sum(map(len, stored(server).values())) - sum(map(len, expected(100).values()))
    assert in_doubt > 0
    kill(edge)
    link.mend()
    append(path, readings(400, 600))
    edge = start(config)
    wait_until(lambda: stored(server) == expected(600), "all records")
    edge.stop()
    assert stored(server) == expected(600)
    (sink,) = [line for line in edge.stderr.splitlines() if line.startswith("sink jetstream")]
    assert "duplicates" in sink
    assert edge.reasons("left_out")["already_stored"] >= in_doubt
