"""What holds for every sink, those of other packages too."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from streamd import registry
from streamd.codecs.json import Json
from streamd.components import encoder_of
from streamd.core.batch import Batch
from streamd.core.contracts import AnySink, SinkContext, Written
from streamd.core.errors import SinkError
from streamd.core.frames import Frames
from streamd.core.settings import SinkSettings
from streamd.runtime.backoff import Backoff
from tests import declared

Until = Callable[[Callable[[], bool]], Awaitable[None]]
NewSink = Callable[..., AnySink]

SOME = {"retention": {"min_free": "0B"}}
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "file": [{}, {"format": "csv", "columns": ["n"], "max_size": "64B"}],
    "sqlite": [SOME, {"columns": {"n": "int"}, "extra": "reject"} | SOME, {"path": "%Y-%m-%d.db"} | SOME],
    "tcp": [{}, {"framing": "octet_counting"}],
}
"""More than a type requires, where that makes a difference; a type without an entry is tested as well."""

pytestmark = pytest.mark.usefixtures("other_package")


@pytest.fixture
async def peer() -> AsyncIterator[str]:
    """Somebody who reads whatever is sent to the address."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    yield "{}:{}".format(*server.sockets[0].getsockname()[:2])
    server.close()


@pytest.fixture
async def to_own_peer(sink_case: Any, bench: Any) -> AsyncIterator[dict[str, Any]]:
    """The options by which a sink reaches the peer that its own test makes, if it does."""
    own_peer = declared.declared("sinks", sink_case.type, "peer", None)
    if own_peer is None:
        yield {}
        return
    async with own_peer(bench.folder) as options:
        yield options


@pytest.fixture
def config_of(
    peer: str, to_own_peer: dict[str, Any], least: Callable[..., dict[str, Any]]
) -> Callable[[Any], SinkSettings]:
    """Makes the settings of a case; the peer of a sink that has one is there."""

    def make(case: Any) -> SinkSettings:
        config = registry.load("sinks", case.type).Config
        needed = least(config)
        options = {key: peer if at == "127.0.0.1:0" else at for key, at in needed.items()}
        options |= case.options | to_own_peer
        settings: SinkSettings = config.model_validate({"type": case.type} | options)
        return settings

    return make


@pytest.fixture
def new_sink(config_of: Callable[..., SinkSettings], bench: Any) -> NewSink:
    """Makes a sink of a case; it writes to the folder of `bench`, or where its context says."""

    def make(case: Any, context: SinkContext | None = None) -> AnySink:
        config = config_of(case)
        encoder = encoder_of(config)
        own = SinkContext("store", {}, bench.folder, bench.office, bench.shared, encoder=encoder)
        sink: AnySink = registry.load("sinks", case.type)(config, context or own)
        return sink

    return make


def open_files_now() -> set[str]:
    """The files, pipes and sockets that this process has open."""
    found = set()
    for handle in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(f"{handle.name} {handle.readlink()}")
    return found


def files_in(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*"))


def connected_now() -> set[str]:
    """The addresses and unix sockets that this process is connected to, but for its own listeners' side."""
    found: set[tuple[Any, Any]] = set()
    listening = set()
    for handle in [line.split()[0] for line in open_files_now() if "socket:[" in line]:
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(handle))) as own:
            if own.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                listening.add(own.getsockname())
            else:
                found.add((own.getsockname(), own.getpeername()))
    others = [peer for here, peer in found if here not in listening and peer]
    return {peer if isinstance(peer, str) else "{}:{}".format(*peer[:2]) for peer in others}


def locked_now(folder: Path) -> set[Path]:
    """The files of the folder that this process has locked as a whole."""
    found = set()
    inodes = {path.stat().st_ino: path for path in folder.rglob("*") if path.is_file()}
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if "FLOCK" in fields and fields[fields.index("FLOCK") + 3] == str(os.getpid()):
            inode = int(fields[fields.index("FLOCK") + 4].rpartition(":")[2])
            found |= {inodes[inode]} if inode in inodes else set()
    return found


