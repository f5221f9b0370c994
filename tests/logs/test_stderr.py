import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamd.logs.stderr import Stderr


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_fd, write_fd = os.pipe()
    yield read_fd, write_fd
    os.close(read_fd)
    os.close(write_fd)


def test_a_full_stderr_loses_lines_never_halves_and_tells_the_number(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    write = Stderr(write_fd, lambda lost: json.dumps({"lost": lost})).write
    os.set_blocking(write_fd, True)  # a write that waited would hang this test
    line = json.dumps({"event": "x" * 9000})
    for _ in range(100):
        write(line)
    written = [os.read(read_fd, 1 << 20)]
    write(line)
    written.append(os.read(read_fd, 1 << 20))
    lines = [json.loads(part) for part in b"".join(written).decode().splitlines()]
    lost = sum(entry["lost"] for entry in lines if "lost" in entry)
    assert lost > 0
    assert lost + sum("event" in entry for entry in lines) == 101


def test_a_stderr_nobody_reads_any_more_is_counted_not_raised() -> None:
    read_fd, write_fd = os.pipe()
    out = Stderr(write_fd, str)
    os.close(read_fd)
    out.write("lost")
    os.close(write_fd)
    out.write("lost too")
    assert out.lost == 2


def test_a_full_disk_is_counted_not_raised() -> None:
    with Path("/dev/full").open("wb") as full:
        out = Stderr(full.fileno(), str)
        out.write("lost")
    assert out.lost == 1
