from pathlib import Path

import pytest

from streamd.files.first_place import first_frame
from streamd.files.tail import READ_BYTES, Tail
from streamd.framing.newline import Newline
from streamd.framing.octet_counting import OctetCounting


@pytest.mark.parametrize(
    ("content", "offset", "first"),
    [
        (b"a,b\n1,2\n", 8, b"a,b"), (b"\n\na,b\r\n1", 7, b"a,b"), (b"a,b\n", 4, b"a,b"), (b"a,b", 3, None),
        (b"x" * 200_000 + b"\na\n", 200_002, None), (b"a" * 900 + b"\nb\n", 903, b"a" * 900),
    ],
)  # fmt: skip
def test_the_first_frame_of_a_file_is_found_again(
    tmp_path: Path, content: bytes, offset: int, first: bytes | None
) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    tail = Tail(path)
    tail.seek(offset)
    assert first_frame(tail, lambda: Newline(Newline.Config(), 2 * READ_BYTES, "truncate")) == first
    tail.close()


@pytest.mark.parametrize("oversize", ["drop", "truncate"])
def test_a_first_frame_that_was_dropped_or_cut_off_is_none(tmp_path: Path, oversize: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a" * 40 + b"\nb\n")
    tail = Tail(path)
    tail.seek(43)
    assert first_frame(tail, lambda: Newline(Newline.Config(), 8, oversize)) is None
    tail.close()


def test_a_broken_framing_has_no_first_frame(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc abc")
    tail = Tail(path)
    tail.seek(7)
    assert first_frame(tail, lambda: OctetCounting(OctetCounting.Config(), 8, "drop")) is None
    tail.close()
