import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.client import line_reader
from streamd.client.line_reader import read_lines
from streamd.client.stop import Stop, Stopped
from streamd.core.errors import EnvironmentFault


@contextmanager
def holding(content: bytes) -> Iterator[int]:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(content)
        file.seek(0)
        yield file.fileno()


def lines_of(content: bytes) -> list[bytes]:
    with holding(content) as descriptor:
        return [line for lines in read_lines(descriptor, Stop()) for line in lines]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n\n\r\n", []),
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\r\nb\r\nc", [b"a", b"b", b"c"]),
        (b"no end", [b"no end"]),
        (b"a\n\n\nb", [b"a", b"b"]),
        (b"\xff\x00\n\xe6\x95\xb0", [b"\xff\x00", b"\xe6\x95\xb0"]),
        (b"in\rside\n\r\r\n", [b"in\rside", b"\r"]),
    ],
)
def test_lines_without_their_ends_and_without_the_empty_ones(content: bytes, lines: list[bytes]) -> None:
    assert lines_of(content) == lines


@given(content=st.lists(st.sampled_from([b"\n", b"\r", b"a", b"bc", b"\r\n"])).map(b"".join))
def test_where_reads_end_does_not_matter(content: bytes) -> None:
    whole = lines_of(content)
    with pytest.MonkeyPatch.context() as patch:
        for size_bytes in (1, 2, 3):
            patch.setattr(line_reader, "_READ_BYTES", size_bytes)
            assert lines_of(content) == whole


def test_a_line_of_a_pipe_comes_before_the_pipe_ends() -> None:
    reader, writer = os.pipe()
    try:
        os.write(writer, b"first\nsec")
        found = read_lines(reader, Stop())
        assert next(found) == [b"first"]
        os.write(writer, b"ond\n")
        assert next(found) == [b"second"]
    finally:
        os.close(reader)
        os.close(writer)


def test_an_endless_line_is_refused_before_it_fills_the_memory() -> None:
    with (
        Path("/dev/zero").open("rb", buffering=0) as zeros,
        pytest.raises(EnvironmentFault, match="longer than 16 MiB"),
    ):
        next(read_lines(zeros.fileno(), Stop()))


def test_a_silent_pipe_is_left_when_the_user_ends_it() -> None:
    reader, writer = os.pipe()
    try:
        stop = Stop()
        stop.requested = True
        with pytest.raises(Stopped):
            next(read_lines(reader, stop))
    finally:
        os.close(reader)
        os.close(writer)


def test_a_folder_is_no_input() -> None:
    descriptor = os.open("/", os.O_RDONLY)
    try:
        with pytest.raises(EnvironmentFault, match="cannot read the input: Is a directory"):
            next(read_lines(descriptor, Stop()))
    finally:
        os.close(descriptor)
