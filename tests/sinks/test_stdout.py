import asyncio
import ctypes
import fcntl
import json
import os
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamd.components import encoder_of
from streamd.core.batch import Batch
from streamd.core.contracts import SinkContext
from streamd.core.dead_letter import DeadLetter
from streamd.core.errors import EnvironmentFault, SinkError
from streamd.core.shared import Shared
from streamd.sinks.stdout import Stdout

REFUSALS: dict[str, Any] = {}
"""Only a standard output that is closed, which a test here shows."""


def waiting_bytes(reader: int) -> int:
    count = fcntl.ioctl(reader, termios.FIONREAD, bytes(4))
    return int.from_bytes(count, sys.byteorder)


class Pipe:
    """Standard output from `put` until `text`; `reader` is the other end."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        self._before = -1

    def put(self) -> None:
        """In the test itself: between a fixture and its test pytest puts its own in that place."""
        if self._before < 0:
            self._before = os.dup(1)
            os.dup2(self._writer, 1)
            os.close(self._writer)

    def text(self) -> bytes:
        """All that was written, and no more can be."""
        self.put_back()
        with os.fdopen(self.reader, "rb") as file:
            self.reader = -1
            return file.read()

    def close_reader(self) -> None:
        os.close(self.reader)
        self.reader = -1

    def put_back(self) -> None:
        if self._before >= 0:
            os.dup2(self._before, 1)
            os.close(self._before)
            self._before = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.put_back()
    if made.reader >= 0:
        made.close_reader()


@pytest.fixture
async def sink(pipe: Pipe, bench: Any, tmp_path: Path) -> AsyncIterator[Any]:
    made: list[Stdout] = []

    def make(**config: Any) -> Stdout:
        pipe.put()
        settings = Stdout.Config.model_validate({"type": "stdout", **config})
        context = SinkContext("out", {}, tmp_path, bench.office, Shared(), encoder=encoder_of(settings))
        made.append(Stdout(settings, context))
        return made[-1]

    yield make
    for out in made:
        await out.close()


async def test_each_record_is_one_line_in_order(
    sink: Any, pipe: Pipe, batch_of: Callable[..., Batch]
) -> None:
    out = sink()
    await out.open()
    written = await out.write([batch_of([{"n": 1}, {"n": "a\nb\r\u2028"}]), batch_of([{"b": b"\x00\xff"}])])
    await out.close()
    assert (written.rejected_counts, written.replaced, written.dropped) == ([0, 0], [0, 0], None)
    lines = pipe.text().split(b"\n")
    assert [json.loads(line) for line in lines[:-1]] == [{"n": 1}, {"n": "a\nb\r\u2028"}, {"b": "AP8="}]
    assert lines[-1] == b""


async def test_a_header_is_printed_once_and_only_before_a_line(
    sink: Any, pipe: Pipe, batch_of: Callable[..., Batch]
) -> None:
    out = sink(encoder={"type": "csv", "columns": ["n"]})
    await out.open()
    for value in (float("nan"), 1, 2):
        await out.write([batch_of([{"n": value}])])
    await out.close()
    assert pipe.text() == b"n\r\n1\r\n2\r\n"


async def test_what_json_has_no_word_for_is_a_dead_letter_and_the_rest_is_printed(
    sink: Any, pipe: Pipe, bench: Any, batch_of: Callable[..., Batch]
) -> None:
    out = sink()
    await out.open()
    bad = [{"n": float("nan")}, {"n": 1}, {"n": object()}, {"n": None}, {"n": "\ud800"}]
    written = await out.write([batch_of([{"n": 0}]), batch_of(bad)])
    await out.close()
    assert written.rejected_counts == [0, 3]
    assert pipe.text() == b'{"n":0}\n{"n":1}\n{"n":null}\n'
    letters: list[DeadLetter] = bench.office.letters
    assert [letter.reason for letter in letters] == ["row:not_finite", "row:json", "row:json"]
    assert {(letter.stage, letter.sink, letter.source) for letter in letters} == {("sink", "out", "lab")}


async def test_nothing_is_printed_before_the_dead_letters_are_committed(
    sink: Any, pipe: Pipe, bench: Any, batch_of: Callable[..., Batch]
) -> None:
    out = sink()
    await out.open()
    batches = [batch_of([{"n": 1}, {"n": float("inf")}])]
    bench.office.closed = True
    with pytest.raises(SinkError):
        await out.write(batches)
    bench.office.closed = False
    assert (await out.write(batches)).rejected_counts == [1]
    await out.close()
    assert pipe.text() == b'{"n":1}\n'
    assert len(bench.office.letters) == 1


async def test_metadata_is_added_and_the_daemons_own_names_never_leave(
    sink: Any, pipe: Pipe, batch_of: Callable[..., Batch]
) -> None:
    out = sink(metadata=True)
    await out.open()
    beside = batch_of([{"n": 1, "@flag": "truncated"}])
    inside = batch_of(
        [{"n": 2, "@source": "x", "@peer": "10.0.0.1:7", "@received_at": 1.5}], peers="", lifted=True
    )
    await out.write([beside, inside])
    await out.close()
    assert beside.records == [{"n": 1, "@flag": "truncated"}]
    assert [json.loads(line) for line in pipe.text().splitlines()] == [
        {
            "n": 1, "_flag": "truncated", "_received_at": "1970-01-01T00:00:00.000000Z", "_source": "lab",
            "_peer": "127.0.0.1:5",
        },
        {
            "n": 2, "_received_at": "1970-01-01T00:00:01.500000Z", "_source": "lab", "_peer": "10.0.0.1:7",
        },
    ]  # fmt: skip


async def test_a_reader_that_sleeps_stops_nobody_else_and_gets_every_line_whole(
    sink: Any, pipe: Pipe, batch_of: Callable[..., Batch]
) -> None:
    out = sink()
    await out.open()
    records = [{"n": number, "fill": "x" * 500} for number in range(2000)]
    writing = asyncio.create_task(out.write([batch_of(records)]))
    loop = asyncio.get_running_loop()
    slowest_s, began = 0.0, loop.time()
    while loop.time() - began < 0.5:
        before = loop.time()
        await asyncio.sleep(0.001)
        slowest_s = max(slowest_s, loop.time() - before)
    assert not writing.done()
    assert slowest_s < 5, "a write that blocks never ends"
    stuck_at_bytes = out.progress
    assert 0 < stuck_at_bytes < 2000 * 500
    got = os.read(pipe.reader, 65536)
    while out.progress == stuck_at_bytes:  # the writer gets on as soon as the reader does
        await asyncio.sleep(0.001)
    while got.count(b"\n") < len(records):
        got += await asyncio.to_thread(os.read, pipe.reader, 65536)
    assert (await writing).rejected_counts == [0]
    await out.close()
    assert [json.loads(line) for line in got.splitlines()] == records


async def test_a_reader_that_has_seen_enough_is_told_once_and_what_follows_is_dropped(
    sink: Any, pipe: Pipe, batch_of: Callable[..., Batch]
) -> None:
    out = sink()
    await out.open()
    await out.write([batch_of([{"n": 1}])])
    pipe.close_reader()
    with capture_logs() as told:
        written = await out.write([batch_of([{"n": 2}, {"n": float("nan")}]), batch_of([{"n": 3}])])
        assert (written.rejected_counts, written.dropped) == ([1, 0], [{0: "closed"}, {0: "closed"}])
        written = await out.write([batch_of([{"n": 4}, {"n": 5}])])
        assert (written.rejected_counts, written.dropped) == ([0], [{0: "closed", 1: "closed"}])
    assert [event["event"] for event in told] == ["stdout_closed"]
    await out.close()


async def test_lines_the_pipe_had_taken_when_its_reader_went_are_not_called_dropped(
    sink: Any, pipe: Pipe, batch_of: Callable[..., Batch]
) -> None:
    out = sink()
    await out.open()
    records = [{"n": number, "fill": "x" * 1000} for number in range(1000)]
    writing = asyncio.create_task(out.write([batch_of(records[:400]), batch_of(records[400:])]))
    got = b""
    while len(got) < 300_000:
        got += await asyncio.to_thread(os.read, pipe.reader, 65536)
    pipe.close_reader()
    written = await writing
    first, second = map(list, written.dropped)
    stored = 1000 - len(first + second)
    assert got.count(b"\n") <= stored < 1000
    assert first == list(range(min(stored, 400), 400))
    assert second == list(range(max(stored - 400, 0), 600))
    assert (await out.write([batch_of([{"n": 0}])])).dropped == [{0: "closed"}], (
        "shorter than what was out before"
    )
    await out.close()


async def test_a_line_that_the_pipe_had_taken_in_part_is_dropped_with_those_behind_it(
    sink: Any, pipe: Pipe, until: Any, batch_of: Callable[..., Batch]
) -> None:
    out = sink()
    await out.open()
    records = [{"n": number, "fill": "x" * 1000} for number in range(200)]
    room_bytes = fcntl.fcntl(pipe.reader, fcntl.F_GETPIPE_SZ)
    lines = b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records)
    taken = lines[:room_bytes]
    assert len(taken) < len(lines)
    assert not taken.endswith(b"\n")
    writing = asyncio.create_task(out.write([batch_of(records[:20]), batch_of(records[20:])]))
    await until(lambda: waiting_bytes(pipe.reader) == room_bytes)
    pipe.close_reader()
    whole = taken.count(b"\n")
    dropped = (await writing).dropped
    assert list(map(len, dropped)) == [max(0, 20 - whole), min(180, 200 - whole)]
    await out.close()


async def test_a_file_as_standard_output_is_written_to_its_end(
    sink: Any, tmp_path: Path, batch_of: Callable[..., Batch]
) -> None:
    out = sink()
    with (tmp_path / "out").open("wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
    await out.open()
    await out.write([batch_of([{"n": number} for number in range(10_000)])])
    await out.close()
    assert (tmp_path / "out").read_bytes().count(b"\n") == 10_000


async def test_what_others_print_meanwhile_goes_to_standard_error_until_the_last_sink_is_closed(
    sink: Any, pipe: Pipe, batch_of: Callable[..., Batch], capfd: pytest.CaptureFixture[str]
) -> None:
    outs = [sink(), sink()]
    for number, out in enumerate(outs):
        await out.open()
        os.write(1, b"a step\n")
        await asyncio.to_thread(subprocess.run, ["echo", "a program"], check=True)
        await out.write([batch_of([{"n": number}])])
    await outs[0].close()
    os.write(1, b"a step\n")
    await outs[1].write([batch_of([{"n": 2}])])
    ctypes.CDLL(None).printf(b"a library, which has not flushed\n")
    await outs[1].close()
    os.write(1, b"as before\n")
    assert pipe.text() == b'{"n":0}\n{"n":1}\n{"n":2}\nas before\n'
    said = sorted(capfd.readouterr().err.splitlines())
    assert said == ["a library, which has not flushed", *["a program"] * 2, *["a step"] * 3]


async def test_a_sink_that_is_closed_while_nobody_reads_writes_no_more(
    sink: Any, pipe: Pipe, batch_of: Callable[..., Batch]
) -> None:
    out = sink()
    await out.open()
    writing = asyncio.create_task(out.write([batch_of([{"fill": "x" * 200_000}])]))
    await asyncio.to_thread(os.read, pipe.reader, 1)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    fd = out._fd
    await out.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    assert os.fstat(1).st_ino == os.fstat(pipe.reader).st_ino
    await out.close()


async def test_without_a_standard_output_the_start_says_so(sink: Any) -> None:
    out = sink()
    os.close(1)
    with pytest.raises(EnvironmentFault, match="cannot take standard output: Bad file descriptor"):
        await out.open()
    await out.close()
