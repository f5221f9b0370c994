import asyncio
import csv
import gzip
import json
import os
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.components import encoder_of
from streamd.core.batch import Batch
from streamd.core.contracts import SinkContext
from streamd.core.errors import ConfigError, EnvironmentFault, SinkError
from streamd.core.shared import Shared
from streamd.sinks.file import File

DAY_S = 86400.0


class Folder:
    """Makes file sinks in one folder and reads what they wrote."""

    def __init__(self, path: Path, office: Any) -> None:
        self.path = path
        self.office = office
        self._open: list[File] = []

    def sink(self, **config: Any) -> File:
        settings = File.Config.model_validate({"type": "file", "path": "out.ndjson", **config})
        return File(
            settings,
            SinkContext("out", {}, self.path, self.office, Shared(), encoder=encoder_of(settings)),
        )

    async def open(self, **config: Any) -> File:
        sink = self.sink(**config)
        await sink.open()
        self._open.append(sink)
        return sink

    async def close(self) -> None:
        while self._open:
            await self._open.pop().close()

    def names(self) -> list[str]:
        return sorted(path.name for path in self.path.iterdir())

    def lines(self) -> list[bytes]:
        """Of all files, in no order."""
        found: list[bytes] = []
        for path in self.path.iterdir():
            data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            assert not data or data.endswith(b"\n"), path
            found += data.splitlines()
        return found


@pytest.fixture
async def folder(tmp_path: Path, bench: Any) -> AsyncIterator[Folder]:
    path = tmp_path / "files"
    path.mkdir()
    made = Folder(path, bench.office)
    yield made
    await made.close()


BatchOf = Callable[..., Batch]


async def test_records_are_lines_of_json_in_order_and_a_second_run_goes_on(
    folder: Folder, batch_of: BatchOf
) -> None:
    for start in (0, 2):
        sink = await folder.open()
        await sink.write([batch_of([{"n": start}]), batch_of([{"n": start + 1}])])
        await folder.close()
    assert (folder.path / "out.ndjson").read_bytes() == b'{"n":0}\n{"n":1}\n{"n":2}\n{"n":3}\n'
    assert sink.context.counters.numbers() == {}