def is_of(path: Path, at: Path) -> bool:
    """Whether a file is the output `at`, one of its numbered or dated forms, or beside it for its sake."""
    stem = at.name.split("%")[0]
    return path.name.startswith(stem) and path.parent == at.parent if stem else path.parent == at.parent


async def assert_declares_what_it_writes(sink: AnySink, folder: Path, batches: Sequence[Batch]) -> None:
    peers, before = connected_now(), {name for name, _ in files_in(folder)}
    await sink.open()
    try:
        await sink.write(batches)
        outputs = sink.config.outputs
        written = [Path(name) for name, _ in files_in(folder) if name not in before]
        places = [folder / output.at for output in outputs if output.in_files]
        assert not [path for path in written if not any(is_of(path, place) for place in places)]
        assert not [place for place in places if not any(is_of(path, place) for path in written)]
        at_peers = {output.at for output in outputs if not output.in_files}
        assert connected_now() - peers == {at if ":" in at else str(folder / at) for at in at_peers}
        held = {Path(at) for kind, at in sink.places if kind == "file"}
        assert locked_now(folder) == {path.resolve() for path in held}
    finally:
        await sink.close()


def frames_of(*payloads: bytes) -> list[Frames]:
    """Two senders, each with several reads."""
    return [
        Frames.of([payload, payload], f"127.0.0.1:{5 + n % 2}", 1e9 + n) for n, payload in enumerate(payloads)
    ]


GOOD_AND_BAD = (b'{"n":1}', b'{"n":2,"more":[1,{"deep":null}]}', b"{bad", b'{"n":"text"}', b'{"n":-3}')


@pytest.fixture
def line_to(new_line: Any, new_sink: NewSink) -> Callable[..., Awaitable[Any]]:
    """Makes a running line that ends in the sink of a case."""

    async def make(case: Any, **options: Any) -> Any:
        line = new_line(codec=Json(Json.Config(), None), sink=lambda c: new_sink(case, c), **options)
        await line.sink.open()
        line.run()
        return line

    return make


async def test_every_option_has_a_description(sink_case: Any, config_of: Any) -> None:
    fields = type(config_of(sink_case)).model_fields
    assert not [name for name, info in fields.items() if not info.description]
    assert config_of(sink_case) == config_of(sink_case)


async def test_its_outputs_name_keys_of_its_own(sink_case: Any, config_of: Any) -> None:
    config = config_of(sink_case)
    for output in config.outputs:
        assert output.at == str(getattr(config, output.key))


async def test_a_rehearsal_changes_nothing(sink_case: Any, new_sink: NewSink, bench: Any) -> None:
    sink = new_sink(sink_case)
    before, open_files = files_in(bench.folder), open_files_now()
    sink.rehearse()
    assert files_in(bench.folder) == before
    assert len(open_files_now()) == len(open_files)


async def test_its_outputs_and_places_are_what_it_writes_to(
    sink_case: Any, new_sink: NewSink, bench: Any, batch_of: Callable[..., Any]
) -> None:
    await assert_declares_what_it_writes(new_sink(sink_case), bench.folder, [batch_of([{"n": 1}])])


async def test_a_sink_that_writes_elsewhere_than_it_declares_is_found(
    bench: Any, batch_of: Callable[..., Any]
) -> None:
    parts = registry.load("sinks", "parts")

    class Careless(parts):  # type: ignore[misc,valid-type]  # found by its name
        async def write(self, batches: Sequence[Batch]) -> Written:
            (self.context.state_dir / "elsewhere").touch()
            written: Written = await super().write(batches)
            return written

    sink = Careless(
        parts.Config(type="parts", target="target"),
        SinkContext("store", {}, bench.folder, bench.office, bench.shared),
    )
    with pytest.raises(AssertionError, match="elsewhere"):
        await assert_declares_what_it_writes(sink, bench.folder, [batch_of([{"n": 1}])])


