import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from streamd.admin.control import AskingProcess, ControlServer
from streamd.admin.watch import Watch
from streamd.core.clock import read_clock
from streamd.core.contracts import Processed
from streamd.runtime.tap import MAX_TAPS
from streamd.runtime.taps import Point, Taps
from tests.backing import backing_in

Until = Callable[[Callable[[], bool]], Awaitable[None]]
Event = tuple[str, Any]


class Part:
    """A part of a daemon with a hook."""

    def __init__(self) -> None:
        self.tap: Point | None = None

    def see(self, *records: Any) -> None:
        if self.tap is not None:
            self.tap.see_processed([Processed(list(records))])


class Stream:
    """A client that reads the events of one stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, code: int) -> None:
        self.code = code
        self.writer = writer
        self._reader = reader
        self._text = ""

    @classmethod
    async def open(cls, path: Path, target: str) -> "Stream":
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        return cls(reader, writer, int(head.split()[1]))

    async def event(self) -> Event:
        """The next event, without comments. The name is empty at the end of the stream."""
        while True:
            while "\n\n" in self._text:
                block, _, self._text = self._text.partition("\n\n")
                lines = dict(line.partition(": ")[::2] for line in block.split("\n"))
                if "event" in lines:
                    return lines["event"], json.loads(lines["data"])
            size = int(await self._reader.readline() or b"0", 16)
            self._text += (await self._reader.readexactly(size + 2))[:-2].decode()
            if not size:
                return "", None

    async def events(self) -> list[Event]:
        """All events up to the end of the stream."""
        found = []
        while (event := await self.event())[0]:
            found.append(event)
        return found

    async def text(self) -> str:
        text = (await self._reader.read()).decode().strip()
        self.writer.close()
        return text


@pytest.fixture
def parts(world: Any) -> dict[str, Part]:
    world.view.taps = Taps(read_clock, seed=1)
    parts = {name: Part() for name in ("source:lab", "step:main.set[0]", "sink:db")}
    conceals = {"main.redact[1]": lambda record: {**record, "card": "***"}}
    world.view.taps.attach(
        Point(name, part, {} if name == "sink:db" else conceals) for name, part in parts.items()
    )
    return parts


@pytest.fixture
async def control(
    tmp_path: Path, world: Any, parts: dict[str, Part], request: pytest.FixtureRequest
) -> AsyncIterator[ControlServer]:
    """A server that waits long for its clients, or for the seconds that `parametrize` gives it."""
    assert parts

    async def reload(dry_run: bool, peer: AskingProcess) -> dict[str, Any]:
        raise AssertionError((dry_run, peer))

    server = ControlServer(
        world.view,
        Watch(world.view),
        tmp_path / "control.sock",
        group=None,
        reload=reload,
        backing=backing_in(tmp_path),
        timeout_s=getattr(request, "param", 30.0),
    )
    await server.open()
    yield server
    await server.close()


@pytest.fixture
async def tap(control: ControlServer) -> AsyncIterator[Callable[..., Awaitable[Stream]]]:
    streams: list[Stream] = []

    async def tap(**given: Any) -> Stream:
        query = "&".join(f"{name}={quote(str(value))}" for name, value in given.items())
        streams.append(await Stream.open(control.path, f"/tap?{query}"))
        return streams[-1]

    yield tap
    for stream in streams:
        stream.writer.close()


async def test_the_points_are_listed_with_the_steps_that_conceal_something(
    control: ControlServer, tap: Any
) -> None:
    open_stream = await tap(point="sink:db")
    assert open_stream.code == 200
    stream = await Stream.open(control.path, "/points")
    later = ["main.redact[1]"]
    assert json.loads(await stream.text()) == {
        "points": [
            {"point": "source:lab", "kind": "source", "name": "lab", "taps": 0, "concealed_by": later},
            {
                "point": "step:main.set[0]",
                "kind": "step",
                "name": "main.set[0]",
                "taps": 0,
                "concealed_by": later,
            },
            {"point": "sink:db", "kind": "sink", "name": "db", "taps": 1, "concealed_by": []},
        ]
    }


async def test_a_stream_says_where_it_looks_shows_records_and_tells_what_it_skipped(
    tap: Any, parts: dict[str, Part]
) -> None:
    stream = await tap(point="main.set", rate=2, fields="n,card")
    name, opened = await stream.event()
    assert (name, opened["point"], opened["rate"], opened["once"]) == ("open", "step:main.set[0]", 2, None)
    parts["step:main.set[0]"].see(*({"n": n, "card": "4111", "more": n} for n in range(5)))
    before_wall_s = read_clock().wall_s
    events = [await stream.event() for _ in range(3)]
    assert [name for name, _ in events] == ["record", "record", "skipped"]
    assert all(
        set(data["record"]) == {"n", "card"} and data["record"]["card"] == "***" for _, data in events[:2]
    )
    assert all(abs(data["at_wall_s"] - before_wall_s) < 60 for _, data in events[:2])
    assert events[2][1] == {"records": 3, "rate": 3}


async def test_once_ends_the_stream_without_waiting_for_the_second(
    tap: Any, parts: dict[str, Part], until: Until
) -> None:
    stream = await tap(point="source:lab", once=2, where="n > 1")
    await stream.event()
    parts["source:lab"].see({"n": 1}, {"n": 2}, {"n": 3}, {"n": 4})
    events = await stream.events()
    assert [name for name, _ in events] == ["record", "record", "end"]
    assert [data["record"]["n"] for _, data in events[:2]] == [2, 3]
    assert events[-1][1]["reason"] == "once"
    assert (events[-1][1]["shown"], events[-1][1]["skipped"]) == (2, 0)
    await until(lambda: parts["source:lab"].tap is None)


@pytest.mark.parametrize("reason", ["removed", "stopping"])
async def test_a_stream_ends_with_the_reason_and_what_was_seen(
    tap: Any, parts: dict[str, Part], world: Any, reason: Any
) -> None:
    stream = await tap(point="sink:db")
    await stream.event()
    parts["sink:db"].see({"n": 1})
    world.view.taps.end(reason)
    (record, end) = await stream.events()
    assert (record[1]["record"], end[0], end[1]["reason"]) == ({"n": 1}, "end", reason)


async def test_a_condition_that_fails_on_a_record_says_why(tap: Any, parts: dict[str, Part]) -> None:
    stream = await tap(point="sink:db", where="n > 1")
    await stream.event()
    parts["sink:db"].see({"n": "text"})
    name, skipped = await stream.event()
    assert (name, skipped["records"], skipped["failed"]) == ("skipped", 1, 1)
    assert skipped["why"].startswith("expr:type")


async def test_a_field_that_no_record_has_is_named(tap: Any, parts: dict[str, Part]) -> None:
    stream = await tap(point="sink:db", where="vlaue > 1")
    await stream.event()
    parts["sink:db"].see({"value": 2, "@peer": "p"})
    assert await stream.event() == ("unseen", {"fields": ["vlaue"], "tried": 1, "there": ["value"]})


@pytest.mark.parametrize(
    ("query", "code", "part"),
    [
        ("", 404, "point is missing; there are source:lab, step:main.set[0], sink:db"),
        ("point=source:lba", 404, "there is no point source:lba (did you mean source:lab?); there are"),
        ("point=%1b[2J", 404, r"there is no point \x1b[2J; there are"),
        ("point=lab&where=n+%3E", 400, "where: "),
        ("point=lab&where=", 400, "where: "),
        ("point=lab&where=__import__(%27os%27)", 400, "where: "),
        ("point=lab&fields=a,,b", 400, "fields: "),
        ("point=lab&fields=", 400, "fields: "),
        ("point=lab&fields=" + ",".join(map(str, range(101))), 400, "fields: "),
        ("point=lab&rate=0", 400, "rate: must be a whole number from 1 to 1000"),
        ("point=lab&rate=1001", 400, "rate: "),
        ("point=lab&rate=x", 400, "rate: "),
        ("point=lab&rate=1.5", 400, "rate: "),
        ("point=lab&once=0", 400, "once: must be a whole number from 1 to 1000"),
        ("point=lab&once=" + "9" * 50, 400, "once: "),
        ("point=lab&other=1", 400, "other is no parameter here"),
        ("point=lab&where=%ff", 400, ""),
    ],
)  # fmt: skip
async def test_wrong_requests_are_refused_in_their_own_words(
    control: ControlServer, world: Any, query: str, code: int, part: str
) -> None:
    stream = await Stream.open(control.path, f"/tap?{query}".rstrip("?"))
    text = await stream.text()
    assert (stream.code, part in text) == (code, True), text
    assert "\n" not in text
    assert len(world.view.taps) == 0


async def test_too_many_taps_are_refused_and_counted(
    tap: Any, world: Any, parts: dict[str, Part], until: Until
) -> None:
    streams = [await tap(point="lab") for _ in range(MAX_TAPS)]
    assert [stream.code for stream in streams] == [200] * MAX_TAPS
    refused = await tap(point="lab")
    assert refused.code == 503
    assert "already" in await refused.text()
    streams[0].writer.close()
    await until(lambda: len(world.view.taps) == MAX_TAPS - 1)
    assert (await tap(point="lab")).code == 200
    assert (world.view.taps.counts.refused, world.view.control_refused) == (1, {})
    assert parts["source:lab"].tap is not None


async def test_a_client_that_disconnects_leaves_no_tap(
    tap: Any, world: Any, parts: dict[str, Part], until: Until
) -> None:
    stream = await tap(point="source:lab")
    assert parts["source:lab"].tap is not None
    stream.writer.close()
    await until(lambda: parts["source:lab"].tap is None)
    assert len(world.view.taps) == 0


@pytest.mark.parametrize("control", [0.3], indirect=True)
async def test_a_client_that_does_not_read_is_cut_off_and_holds_nothing(
    control: ControlServer, tap: Any, world: Any, parts: dict[str, Part], until: Until
) -> None:
    await tap(point="source:lab", rate=1000)

    def see_until_it_is_gone() -> bool:
        parts["source:lab"].see(*({"n": n, "text": "x" * 1000} for n in range(1000)))
        return len(world.view.taps) == 0

    await until(see_until_it_is_gone)
    assert control.refused == {"timeout": 1}
    assert parts["source:lab"].tap is None
    assert world.view.taps.counts.skipped["slow"] > 0


async def test_head_opens_no_tap(control: ControlServer, world: Any) -> None:
    reader, writer = await asyncio.open_unix_connection(control.path)
    writer.write(b"HEAD /tap?point=lab HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200")
    assert len(world.view.taps) == 0


@pytest.mark.parametrize("target", ["/points", "/tap?point=source:lab"])
async def test_a_daemon_without_taps_says_why(control: ControlServer, world: Any, target: str) -> None:
    world.view.tap_refusal = "with several processes there are no taps"
    stream = await Stream.open(control.path, target)
    assert stream.code == 501
    assert "with several processes there are no taps" in await stream.text()
