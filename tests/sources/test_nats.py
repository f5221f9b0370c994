"""Also about `jetstream/puller.py`, `jetstream/reconnecting.py`, `jetstream/consumers.py`."""

import asyncio
import functools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.codecs.json import Json
from streamd.components import framers
from streamd.core.contracts import SourceContext
from streamd.core.counters import Counters
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.sources.nats import Nats
from tests.nats_server import (
    MISSING,
    NatsServer,
    add_stream,
    api,
    client,
    make_stream,
    needs_server,
    new_name,
    publish,
    shared_server,
)

Until = Callable[[Callable[[], bool]], Awaitable[None]]
NewSource = Callable[..., Nats]

NOWHERE = {"servers": ["127.0.0.1:1"], "stream": "records", "consumer": "workers"}
LOGIN = {"user": "worker", "password": "nats.password"}
OPTIONS = [NOWHERE | LOGIN]
"""What the suites of all sources run."""
REFUSALS: dict[str, Callable[[Path], Any]] = {} if MISSING else {
    "nats.password cannot be read": lambda _: None,
    "nats.password is empty": lambda state: (state.parent / "nats.password").write_text("\n"),
}  # fmt: skip

pytestmark = needs_server


@functools.cache
def place(folder: Path) -> dict[str, Any]:
    """The options that lead to a stream of the folder's own, on a server that all tests share."""
    del folder
    if MISSING:
        pytest.skip(MISSING)
    server, name = shared_server(), new_name()
    make_stream(server, name, [name])
    return {"servers": [server.address], "stream": name, "user": None, "password": None}


def send(source: Nats, *frames: bytes) -> None:
    publish(shared_server(), source.config.stream, list(frames))


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Callable[..., NatsServer]]:
    """Starts a server that the test may disturb."""
    started: list[NatsServer] = []

    def start(more: str = "") -> NatsServer:
        started.append(NatsServer(tmp_path / f"server{len(started)}", more))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
async def new_source(tmp_path: Path) -> AsyncIterator[NewSource]:
    """Makes sources; a name has a stream of that name with one subject, which is the name too."""
    made: list[Nats] = []

    def make(server: NatsServer, name: str, counters: Counters | None = None, **more: Any) -> Nats:
        options = {"type": "nats", "servers": [server.address], "stream": name, "consumer": "workers"} | more
        config = Nats.Config.model_validate(options)
        context = SourceContext(
            "lab", Counters() if counters is None else counters, framers(config.cut_by), tmp_path, tmp_path
        )
        made.append(Nats(config, context))
        return made[-1]

    yield make
    for source in made:
        await source.stop()
        await source.stop()


async def stream_on(server: NatsServer, **more: Any) -> str:
    name = new_name()
    await add_stream(server, name, [name], **more)
    return name


async def state_of(server: NatsServer, name: str, consumer: str = "workers") -> tuple[int, int]:
    """The numbers of messages that wait, and that are not acknowledged."""
    info = await api(server, f"CONSUMER.INFO.{name}.{consumer}")
    return info["num_pending"], info["num_ack_pending"]


async def until_state(server: NatsServer, name: str, expected: tuple[int, int]) -> None:
    async with asyncio.timeout(30):
        while await state_of(server, name) != expected:
            await asyncio.sleep(0.02)


def lines(start: int, stop: int) -> bytes:
    return b"".join(b'{"n":%d}\n' % n for n in range(start, stop))


def numbers(line: Any) -> list[int]:
    return [record["n"] for record in line.sink.records]


async def test_a_message_of_many_lines_is_acknowledged_once_all_its_records_are_stored(
    new_source: NewSource, new_line: Any, until: Until
) -> None:
    server = shared_server()
    name = await stream_on(server)
    line = new_line(codec=Json(Json.Config(), None))
    line.sink.gate.clear()
    line.run()
    source = new_source(server, name, line.intake.book.counters)
    await source.open(line)
    publish(server, name, [lines(0, 100), lines(100, 150) + b"{bad\n"])
    await until(lambda: len(line.payloads) == 151)
    await until_state(server, name, (0, 2))
    line.sink.gate.set()
    await until(lambda: len(line.sink.records) == 150)
    await until_state(server, name, (0, 0))
    await source.stop()
    await line.drain()
    assert numbers(line) == list(range(150))
    assert [letter.payload for letter in line.letters.letters] == [b"{bad"]
    assert line.books.source("lab").received == 151
    assert line.intake.book.counters.numbers() == {"messages": 2}
    line.assert_exact()


async def test_without_framing_a_message_is_one_frame(
    new_source: NewSource, new_line: Any, until: Until
) -> None:
    server = shared_server()
    name = await stream_on(server)
    line = new_line()
    line.run()
    source = new_source(server, name, line.intake.book.counters, framing="none")
    await source.open(line)
    publish(server, name, [b"a\nb\n", b""])
    await until(lambda: len(line.payloads) == 2)
    await source.stop()
    await line.drain()
    assert line.payloads == [b"a\nb\n", b""]