async def test_each_batch_of_a_write_has_one_fate(
    sink_case: Any, new_sink: NewSink, bench: Any, batch_of: Callable[..., Any]
) -> None:
    sink = new_sink(sink_case)
    await sink.open()
    batches = [batch_of([{"n": n} for n in range(size)]) for size in (1, 3, 2)]
    written = await sink.write(batches)
    assert len(written.rejected) == len(written.replaced) == len(batches)
    for batch, rejected in zip(batches, written.rejected, strict=True):
        assert list(rejected) == sorted(set(rejected))
        assert set(rejected) <= set(range(len(batch)))
    await sink.close()
    assert not bench.office.letters


async def test_what_it_is_given_is_stored_or_a_dead_letter(
    sink_case: Any, line_to: Callable[..., Awaitable[Any]]
) -> None:
    line = await line_to(sink_case)
    for frames in frames_of(*GOOD_AND_BAD):
        line.offer(frames)
    await line.drain()
    (book,) = line.books.deliveries.values()
    frames = line.books.source("lab")
    assert (frames.received, frames.decoded, frames.rejected.total()) == (10, 8, 2)
    assert (book.offered, book.stored + book.rejected, book.dropped.total()) == (8, 8, 0)
    assert book.stored >= 4
    assert len(line.letters.letters) == frames.rejected.total() + book.rejected
    line.assert_exact()


@pytest.mark.parametrize("fault", [SinkError("io", "not now"), RuntimeError("a bug")], ids=["sink", "bug"])
async def test_what_fails_is_tried_again_and_settled_once(
    sink_case: Any, line_to: Callable[..., Awaitable[Any]], fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backoff, "next_s", lambda _: 0.0)
    line = await line_to(sink_case)
    faults, write = [fault, fault], line.sink.write

    async def fail_first(batches: Sequence[Batch]) -> Written:
        if faults:
            raise faults.pop()
        written: Written = await write(batches)
        return written

    line.sink.write = fail_first
    for frames in frames_of(*GOOD_AND_BAD):
        line.offer(frames)
    await line.drain()
    (book,) = line.books.deliveries.values()
    assert not faults
    assert (book.offered, book.stored + book.rejected, book.dropped.total()) == (8, 8, 0)
    line.assert_exact()


@pytest.mark.parametrize("when_full", ["drop_newest", "drop_oldest", "block"])
async def test_a_full_buffer_loses_nothing_that_is_not_counted(
    sink_case: Any, line_to: Callable[..., Awaitable[Any]], when_full: str
) -> None:
    line = await line_to(sink_case, when_full=when_full, max_records=2)
    for frames in frames_of(*GOOD_AND_BAD * 3):
        line.offer(frames)
    await line.drain()
    assert line.books.source("lab").received == 30
    if when_full == "block":
        assert not any(book.dropped for book in line.books.every())
    line.assert_exact()


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 20])
async def test_a_write_that_is_cancelled_leaves_no_ack_open(
    sink_case: Any, line_to: Callable[..., Awaitable[Any]], turns: int
) -> None:
    line = await line_to(sink_case, max_records=4)
    for frames in frames_of(*GOOD_AND_BAD * 4):
        line.offer(frames)
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await line.abandon()
    line.assert_exact()


async def test_two_closes_are_one_and_it_may_be_closed_before_it_was_opened(
    sink_case: Any, new_sink: NewSink, batch_of: Callable[..., Any]
) -> None:
    await new_sink(sink_case).close()
    sink = new_sink(sink_case)
    open_files = open_files_now()
    await sink.open()
    await sink.write([batch_of([{"n": 1}])])
    await sink.close()
    await sink.close()
    kept = {line for line in open_files_now() - open_files if "socket:" not in line}
    assert not kept  # sockets are those of the peer too, which ends in its own time


async def test_a_close_beside_a_write_waits_for_nothing_for_ever(
    sink_case: Any, new_sink: NewSink, batch_of: Callable[..., Any]
) -> None:
    sink = new_sink(sink_case)
    await sink.open()
    writing = asyncio.ensure_future(sink.write([batch_of([{"n": n} for n in range(500)])]))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait({writing}, timeout=10)
    async with asyncio.timeout(30):
        await sink.close()
    again = new_sink(sink_case)  # and what it held is free
    await again.open()
    await again.write([batch_of([{"n": 1}])])
    await again.close()
