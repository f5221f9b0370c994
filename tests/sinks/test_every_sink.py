"""What holds for every sink, those of other packages too."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from streamd import registry
from streamd.core.contracts import AnySink, SinkContext
from streamd.core.settings import SinkSettings
from streamd.core.shared import Shared

OPTIONS: dict[str, dict[str, Any]] = {
    "file": {"path": "out.ndjson"},
    "sqlite": {"path": "out.db", "retention": {"min_free": "0B"}},
    "stdout": {},
    "tcp": {"address": "127.0.0.1:1"},
    "parts": {"target": "out.txt"},
}
"""The least that each type needs; nothing for a type that is not here."""
TYPES = [*registry.names("sinks"), "parts"]

pytestmark = pytest.mark.usefixtures("other_package")


def config_of(kind: str, **more: Any) -> SinkSettings:
    config: SinkSettings = registry.load("sinks", kind).Config.model_validate(
        {"type": kind} | OPTIONS.get(kind, {}) | more
    )
    return config


def made(kind: str, bench: Any, **more: Any) -> AnySink:
    context = SinkContext("store", {}, bench.folder, bench.office, Shared())
    sink: AnySink = registry.load("sinks", kind)(config_of(kind, **more), context)
    return sink


@asynccontextmanager
async def peer_of(kind: str) -> AsyncIterator[dict[str, Any]]:
    """The options that a sink with a peer needs to find one."""
    if kind != "tcp":
        yield {}
        return

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    yield {"address": f"{host}:{port}"}
    server.close()


def open_files_now() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def files_in(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*"))


@pytest.mark.parametrize("kind", TYPES)
def test_every_option_has_a_description(kind: str) -> None:
    fields = type(config_of(kind)).model_fields
    assert not [name for name, info in fields.items() if not info.description]
    assert config_of(kind) == config_of(kind)


@pytest.mark.parametrize("kind", TYPES)
def test_its_outputs_name_keys_of_its_own(kind: str) -> None:
    outputs = config_of(kind).outputs
    assert {output.key for output in outputs} <= set(OPTIONS.get(kind, {}))
    assert all(output.at in map(str, OPTIONS.get(kind, {}).values()) for output in outputs)


@pytest.mark.parametrize("kind", TYPES)
async def test_a_rehearsal_changes_nothing(kind: str, bench: Any) -> None:
    sink = made(kind, bench)
    before, open_files = files_in(bench.folder), open_files_now()
    sink.rehearse()
    assert files_in(bench.folder) == before
    assert open_files_now() == open_files


@pytest.mark.parametrize("kind", TYPES)
async def test_what_it_has_open_is_what_it_declares(kind: str, bench: Any) -> None:
    async with peer_of(kind) as more:
        sink = made(kind, bench, **more)
        await sink.open()
        for output in sink.config.outputs:
            if output.kind != "peer":
                assert (bench.folder / output.at).exists()
        await sink.close()


@pytest.mark.parametrize("kind", TYPES)
async def test_each_batch_of_a_write_has_one_fate(
    kind: str, bench: Any, batch_of: Callable[..., Any], capfd: Any
) -> None:
    async with peer_of(kind) as more:
        sink = made(kind, bench, **more)
        await sink.open()
        batches = [batch_of([{"n": n} for n in range(size)]) for size in (1, 3, 2)]
        written = await sink.write(batches)
        assert len(written.rejected) == len(written.replaced) == len(batches)
        for batch, rejected in zip(batches, written.rejected, strict=True):
            assert list(rejected) == sorted(set(rejected))
            assert set(rejected) <= set(range(len(batch)))
        await sink.close()
    del capfd
    assert not bench.office.letters


@pytest.mark.parametrize("kind", TYPES)
async def test_two_closes_are_one_and_it_may_be_closed_before_it_was_opened(
    kind: str, bench: Any, batch_of: Callable[..., Any]
) -> None:
    await made(kind, bench).close()
    async with peer_of(kind) as more:
        sink = made(kind, bench, **more)
        await sink.open()
        await sink.write([batch_of([{"n": 1}])])
        await sink.close()
        await sink.close()


@pytest.mark.parametrize("kind", TYPES)
async def test_a_close_beside_a_write_waits_for_nothing_for_ever(
    kind: str, bench: Any, batch_of: Callable[..., Any]
) -> None:
    async with peer_of(kind) as more:
        sink = made(kind, bench, **more)
        await sink.open()
        writing = asyncio.ensure_future(sink.write([batch_of([{"n": n} for n in range(500)])]))
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait({writing}, timeout=10)
        async with asyncio.timeout(10):
            await sink.close()
        again = made(kind, bench, **more)  # and what it held is free
        await again.open()
        await again.write([batch_of([{"n": 1}])])
        await again.close()
