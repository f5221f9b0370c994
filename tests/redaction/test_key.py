import os
from pathlib import Path

import pytest

from streamd.core.errors import EnvironmentFault
from streamd.redaction.key import fingerprint, read_key

GOOD = b"0123456789abcdef"


def written(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "redact.key"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_key_is_the_content_of_its_file_without_the_line_end(tmp_path: Path, end: bytes) -> None:
    written(tmp_path, GOOD + end, 0o640)
    assert read_key("redact.key", tmp_path) == GOOD


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"", 0o600, "is empty"),
        (b"\n", 0o600, "is empty"),
        (GOOD[1:] + b"\n", 0o600, "has 15 bytes, and needs at least 16"),
        (b"abcab" * 9, 0o600, "repeats few bytes"),
        (GOOD * 300, 0o600, "is longer than 4096 bytes"),
        (GOOD, 0o604, "is open to all users (mode 0604)"),
        (GOOD, 0o602, "is open to all users (mode 0602)"),
    ],
)
def test_a_key_that_can_be_guessed_or_read_is_refused(
    tmp_path: Path, content: bytes, mode: int, said: str
) -> None:
    path = written(tmp_path, content, mode)
    with pytest.raises(EnvironmentFault) as refused:
        read_key("redact.key", tmp_path)
    assert str(refused.value).startswith(f"the key {path} {said}")


def test_a_path_without_a_file_of_bytes_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="cannot be read: No such file"):
        read_key("redact.key", tmp_path)
    os.mkfifo(tmp_path / "redact.key", 0o600)
    with pytest.raises(EnvironmentFault, match="is no regular file"):
        read_key("redact.key", tmp_path)


def test_a_fingerprint_tells_keys_apart_and_holds_none() -> None:
    assert fingerprint(GOOD) == fingerprint(GOOD) != fingerprint(GOOD + b"0")
    assert GOOD not in fingerprint(GOOD)
    assert fingerprint(None) == b""
