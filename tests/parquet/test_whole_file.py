import fcntl
import os
from pathlib import Path

import pytest

from streamd.parquet.places import unfinished_name
from streamd.parquet.whole_file import remove_unfinished, write_whole


def test_a_file_appears_whole_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.parquet"
    for data in (b"first", b"again"):
        write_whole(path, memoryview(data))
        assert path.read_bytes() == data
        assert os.listdir(path.parent) == ["x.parquet"]  # noqa: PTH208 - the names are compared
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_what_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "x.parquet"

    def full(*_: object) -> None:
        assert unfinished_name(path).exists()
        assert not path.exists()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path if call == "rename" else os, call, full)
        with pytest.raises(OSError, match="No space left"):
            write_whole(path, memoryview(b"data"))
    assert not list(tmp_path.iterdir())
    write_whole(path, memoryview(b"data"))
    assert path.read_bytes() == b"data"


def test_a_short_write_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
    write_whole(tmp_path / "x.parquet", memoryview(b"0123456789"))
    assert (tmp_path / "x.parquet").read_bytes() == b"0123456789"


def test_a_file_that_a_process_writes_is_not_removed(tmp_path: Path) -> None:
    dead, alive, gone = (tmp_path / name for name in ("dead", "alive", "gone"))
    dead.touch()
    with alive.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert remove_unfinished([dead, alive, gone]) == [dead]
        assert os.listdir(tmp_path) == ["alive"]  # noqa: PTH208 - the names are compared