async def test_what_was_not_settled_is_delivered_again_to_the_next_source(
    new_source: NewSource, new_line: Any, until: Until
) -> None:
    server = shared_server()
    name = await stream_on(server)
    line = new_line(codec=Json(Json.Config(), None))
    line.sink.gate.clear()
    line.run()
    first = new_source(server, name, line.intake.book.counters)
    await first.open(line)
    publish(server, name, [lines(n, n + 1) for n in range(50)])
    await until(lambda: len(line.payloads) == 50)
    await first.stop()
    await line.abandon()
    await first.stop()
    line.assert_exact()
    again = new_line(codec=Json(Json.Config(), None))
    again.run()
    second = new_source(server, name, again.intake.book.counters)
    await second.open(again)
    await until(lambda: len(again.sink.records) == 50)
    await until_state(server, name, (0, 0))
    await second.stop()
    await again.drain()
    assert sorted(numbers(again)) == list(range(50))
    assert again.intake.book.counters.numbers() == {"messages": 50, "redelivered": 50}
    again.assert_exact()


async def test_a_message_that_was_never_acknowledged_becomes_a_dead_letter_with_its_bytes(
    new_source: NewSource, new_line: Any, until: Until
) -> None:
    server = shared_server()
    name = await stream_on(server)
    config = {"durable_name": "workers", "ack_policy": "explicit", "ack_wait": 30 * 10**9}
    config |= {"deliver_policy": "all", "max_ack_pending": 20000}
    await api(
        server, f"CONSUMER.CREATE.{name}.workers", {"stream_name": name, "config": config, "action": "create"}
    )
    publish(server, name, [lines(0, 3)])
    async with client(server) as nc:  # a worker that dies of each delivery
        pulling = await nc.jetstream().pull_subscribe_bind("workers", name)
        for _ in range(2):
            (message,) = await pulling.fetch(1, timeout=20)
            await message.nak()
        await nc.flush()
    publish(server, name, [lines(3, 6)])
    line = new_line(codec=Json(Json.Config(), None))
    line.run()
    source = new_source(server, name, line.intake.book.counters, max_deliver=2)
    await source.open(line)
    await until(lambda: len(line.sink.records) == 3 and len(line.letters.letters) == 1)
    await until_state(server, name, (0, 0))
    await source.stop()
    await line.drain()
    (letter,) = line.letters.letters
    assert (letter.payload, letter.reason, letter.stage) == (lines(0, 3), "too_many_tries", "decode")
    assert type(letter.payload) is bytes
    assert numbers(line) == [3, 4, 5]
    assert line.books.source("lab").rejected == {"too_many_tries": 1}
    line.assert_exact()


async def test_a_message_in_work_is_not_delivered_again_however_long_it_takes(
    new_source: NewSource, new_line: Any, until: Until, stays: Any
) -> None:
    server = shared_server()
    name = await stream_on(server)
    line = new_line(codec=Json(Json.Config(), None))
    line.sink.gate.clear()
    line.run()
    source = new_source(server, name, line.intake.book.counters, ack_wait="1s")
    await source.open(line)
    publish(server, name, [lines(0, 1)])
    await until(lambda: len(line.payloads) == 1)
    await stays(lambda: len(line.payloads) == 1, 2.5)  # two and a half times ack_wait
    line.sink.gate.set()
    await until_state(server, name, (0, 0))
    await source.stop()
    await line.drain()
    assert numbers(line) == [0]
    line.assert_exact()


async def test_a_full_buffer_stops_the_pulling_and_nothing_is_lost(
    new_source: NewSource, new_line: Any, until: Until
) -> None:
    server = shared_server()
    name = await stream_on(server)
    line = new_line(codec=Json(Json.Config(), None), max_records=10)
    line.sink.gate.clear()
    line.run()
    source = new_source(server, name, line.intake.book.counters, pull=4)
    await source.open(line)
    publish(server, name, [lines(n * 5, n * 5 + 5) for n in range(60)])
    await until(lambda: line.intake.buffer.full)
    waiting, _ = await state_of(server, name)
    assert waiting >= 30
    line.sink.gate.set()
    await until(lambda: len(line.sink.records) == 300)
    await until_state(server, name, (0, 0))
    await source.stop()
    await line.drain()
    assert numbers(line) == list(range(300))
    line.assert_exact()


async def test_a_restart_of_the_server_loses_nothing(
    new_source: NewSource, new_line: Any, until: Until, own_server: Any
) -> None:
    server = own_server()
    await add_stream(server, "records", ["records"])
    line = new_line(codec=Json(Json.Config(), None))
    line.run()
    source = new_source(server, "records", line.intake.book.counters)
    await source.open(line)
    for turn in range(3):
        publish(server, "records", [lines(turn * 100 + n, turn * 100 + n + 1) for n in range(100)])
        server.stop()
        server.start()
    await until(lambda: len(set(numbers(line))) == 300)
    await until_state(server, "records", (0, 0))
    await source.stop()
    await line.drain()
    line.assert_exact()


