"""What holds for every source, those of other packages too."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from streamd import registry
from streamd.codecs.json import Json
from streamd.components import framers
from streamd.core.contracts import AnySource, Outlet, SourceContext
from streamd.core.counters import Counters
from streamd.core.errors import EnvironmentFault
from streamd.core.settings import Address, Endpoint, SourceSettings
from streamd.net.sockets import ListeningSockets
from tests import declared

Until = Callable[[Callable[[], bool]], Awaitable[None]]
NewSource = Callable[..., AnySource]

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "generate": [{"rate": 1000.0}],
    "unix": [{"mode": "stream"}, {"mode": "datagram"}],
    "udp": [{}, {"framing": "newline"}],
}
"""More than a type requires, where that makes a difference; a type without an entry is tested as well."""
FRAME = b'{"n":1}'

pytestmark = pytest.mark.usefixtures("other_package")


@pytest.fixture
def new_source(tmp_path: Path, least: Callable[..., dict[str, Any]]) -> NewSource:
    """Makes a source of a case; its folder is `tmp_path`, and a file that it follows is there."""

    def make(
        case: Any, sockets: ListeningSockets | None = None, counters: Counters | None = None, **more: Any
    ) -> AnySource:
        cls = registry.load("sources", case.type)
        options = least(cls.Config) | case.options | more
        own_place = declared.declared("sources", case.type, "place", None)
        options |= {} if own_place is None else own_place(tmp_path)
        config: SourceSettings = cls.Config.model_validate({"type": case.type} | options)
        if not config.endpoints and "path" in options:
            (tmp_path / options["path"]).touch()
        context = SourceContext(
            "lab",
            Counters() if counters is None else counters,
            framers(config.cut_by),
            tmp_path,
            tmp_path,
            sockets,
            cls.read_files(config, tmp_path),
        )
        source: AnySource = cls(config, context)
        return source

    return make


def is_datagram(source: AnySource, endpoint: Endpoint) -> bool:
    return endpoint.kind == "udp" or (endpoint.kind == "unix" and not source.config.streams)


def sender_to(source: AnySource, endpoint: Endpoint) -> socket.socket:
    kind = socket.SOCK_DGRAM if is_datagram(source, endpoint) else socket.SOCK_STREAM
    family = socket.AF_UNIX if endpoint.kind == "unix" else socket.AF_INET
    sender = socket.socket(family, kind)
    sender.settimeout(60)
    sender.connect(str(source.address) if endpoint.kind == "unix" else tuple(source.address))
    return sender


def followed_by(source: AnySource) -> Path | None:
    """The file that it follows, if it does."""
    path = None if source.config.endpoints else Path(str(source.address))
    return path if path is not None and path.is_file() else None


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def send(source: AnySource, *frames: bytes) -> int:
    """Frames by every way that the source takes them; how many ways there are."""
    own_send = declared.declared("sources", source.config.type, "send", None)
    if own_send is not None:
        own_send(source, *frames)
        return 1
    if (path := followed_by(source)) is not None:
        append(path, b"".join(frame + b"\n" for frame in frames))
        return 1
    for endpoint in source.config.endpoints:
        with sender_to(source, endpoint) as sender:
            for frame in frames:
                sender.sendall(frame + b"\n")
    return len(source.config.endpoints)


def open_files_now() -> int:
    """The number of open files, without the one that uvloop keeps in reserve from its first connection on."""
    found = 0
    for handle in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(handle.readlink()) != "/dev/null"
    return found


def files_in(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*"))


def bound_now() -> set[tuple[str, str]]:
    """Protocol and address of each socket that this process has bound or listens with, as the kernel says."""
    found = set()
    own = set()
    for handle in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            own.add(handle.readlink().name.removeprefix("socket:[").removesuffix("]"))
    for protocol, listening in (("udp", "07"), ("tcp", "0A")):
        for line in Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in own and fields[3] == listening:
                host, port = fields[1].split(":")
                address = socket.inet_ntop(socket.AF_INET, int(host, 16).to_bytes(4, "little"))
                found.add((protocol, f"{address}:{int(port, 16)}"))
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if fields[6] in own and len(fields) == 8:
            found.add(("unix", fields[7]))
    return found


async def assert_declares_what_it_binds(source: AnySource, outlet: Outlet, folder: Path) -> None:
    before = bound_now()
    await source.open(outlet)
    try:
        bound = bound_now() - before
        assert len(bound) == len(source.config.endpoints)
        for endpoint in source.config.endpoints:
            at = str(source.address) if isinstance(endpoint.at, Address) else str(folder / endpoint.at)
            assert (endpoint.kind, at) in bound
        assert bound <= set(source.places)
    finally:
        await source.stop()
    assert bound_now() == before


async def test_every_option_has_a_description_and_goes_round_through_json(
    source_case: Any, new_source: NewSource
) -> None:
    config = new_source(source_case).config
    assert not [name for name, info in type(config).model_fields.items() if not info.description]
    assert config.model_dump_json(by_alias=True, exclude_unset=True)
    assert new_source(source_case).config == config


async def test_what_comes_is_offered_once_and_two_stops_are_one(
    source_case: Any, new_source: NewSource, new_line: Any, until: Until
) -> None:
    line = new_line()
    line.run()
    source = new_source(source_case, counters=line.intake.book.counters)
    await source.open(line)
    ways = send(source, FRAME, FRAME)
    await until(lambda: len(line.payloads) >= max(1, 2 * ways))
    await source.stop()
    offered = len(line.payloads)
    await source.stop()
    await line.drain()
    assert len(line.payloads) == offered == len(line.sink.records)
    assert not ways or [payload.rstrip(b"\n") for payload in line.payloads] == [FRAME] * 2 * ways
    assert line.books.source("lab").dropped.total() == 0
    line.assert_exact()


async def test_frames_that_cannot_be_used_are_dead_letters_and_counted(
    source_case: Any, new_source: NewSource, new_line: Any, until: Until
) -> None:
    line = new_line(codec=Json(Json.Config(), None))
    line.run()
    source = new_source(source_case, counters=line.intake.book.counters)
    await source.open(line)
    ways = send(source, FRAME, b"{bad", FRAME)
    await until(lambda: len(line.payloads) >= max(1, 3 * ways))
    await source.stop()
    await line.drain()
    assert len(line.letters.letters) == ways
    assert line.books.source("lab").rejected.total() == ways
    line.assert_exact()


@pytest.mark.parametrize("when_full", ["block", "drop_newest", "drop_oldest"])
@pytest.mark.parametrize("ends", ["drain", "abandon"])
async def test_a_full_buffer_loses_nothing_that_is_not_counted(
    source_case: Any, new_source: NewSource, new_line: Any, until: Until, when_full: str, ends: str
) -> None:
    line = new_line(max_records=2, when_full=when_full)
    line.run()
    line.sink.gate.clear()
    source = new_source(source_case, counters=line.intake.book.counters)
    await source.open(line)
    sending = asyncio.ensure_future(asyncio.to_thread(send, source, *[FRAME] * 40))
    book = line.books.source("lab")
    await until(lambda: line.intake.buffer.full or any(every.dropped for every in line.books.every()))
    await source.stop()
    if ends == "drain":
        line.sink.gate.set()
        await line.drain()
    else:
        await line.abandon()
    await source.stop()
    with contextlib.suppress(OSError):  # a sender that was made to wait finds nobody any more
        await sending
    assert book.received == len(line.payloads)
    stored = sum(deliveries.stored for deliveries in line.books.deliveries.values())
    assert stored == len(line.sink.records)
    if when_full == "block" and ends == "drain":
        assert stored == len(line.payloads)
    line.assert_exact()


async def test_a_stop_with_half_a_frame_in_an_open_connection_keeps_or_counts_it(
    source_case: Any, new_source: NewSource, new_line: Any, until: Until
) -> None:
    line = new_line()
    line.run()
    source = new_source(source_case, counters=line.intake.book.counters)
    if not source.config.streams or not source.config.endpoints:
        pytest.skip("it has no connections")
    await source.open(line)
    (endpoint,) = source.config.endpoints
    with sender_to(source, endpoint) as sender, sender_to(source, endpoint) as silent:
        sender.sendall(FRAME + b"\n" + FRAME[:3])
        await until(lambda: len(line.payloads) == 1 and source.open_connections == 2)
        await source.stop()
        assert source.open_connections == 0
        for connection in (sender, silent):
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.to_thread(connection.recv, 1) == b""
    await line.drain()
    assert line.payloads == [FRAME, FRAME[:3]]
    assert line.flags == ["", "unterminated"]
    assert line.intake.book.counters["unterminated", ""] == 1
    line.assert_exact()


async def test_half_a_frame_of_a_file_waits_for_its_end_and_for_the_next_start(
    source_case: Any, new_source: NewSource, new_line: Any, until: Until
) -> None:
    line = new_line()
    source = new_source(source_case)
    path = followed_by(source)
    if path is None:
        pytest.skip("it follows no file")
    line.run()
    await source.open(line)
    append(path, FRAME + b"\n" + FRAME[:3])
    await until(lambda: len(line.sink.records) == 1)
    await source.stop()
    await line.drain()
    await source.stop()
    assert line.payloads == [FRAME]
    line.assert_exact()
    append(path, FRAME[3:] + b"\n")
    line, source = new_line(), new_source(source_case)
    line.run()
    await source.open(line)
    await until(lambda: len(line.sink.records) == 1)
    await source.stop()
    await line.drain()
    assert line.payloads == [FRAME]
    line.assert_exact()


async def test_stopping_what_was_never_opened_does_nothing(
    source_case: Any, new_source: NewSource, tmp_path: Path
) -> None:
    source = new_source(source_case)
    before = files_in(tmp_path)
    await source.stop()
    assert files_in(tmp_path) == before


async def test_a_rehearsal_changes_nothing_and_the_source_opens_afterwards(
    source_case: Any, new_source: NewSource, capture: Any, tmp_path: Path
) -> None:
    source = new_source(source_case)
    before = files_in(tmp_path)
    open_files = open_files_now()
    source.rehearse()
    assert files_in(tmp_path) == before
    assert open_files_now() == open_files
    await source.open(capture)
    await source.stop()


async def test_its_endpoints_and_places_are_what_it_binds(
    source_case: Any, new_source: NewSource, capture: Any, tmp_path: Path
) -> None:
    await assert_declares_what_it_binds(new_source(source_case), capture, tmp_path)


async def test_a_source_that_declares_nothing_and_binds_is_found(capture: Any, tmp_path: Path) -> None:
    knock = registry.load("sources", "knock")

    class Quiet(knock):  # type: ignore[misc,valid-type]  # found by its name
        class Config(knock.Config):  # type: ignore[misc,name-defined]
            @property
            def endpoints(self) -> tuple[Endpoint, ...]:
                return ()

    config = Quiet.Config.model_validate({"type": "quiet", "door": "127.0.0.1:0"})
    with pytest.raises(AssertionError):
        await assert_declares_what_it_binds(
            Quiet(config, SourceContext("lab", Counters(), None)), capture, tmp_path
        )


async def test_a_rehearsal_and_an_opening_say_who_has_its_place(
    source_case: Any, new_source: NewSource, capture: Any
) -> None:
    first = new_source(source_case)
    await first.open(capture)
    try:
        for endpoint in first.config.endpoints:
            taken = str(endpoint.at if endpoint.kind == "unix" else first.address)
            second = new_source(source_case, **{endpoint.key: taken})
            with pytest.raises(EnvironmentFault, match="lab"):
                second.rehearse()
            with pytest.raises(EnvironmentFault, match="lab"):
                await second.open(capture)
            await second.stop()
    finally:
        await first.stop()


async def test_a_stop_gives_back_what_it_held(
    source_case: Any, new_source: NewSource, capture: Any, until: Until, tmp_path: Path
) -> None:
    sockets = ListeningSockets()
    source = new_source(source_case, sockets)
    open_files = open_files_now()
    await source.open(capture)
    held = source.config.endpoints
    await source.stop()
    await until(lambda: open_files_now() == open_files)
    again = new_source(source_case, sockets)
    again.rehearse()
    await again.open(capture)
    await again.stop()
    assert not {str(tmp_path / str(one.at)) for one in held} & {name for name, _ in files_in(tmp_path)}
