import gzip
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from streamd.core.counters import Counters
from streamd.core.errors import SinkError
from streamd.files import torn_end as torn
from streamd.files.rotating_file import RotatingFile
from streamd.files.torn_end import end_of_last_line

DAY_S = 86_400.0
NOON_S = 1_769_860_800.0  # 2026-01-31T12:00:00Z


def rotating(path: Path, **options: Any) -> tuple[RotatingFile, Counters]:
    counters = Counters()
    usual = {"begins": b"{", "max_size_bytes": None, "keep": None, "compress": False, "synchronous": False}
    return RotatingFile(path, counters, **(usual | options)), counters


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def line(size: int) -> bytes:
    return b"{" + b"x" * (size - 2) + b"\n"


def test_a_file_may_be_just_as_large_as_it_may(tmp_path: Path) -> None:
    file, counters = rotating(tmp_path / "a", max_size_bytes=30)
    file.open(NOON_S)
    assert [file.write(line(10), NOON_S) for _ in range(4)] == [False, False, False, True]
    file.close()
    assert names(tmp_path) == ["a", "a.000001"]
    assert (tmp_path / "a.000001").stat().st_size == 30
    assert counters.numbers() == {"files_rotated": 1}


def test_a_file_with_nothing_but_its_header_is_written_into_however_much_it_is(tmp_path: Path) -> None:
    file, _ = rotating(tmp_path / "a", header=b"h\r\n", max_size_bytes=10)
    file.open(NOON_S)
    for _ in range(3):
        file.write(b"0123456789\r\n", NOON_S)
    file.close()
    file.open(NOON_S)
    file.close()
    assert names(tmp_path) == ["a", "a.000001", "a.000002"]
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"h\r\n0123456789\r\n"}
    (tmp_path / "a").write_bytes(b"h\r\n")
    file.open(NOON_S)
    file.write(b"0123456789\r\n", NOON_S)
    file.close()
    assert names(tmp_path) == ["a", "a.000001", "a.000002"]


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_so_many_finished_files_are_kept_the_newest(tmp_path: Path, keep: int) -> None:
    file, counters = rotating(tmp_path / "a", max_size_bytes=10, keep=keep)
    file.open(NOON_S)
    for _ in range(6):
        file.write(line(10), NOON_S)
    file.tidy()
    assert names(tmp_path) == ["a", *(f"a.{n:06}" for n in range(6 - keep, 6))]
    assert counters["files_removed", ""] == 5 - keep
    file.tidy()
    assert counters["files_removed", ""] == 5 - keep
    file.close()


def test_numbers_go_on_behind_compressed_ones_and_gaps_and_are_ordered_as_numbers(tmp_path: Path) -> None:
    for name in ("a.000007.gz", "a.000003", "b.000009", "a.000001x", "aa.000020"):
        (tmp_path / name).write_bytes(b"")
    file, _ = rotating(tmp_path / "a", max_size_bytes=10, keep=2)
    file.open(NOON_S)
    for _ in range(2):
        file.write(line(10), NOON_S)
    assert "a.000008" in names(tmp_path)
    file.tidy()
    assert names(tmp_path) == ["a", "a.000001x", "a.000007.gz", "a.000008", "aa.000020", "b.000009"]
    file.close()


def test_the_oldest_by_their_number_go_first_also_beyond_a_million(tmp_path: Path) -> None:
    for name in ("a.1000000", "a.999999", "a.1000001"):
        (tmp_path / name).write_bytes(b"")
    file, _ = rotating(tmp_path / "a", keep=2)
    file.open(NOON_S)
    file.tidy()
    assert names(tmp_path) == ["a", "a.1000000", "a.1000001"]
    file.close()


def test_the_files_of_earlier_days_go_first_and_never_the_one_that_is_written(tmp_path: Path) -> None:
    file, _ = rotating(tmp_path / "a-%Y-%m-%d", keep=1)
    for day in (0, 1, 2):
        file.open(NOON_S + day * DAY_S)
        file.write(line(10), NOON_S + day * DAY_S)
    file.write(line(10), NOON_S)  # a late one: now the oldest file is open
    file.tidy()
    assert names(tmp_path) == ["a-2026-01-31", "a-2026-02-02"]
    file.close()


