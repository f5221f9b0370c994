"""Files that a user names are regular ones."""

import os
import socket
from pathlib import Path

import pytest

from streamd.core.regular_file import open_regular, read_regular, require_regular


def test_a_file_and_a_link_to_it_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    (tmp_path / "b").symlink_to("a")
    require_regular(tmp_path / "b")
    assert read_regular(str(tmp_path / "b")) == b"x" * 100_000
    assert read_regular("/dev/null") == b""
    with open_regular(tmp_path / "a") as file:
        assert os.get_blocking(file.fileno())


@pytest.mark.parametrize("read", [read_regular, require_regular], ids=["read", "require"])
def test_whatever_may_never_end_is_refused_with_its_kind(read: object, tmp_path: Path) -> None:
    assert callable(read)
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s"))
        for path, kind in (
            (tmp_path / "pipe", "it is a named pipe, and no regular file"),
            (tmp_path / "s", "it is a socket, and no regular file"),
            (Path("/dev/zero"), "it is a device, and no regular file"),
            (tmp_path, "Is a directory"),
            (tmp_path / "none", "No such file or directory"),
        ):
            with pytest.raises(OSError, match=kind) as refused:
                read(path)
            assert refused.value.strerror == kind
            assert refused.value.filename == str(path)


def test_a_pipe_that_the_shell_has_opened_is_read_to_its_end() -> None:
    reader, writer = os.pipe()
    try:
        os.write(writer, b"of a command")
        os.close(writer)
        assert read_regular(f"/dev/fd/{reader}") == b"of a command"
    finally:
        os.close(reader)