async def test_the_lag_is_a_gauge(
    new_source: NewSource, new_line: Any, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamd.jetstream.puller.LAG_S", 0.01)
    server = shared_server()
    name = await stream_on(server)
    publish(server, name, [lines(n, n + 1) for n in range(100)])
    line = new_line(codec=Json(Json.Config(), None), max_records=5)
    line.sink.gate.clear()
    line.run()
    counters = line.intake.book.counters
    source = new_source(server, name, counters, pull=2)
    await source.open(line)
    await until(lambda: sum(counters.gauges.values()) == 100 and counters.gauges["num_ack_pending", ""] > 0)
    assert set(counters.gauge_meanings) >= {"num_pending", "num_ack_pending"}
    await source.stop()
    await line.abandon()
    await source.stop()
    line.assert_exact()


async def test_a_new_consumer_may_begin_at_the_end(
    new_source: NewSource, new_line: Any, until: Until
) -> None:
    server = shared_server()
    name = await stream_on(server)
    publish(server, name, [lines(0, 5)])
    line = new_line(codec=Json(Json.Config(), None))
    line.run()
    source = new_source(server, name, line.intake.book.counters, start="end")
    await source.open(line)
    publish(server, name, [lines(5, 7)])
    await until(lambda: len(line.sink.records) == 2)
    await source.stop()
    await line.drain()
    assert numbers(line) == [5, 6]


async def test_only_the_subjects_of_the_consumer_are_read(
    new_source: NewSource, new_line: Any, until: Until
) -> None:
    server, name = shared_server(), new_name()
    await add_stream(server, name, [f"{name}.*"])
    publish(server, f"{name}.0", [lines(0, 2)])
    publish(server, f"{name}.1", [lines(2, 4)])
    line = new_line(codec=Json(Json.Config(), None))
    line.run()
    source = new_source(server, name, line.intake.book.counters, subject=f"{name}.1")
    await source.open(line)
    await until(lambda: len(line.sink.records) == 2)
    await source.stop()
    await line.drain()
    assert numbers(line) == [2, 3]


async def test_servers_that_cannot_be_reached_at_the_start_are_tried_again(
    new_source: NewSource, new_line: Any, until: Until, own_server: Any
) -> None:
    server = own_server()
    await add_stream(server, "records", ["records"])
    publish(server, "records", [lines(0, 3)])
    server.stop()
    line = new_line(codec=Json(Json.Config(), None))
    line.run()
    source = new_source(server, "records", line.intake.book.counters)
    source.rehearse()
    await source.open(line)
    server.start()
    await until(lambda: len(line.sink.records) == 3)
    await source.stop()
    await line.drain()
    line.assert_exact()


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ({"ack_policy": "none"}, "needs no acknowledgements: remove it with nats consumer rm"),
        ({"deliver_subject": "somewhere"}, "pushes, and the source pulls"),
        ({"ack_wait": 7 * 10**9}, "has another ack_wait, 7s"),
        ({"max_ack_pending": 7}, "has another max_ack_pending, 7"),
        ({"filter_subject": "NAME"}, "has another subject, NAME"),
        ({"max_deliver": 3}, "--max-deliver=-1"),
    ],
)
async def test_a_consumer_that_does_otherwise_is_refused_at_the_start_and_by_check(
    there: dict[str, Any], words: str, new_source: NewSource, capture: Any
) -> None:
    server = shared_server()
    name = await stream_on(server)
    config = {"durable_name": "workers", "ack_policy": "explicit", "ack_wait": 30 * 10**9}
    config |= {"deliver_policy": "all", "max_ack_pending": 20000}
    config |= {key: name if value == "NAME" else value for key, value in there.items()}
    made = {"stream_name": name, "config": config, "action": "create"}
    assert "error" not in await api(server, f"CONSUMER.CREATE.{name}.workers", made)
    source = new_source(server, name)
    with pytest.raises(EnvironmentFault) as refused:
        await source.open(capture)
    assert words.replace("NAME", name) in str(refused.value)
    with pytest.raises(EnvironmentFault) as rehearsed:
        source.rehearse()
    assert str(rehearsed.value) == str(refused.value)


async def test_a_missing_stream_is_refused(new_source: NewSource, capture: Any) -> None:
    source = new_source(shared_server(), "nowhere")
    with pytest.raises(EnvironmentFault, match="source lab: there is no stream nowhere"):
        await source.open(capture)


async def test_a_rehearsal_makes_no_consumer(new_source: NewSource) -> None:
    server = shared_server()
    name = await stream_on(server)
    new_source(server, name).rehearse()
    assert "error" in await api(server, f"CONSUMER.INFO.{name}.workers")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"consumer": "a.b"}, "pattern"),
        ({"subject": "a..b"}, "pattern"),
        ({"subject": "$JS.>"}, "pattern"),
        ({"ack_wait": "10ms"}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_work_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Nats.Config.model_validate({"type": "nats"} | NOWHERE | config)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "streamd.jetstream.puller", None)
    with pytest.raises(ConfigError, match=r"pip install 'streamd-daemon\[nats\]'"):
        Nats(
            Nats.Config.model_validate({"type": "nats"} | NOWHERE),
            SourceContext("lab", Counters(), None, tmp_path, tmp_path),
        )