def test_what_was_set_aside_is_compressed_whole_with_its_permissions(tmp_path: Path) -> None:
    file, _ = rotating(tmp_path / "a", max_size_bytes=10, compress=True)
    file.open(NOON_S)
    (tmp_path / "a").chmod(0o604)
    file.write(line(10), NOON_S)
    file.write(line(9), NOON_S)
    file.tidy()
    file.tidy()
    assert names(tmp_path) == ["a", "a.000001.gz"]
    assert gzip.decompress((tmp_path / "a.000001.gz").read_bytes()) == line(10)
    assert stat.S_IMODE((tmp_path / "a.000001.gz").stat().st_mode) == 0o604
    file.close()


def test_a_compression_that_is_given_up_leaves_the_plain_file_and_nothing_else(tmp_path: Path) -> None:
    file, _ = rotating(tmp_path / "a", compress=True)
    (tmp_path / "a.000001").write_bytes(line(100))
    file.open(NOON_S)
    file.stopping = True
    file._gzip(tmp_path / "a.000001")
    file.tidy()
    assert names(tmp_path) == ["a", "a.000001"]
    assert (tmp_path / "a.000001").read_bytes() == line(100)
    file.close()


def test_days_that_an_earlier_run_left_are_mended_and_compressed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "a-2026-01-30").write_bytes(line(10) + b"{torn")
    (tmp_path / "a-2026-02-01").write_bytes(line(10))
    file, counters = rotating(tmp_path / "a-%Y-%m-%d", compress=True)
    file.open(NOON_S)
    file.tidy()
    assert names(tmp_path) == ["a-2026-01-30.000001.gz", "a-2026-01-31", "a-2026-02-01"]
    assert gzip.decompress((tmp_path / "a-2026-01-30.000001.gz").read_bytes()) == line(10)
    assert counters.numbers() == {"torn_bytes": 5, "files_rotated": 1}
    file.close()


@pytest.mark.parametrize(
    ("begin", "kept"), [(b"", b""), (b"a,", b""), (b"a,b\r", b""), (b"a,b\r\n", b"a,b\r\n")]
)
def test_a_torn_header_is_written_anew(tmp_path: Path, begin: bytes, kept: bytes) -> None:
    (tmp_path / "a").write_bytes(begin)
    file, counters = rotating(tmp_path / "a", header=b"a,b\r\n")
    file.open(NOON_S)
    assert (tmp_path / "a").read_bytes() == kept
    assert counters["torn_bytes", ""] == len(begin) - len(kept)
    file.write(b"1,2\r\n", NOON_S)
    assert (tmp_path / "a").read_bytes() == b"a,b\r\n1,2\r\n"
    file.close()


def test_a_link_where_the_file_should_be_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"{}\n")
    (tmp_path / "a").symlink_to(tmp_path / "precious")
    file, _ = rotating(tmp_path / "a")
    with pytest.raises(SinkError):
        file.open(NOON_S)
    assert (tmp_path / "precious").read_bytes() == b"{}\n"


def test_a_file_that_cannot_be_used_is_let_go(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"somebody else's\n")
    file, _ = rotating(tmp_path / "a")
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - as the kernel has it
    for _ in range(3):
        with pytest.raises(SinkError, match="does not begin like a file of this sink"):
            file.open(NOON_S)
    assert len(os.listdir("/proc/self/fd")) == len(before)  # noqa: PTH208 - the same


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_the_end_of_the_last_line_is_found_however_large_a_block_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(torn, "_BLOCK_BYTES", size)
    for content, end, end_quoted in (
        (b"", 0, 0),
        (b"torn", 0, 0),
        (b"a\n", 2, 2),
        (b"a\nb\ntorn", 4, 4),
        (b"\n", 1, 1),
        (b'a\n"b\nc"\n', 8, 8),
        (b'a\n"b\nc', 5, 2),
        (b'a\n"b""\nc', 7, 2),
        (b'a\n"b""\n"\nc', 9, 9),
        (b'"a"\n"b"\n"c"', 8, 8),
    ):
        (tmp_path / "a").write_bytes(content)
        fd = os.open(tmp_path / "a", os.O_RDONLY)
        assert end_of_last_line(fd, len(content), quoted=False) == end, content
        assert end_of_last_line(fd, len(content), quoted=True) == end_quoted, content
        os.close(fd)
