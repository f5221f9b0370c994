import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streamd.admin import server as server_module
from streamd.admin.server import AdminServer
from streamd.admin.view import ReloadFailure
from tests.admin.test_server import get

Until = Callable[[Callable[[], bool]], Awaitable[None]]
Event = tuple[bytes, int, dict[str, Any]]


class Reader:
    """A client that reads the stream of events."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, server: AdminServer, *headers: str, target: str = "/events") -> "Reader":
        reader, writer = await asyncio.open_connection(*server.listening[0])
        lines = "".join(f"{header}\r\n" for header in headers)
        writer.write(f"GET {target} HTTP/1.0\r\n{lines}\r\n".encode())
        assert b"content-type: text/event-stream" in await reader.readuntil(b"\r\n\r\n")
        return cls(reader, writer)

    async def event(self) -> Event:
        name, number, data = (await self._reader.readuntil(b"\n\n")).split(b"\n", 2)
        return name, int(number.removeprefix(b"id: ")), json.loads(data.removeprefix(b"data: "))


async def test_status_is_open_and_grows_a_number_a_second(server: AdminServer, world: Any) -> None:
    world.fill_books()
    code, body, headers = await get(server, "/status")
    assert (code, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body)["sources"][0]["frames"]["received"] == 1000
    assert json.loads(body)["seq"] == 0
    world.clock.pass_s(2.5)
    assert json.loads((await get(server, "/status"))[1])["seq"] == 2


async def test_events_carry_the_number_of_their_document(server: AdminServer) -> None:
    reader = await Reader.open(server)
    try:
        found = [await reader.event() for _ in range(2)]
    finally:
        reader.writer.close()
    assert [name for name, _, _ in found] == [b"event: status"] * 2
    assert [number for _, number, _ in found] == [document["seq"] for _, _, document in found]
    assert found[1][1] == found[0][1] + 1


async def test_a_client_that_resumes_gets_no_event_twice(server: AdminServer) -> None:
    first = await Reader.open(server)
    number = (await first.event())[1]
    resumed = await Reader.open(server, f"Last-Event-ID: {number}")
    try:
        assert (await resumed.event())[1] > number
    finally:
        first.writer.close()
        resumed.writer.close()


@pytest.mark.parametrize("last", ["", "-1", "x", "99999999999999999999", "1, 2"])
async def test_an_unknown_last_event_gets_one_at_once(server: AdminServer, last: str) -> None:
    reader = await Reader.open(server, f"Last-Event-ID: {last}")
    assert (await reader.event())[0] == b"event: status"
    reader.writer.close()


async def test_all_clients_get_one_document(server: AdminServer, world: Any, until: Until) -> None:
    readers = [await Reader.open(server) for _ in range(server_module.MAX_STREAMS)]
    before = world.refreshed
    for _ in range(2):
        for reader in readers:
            await reader.event()
    assert world.refreshed - before <= 3
    assert (await get(server, "/events"))[0] == 503
    assert (await get(server, "/status"))[0] == 200
    for reader in readers:
        reader.writer.close()
    await until(lambda: not server._exchange.connections)
    assert server.refused == {"streams": 1}


async def test_history_is_the_newest_samples(server: AdminServer, world: Any) -> None:
    history = server._watch.history
    world.fill_books()
    for seq in range(1, 6):
        world.books.source("lab").received = seq
        history.observe(100.0 + seq, seq)

    async def received(query: str) -> tuple[list[float], list[float], int]:
        code, body, headers = await get(server, f"/history{query}")
        document = json.loads(body)
        assert (code, headers["Content-Type"]) == (200, "application/json")
        found = next(one for one in document["series"] if one["of"] == "received")
        return document["at_wall_s"], found["values"], document["seq"]

    assert await received("") == ([101, 102, 103, 104, 105], [1, 2, 3, 4, 5], 5)
    assert await received("?s=2") == ([104, 105], [4, 5], 5)
    assert await received("?s=999999") == ([101, 102, 103, 104, 105], [1, 2, 3, 4, 5], 5)
    assert await received("?since=3") == ([104, 105], [4, 5], 5)
    assert await received("?since=5") == ([], [], 5)


@pytest.mark.parametrize(
    "target",
    [
        "/history?s=x",
        "/history?since=-1",
        "/history?s=1&since=2",
        "/history?t=1",
        "/events?x=1",
        "/status?s=1",
    ],
)
async def test_wrong_parameters_are_named(server: AdminServer, target: str) -> None:
    code, body, _ = await get(server, target)
    assert code == 400
    assert len(body.splitlines()) == 1


async def test_everyone_may_know_that_a_reload_failed_and_not_what_it_quotes(
    server: AdminServer, world: Any
) -> None:
    world.view.reload_failure = ReloadFailure(1_700_000_060.0, 'a.toml:1: this is "pa55word"')
    _, body, _ = await get(server, "/status")
    assert b"pa55word" not in body
    assert json.loads(body)["reload_failure"]["at"] == "2023-11-14T22:14:20+00:00"
    assert "`streamd status`" in json.loads(body)["reload_failure"]["why"][0]