async def test_csv_has_a_header_in_each_file_and_any_text_survives(folder: Folder, batch_of: BatchOf) -> None:
    odd = 'a "quoted", text\r\nof two lines\n\r'
    records = [
        {"a": odd, "b": {"c": 1.5}, "d": True, "left": "out"},
        {"a": None, "b": {"c": [1, "x"]}, "d": b"\x00"},
        {"b.c": "the exact key"},
    ]
    for _ in range(2):
        sink = await folder.open(path="out.csv", format="csv", columns=["a", "b.c", "d"], metadata=True)
        await sink.write([batch_of(records)])
        await folder.close()
    with (folder.path / "out.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file, strict=True)
    there = ["1970-01-01T00:00:00.000000Z", "lab", "127.0.0.1:5"]
    assert header == ["a", "b.c", "d", "_received_at", "_source", "_peer"]
    assert rows == 2 * [
        [odd, "1.5", "true", *there],
        ["", '[1,"x"]', "AA==", *there],
        ["", "the exact key", "", *there],
    ]


async def test_what_has_no_text_is_a_dead_letter_and_a_retry_brings_none_a_second_time(
    folder: Folder, batch_of: BatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = await folder.open(path="out.csv", format="csv", columns=["a"])
    batches = [batch_of([{"a": float("nan")}, {"a": "\ud800"}, {"a": object()}, {"a": 1}])]

    def read_only(*_: Any) -> int:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", read_only)
        with pytest.raises(SinkError, match="readonly"):
            await sink.write(batches)
    assert (await sink.write(batches)).rejected == [[0, 1, 2]]
    assert (folder.path / "out.csv").read_bytes() == b"a\r\n1\r\n"
    assert len(folder.office.letters) == 3


@pytest.mark.parametrize("compress", [False, True])
async def test_rotation_by_size_loses_and_repeats_nothing(
    compress: bool, folder: Folder, batch_of: BatchOf
) -> None:
    sink = await folder.open(max_size="4KiB", gzip=compress)
    for start in range(0, 3000, 10):
        await sink.write([batch_of([{"n": number} for number in range(start, start + 10)])])
    await folder.close()
    rotated = sink.context.counters["files_rotated", ""]
    assert rotated == len(folder.names()) - 1 > 5
    assert sorted(json.loads(line)["n"] for line in folder.lines()) == list(range(3000))
    plain = [path for path in folder.path.iterdir() if path.suffix != ".gz"]
    assert all(path.stat().st_size <= 4096 for path in plain)
    assert folder.names()[1].startswith("out.ndjson.000001")
    assert f"out.ndjson.{rotated:06d}" in {name.removesuffix(".gz") for name in folder.names()}


async def test_a_commit_larger_than_a_file_stays_in_one(folder: Folder, batch_of: BatchOf) -> None:
    sink = await folder.open(max_size="1KiB")
    for _ in range(2):
        await sink.write([batch_of([{"n": "x" * 100}] * 50)])
    await folder.close()
    assert folder.names() == ["out.ndjson", "out.ndjson.000001"]
    assert {path.stat().st_size for path in folder.path.iterdir()} == {50 * 109}


async def test_what_a_stop_left_uncompressed_is_compressed_by_the_next_start(
    folder: Folder, batch_of: BatchOf, until: Any
) -> None:
    (folder.path / "out.ndjson.000007").write_bytes(b'{"n":7}\n')
    (folder.path / "out.ndjson.000008.gz.tmp").write_bytes(b"half made")
    (folder.path / "out.ndjson.000008").write_bytes(b'{"n":8}\n')
    sink = await folder.open(gzip=True, max_size="1KiB")
    there = ["out.ndjson", "out.ndjson.000007.gz", "out.ndjson.000008.gz"]
    await until(lambda: folder.names() == there)
    await sink.write([batch_of([{"n": "x" * 2000}])])
    await sink.write([batch_of([{"n": 9}])])
    await until(
        lambda: "out.ndjson.000009.gz" in folder.names() and "out.ndjson.000009" not in folder.names()
    )
    assert len(folder.lines()) == 4


async def test_the_day_a_record_came_names_its_file_also_when_it_comes_late(
    folder: Folder, batch_of: BatchOf, until: Any
) -> None:
    sink = await folder.open(path="out-%Y-%m-%d.ndjson", gzip=True)
    today_s = datetime.now(UTC).timestamp()
    for day, number in ((0, 1), (1, 2), (0, 3), (1, 4), (2, 5)):
        await sink.write([batch_of([{"n": number}], received_at=today_s + day * DAY_S)])
    dates = [datetime.fromtimestamp(today_s + day * DAY_S, UTC).strftime("%Y-%m-%d") for day in range(3)]
    expected = [
        f"out-{dates[0]}.ndjson.000001.gz",
        f"out-{dates[0]}.ndjson.000002.gz",
        f"out-{dates[1]}.ndjson.000001.gz",
        f"out-{dates[2]}.ndjson",
    ]
    await until(lambda: folder.names() == expected)
    in_files = [gzip.decompress((folder.path / name).read_bytes()) for name in expected[:3]]
    assert in_files == [b'{"n":1}\n', b'{"n":3}\n', b'{"n":2}\n{"n":4}\n']


async def test_keep_deletes_the_oldest_and_counts_it(folder: Folder, batch_of: BatchOf, until: Any) -> None:
    sink = await folder.open(max_size="100B", keep=2)
    for number in range(9):
        await sink.write([batch_of([{"n": number, "fill": "x" * 80}])])
    there = ["out.ndjson", "out.ndjson.000007", "out.ndjson.000008"]
    await until(lambda: folder.names() == there)
    assert sink.context.counters.numbers() == {"files_rotated": 8, "files_removed": 6}


@pytest.mark.parametrize(
    ("found", "left"),
    [
        (b'{"n":1}\n{"n":2', b'{"n":1}\n'),
        (b'{"n":1', b""),
        (b'{"n":1}\n' + b"\0" * 5000, b'{"n":1}\n'),
        (b'{"n":"' + b"x" * 3_000_000, b""),
    ],
)
async def test_a_torn_last_line_is_cut_and_counted(
    found: bytes, left: bytes, folder: Folder, batch_of: BatchOf
) -> None:
    (folder.path / "out.ndjson").write_bytes(found)
    sink = await folder.open()
    await sink.write([batch_of([{"n": 3}])])
    assert (folder.path / "out.ndjson").read_bytes() == left + b'{"n":3}\n'
    assert sink.context.counters.numbers() == {"torn_bytes": len(found) - len(left)}


@pytest.mark.parametrize(
    ("found", "left"),
    [
        (b'a,b\r\n1,2\r\n"x\r\ny', b"a,b\r\n1,2\r\n"),
        (b'a,b\r\n"x\r\n""y",1\r\n3,', b'a,b\r\n"x\r\n""y",1\r\n'),
        (b"a,b", b""),
        (b'a,b\r\n"' + b"y\r\n" * 700_000, b"a,b\r\n"),
    ],
)
async def test_a_torn_line_of_csv_is_cut_where_the_record_began(
    found: bytes, left: bytes, folder: Folder, batch_of: BatchOf
) -> None:
    (folder.path / "out.csv").write_bytes(found)
    sink = await folder.open(path="out.csv", format="csv", columns=["a", "b"])
    await sink.write([batch_of([{"a": 7, "b": 8}])])
    assert (folder.path / "out.csv").read_bytes() == (left or b"a,b\r\n") + b"7,8\r\n"
    assert sink.context.counters.numbers() == {"torn_bytes": len(found) - len(left)}


@pytest.mark.parametrize("found", [b"SQLite format 3\0 and pages", b"a text of somebody", b"x,y\r\n1,2\r\n"])
@pytest.mark.parametrize("config", [{}, {"format": "csv", "columns": ["a"]}])
async def test_a_file_of_somebody_else_is_left_alone(
    found: bytes, config: dict[str, Any], folder: Folder
) -> None:
    (folder.path / "out.ndjson").write_bytes(found)
    with pytest.raises(EnvironmentFault, match="does not begin like"):
        await folder.open(**config)
    assert (folder.path / "out.ndjson").read_bytes() == found


async def test_a_path_is_written_by_one_sink_only(folder: Folder) -> None:
    await folder.open()
    with pytest.raises(EnvironmentFault, match="another sink"):
        await folder.open()


async def test_a_folder_or_a_pipe_where_the_file_should_be_is_a_sentence(folder: Folder) -> None:
    os.mkfifo(folder.path / "pipe")
    (folder.path / "dir").mkdir()
    for name in ("pipe", "dir", "pipe/below"):
        with pytest.raises(EnvironmentFault, match=name):
            await folder.open(path=name)


@pytest.mark.parametrize("broken", ["write", "fdatasync"])
async def test_a_write_that_fails_leaves_nothing_and_the_next_attempt_all(
    broken: str, folder: Folder, batch_of: BatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = await folder.open(synchronous="full")
    await sink.write([batch_of([{"n": 0}])])
    real = os.write
    calls = []

    def half(fd: int, data: bytes) -> int:
        calls.append(fd)
        if len(calls) % 2:
            return real(fd, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    def no_sync(_: int) -> None:
        raise OSError(5, "Input/output error")

    batches = [batch_of([{"n": number} for number in range(1, 100)])]
    monkeypatch.setattr(os, broken, half if broken == "write" else no_sync)
    for _ in range(3):
        with pytest.raises(SinkError) as raised:
            await sink.write(batches)
        assert raised.value.reason == ("disk_full" if broken == "write" else "io")
    monkeypatch.undo()
    await sink.write(batches)
    assert [json.loads(line)["n"] for line in folder.lines()] == list(range(100))


async def test_what_failed_is_taken_back_also_when_nobody_tries_again(
    folder: Folder, batch_of: BatchOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = await folder.open(synchronous="full")

    def no_sync(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", no_sync)
    with pytest.raises(SinkError):
        await sink.write([batch_of([{"n": 1}])])
    await folder.close()
    assert (folder.path / "out.ndjson").read_bytes() == b""


async def test_a_file_that_was_moved_or_deleted_or_emptied_is_begun_anew(
    folder: Folder, batch_of: BatchOf
) -> None:
    sink = await folder.open(path="out.csv", format="csv", columns=["n"])
    await sink.write([batch_of([{"n": 1}])])
    (folder.path / "out.csv").rename(folder.path / "moved")
    await sink.write([batch_of([{"n": 2}])])
    assert (folder.path / "moved").read_bytes() == b"n\r\n1\r\n"
    assert (folder.path / "out.csv").read_bytes() == b"n\r\n2\r\n"
    (folder.path / "out.csv").unlink()
    await sink.write([batch_of([{"n": 3}])])
    assert (folder.path / "out.csv").read_bytes() == b"n\r\n3\r\n"
    os.truncate(folder.path / "out.csv", 0)
    await sink.write([batch_of([{"n": 4}])])
    assert (folder.path / "out.csv").read_bytes() == b"n\r\n4\r\n"


async def test_a_disk_that_hangs_does_not_stop_the_loop(
    folder: Folder, batch_of: BatchOf, monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    sink = await folder.open()
    reader, writer = os.pipe()
    hanging = threading.Event()
    real = os.write

    def hang(fd: int, data: bytes) -> int:
        hanging.set()
        os.read(reader, 1)
        return real(fd, data)

    monkeypatch.setattr(os, "write", hang)
    writing = asyncio.create_task(sink.write([batch_of([{"n": 1}])]))
    await until(hanging.is_set)
    assert not writing.done()
    real(writer, b"x")
    await writing
    os.close(reader)
    os.close(writer)
    assert folder.lines() == [b'{"n":1}']


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"format": "csv"}, "columns"),
        ({"columns": ["a"]}, "csv"),
        ({"format": "csv", "columns": ["a", "a"]}, "twice"),
        ({"path": "out-%d.ndjson"}, "%Y"),
        ({"path": "out-%s"}, "%Y"),
        ({"path": ""}, "path"),
        ({"max_size": "0B"}, "max_size"),
        ({"keep": 0}, "keep"),
    ],
)
async def test_what_cannot_be_meant_is_refused(config: dict[str, Any], said: str, folder: Folder) -> None:
    with pytest.raises((ValidationError, ConfigError), match=said):
        folder.sink(**config)


async def test_what_is_written_is_held_no_longer(folder: Folder, batch_of: BatchOf) -> None:
    sink = await folder.open()
    await sink.write([batch_of([{"a": 1}])])
    assert sink._lines._last is None


async def test_a_sink_that_cannot_be_opened_leaves_no_thread_behind(folder: Folder) -> None:
    (folder.path / "out.ndjson").write_text("somebody else's\n")
    before = threading.active_count()
    sink = folder.sink()
    with pytest.raises(EnvironmentFault):
        await sink.open()
    assert (sink._writer, sink._tidier) == (None, None)
    async with asyncio.timeout(60):
        while threading.active_count() > before:
            await asyncio.sleep(0.001)


async def test_a_close_tells_a_compression_under_way_to_give_up(folder: Folder) -> None:
    sink = await folder.open(gzip=True)
    assert not sink._file.stopping
    await sink.close()
    assert sink._file.stopping
    assert sink._file._fd == -1
