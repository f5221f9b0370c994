"""An edge whose link to JetStream is cut, or whose stream is full, while it receives records."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.e2e.senders import Sender
from tests.nats_server import NatsServer, api, contents, needs_server
from tests.relay import Relay

pytestmark = needs_server

LINES = 6000
"""Lines of 2 KB of a TCP sender: more than all buffers on the way hold."""
CONFIG = """
[admin]
listen = "127.0.0.1:0"
[daemon]
drain_timeout = "60s"
[ledger]
interval = "0.2s"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
buffer = { max_records = 500 }
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
buffer = { max_records = 500 }
[pipelines.uplink]
sources = ["lab", "floor"]
sinks = ["jetstream"]
[sinks.jetstream]
type = "nats"
servers = ["ADDRESS"]
stream = "readings"
subject = "readings.{partition}"
partitions = 4
partition_by = ["sender"]
ack_timeout = "1s"
connect_timeout = "2s"
create = { max_bytes = "MAX_BYTES" }
buffer = { max_records = 1000 }
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


def configured(address: str, max_bytes: str = "1GiB") -> str:
    return CONFIG.replace("ADDRESS", address).replace("MAX_BYTES", max_bytes)


def datagrams(start: int, count: int) -> list[bytes]:
    return [b'{"sender":"u-%d","seq":%d}' % (n % 5, n) for n in range(start, start + count)]


def stored_of(server: NatsServer) -> dict[str, list[int]]:
    """The numbers of each sender's records in the stream, in the order of the stream."""
    found: dict[str, list[int]] = defaultdict(list)
    for message in asyncio.run(contents(server, "readings")):
        for line in message.data.splitlines():
            record = json.loads(line)
            found[record["sender"]].append(record["seq"])
    return found


def books_of(edge: Any, source: str) -> dict[str, int]:
    books = edge.books()
    counters = ("received", "dropped", "kernel_dropped")
    of_sink = {name: books[source, "uplink", "jetstream", name] for name in ("offered", "stored")}
    return of_sink | {counter: books[source, "", "", counter] for counter in counters}


def seen_by_host(edge: Any) -> int:
    lab = books_of(edge, "lab")
    return lab["received"] + lab["kernel_dropped"]


@pytest.mark.parametrize(
    ("how", "reasons"), [("closed", {"disconnected", "connect"}), ("silent", {"no_answer", "disconnected"})]
)
def test_a_cut_link_delays_records_and_what_no_buffer_holds_is_counted(
    how: Literal["closed", "silent"],
    reasons: set[str],
    start: Any,
    server: NatsServer,
    link: Relay,
    wait_until: Callable[..., Any],
) -> None:
    edge = start(configured(link.address))
    edge.udp(*datagrams(0, 100))
    wait_until(lambda: books_of(edge, "lab")["stored"] == 100, "the first records")
    link.cut(how)
    edge.udp(*datagrams(100, 200))
    wait_until(lambda: books_of(edge, "lab")["offered"] == 300, "what the sink's buffer holds")
    assert books_of(edge, "lab")["stored"] == 100
    senders = [Sender(edge.address("floor"), name, LINES) for name in ("a", "b")]
    for sender in senders:
        wait_until(sender.is_pushed_back, "push-back")
    sent = 300
    while not books_of(edge, "lab")["dropped"]:
        edge.udp(*datagrams(sent, 100))
        sent += 100
        wait_until(lambda count=sent: seen_by_host(edge) == count, "the datagrams")
    wait_until(lambda: len(edge.events("sink_retrying")) >= 3, "attempts")
    assert {event["reason"] for event in edge.events("sink_retrying")} & reasons
    assert all(sender.is_pushed_back() for sender in senders)

    link.mend()
    for sender in senders:
        sender.finish()
    edge.stop()
    floor, lab = books_of(edge, "floor"), books_of(edge, "lab")
    assert floor["stored"] == floor["received"] == 2 * LINES
    assert seen_by_host(edge) == sent
    assert lab["stored"] == lab["received"] - lab["dropped"]
    stored = stored_of(server)
    assert stored["a"] == stored["b"] == list(range(LINES))
    of_lab = [numbers for name, numbers in stored.items() if name.startswith("u-")]
    assert all(numbers == sorted(set(numbers)) for numbers in of_lab)
    assert sum(map(len, of_lab)) == lab["stored"]
    assert {n for numbers in of_lab for n in numbers} >= set(range(300))


def test_a_full_stream_pushes_senders_back_and_takes_everything_once_it_has_room(
    start: Any, server: NatsServer, wait_until: Callable[..., Any]
) -> None:
    edge = start(configured(server.address, "1MiB"))
    senders = [Sender(edge.address("floor"), name, LINES) for name in ("a", "b")]
    for sender in senders:
        wait_until(sender.is_pushed_back, "push-back")
    wait_until(lambda: len(edge.events("sink_retrying")) >= 3, "attempts")
    assert {event["reason"] for event in edge.events("sink_retrying")} == {"stream_full"}
    held = asyncio.run(api(server, "STREAM.INFO.readings"))
    assert 0 < held["state"]["bytes"] <= 2**20
    assert all(sender.is_pushed_back() for sender in senders)

    asyncio.run(api(server, "STREAM.UPDATE.readings", held["config"] | {"max_bytes": 2**30}))
    for sender in senders:
        sender.finish()
    edge.stop()
    floor = books_of(edge, "floor")
    assert floor["stored"] == floor["received"] == 2 * LINES
    assert stored_of(server) == {"a": list(range(LINES)), "b": list(range(LINES))}
