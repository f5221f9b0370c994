import os
import stat
from pathlib import Path

import pytest

from streamd.admin import token
from streamd.admin.token import Token
from streamd.core.credential import Credential, MissingCredential
from streamd.core.errors import EnvironmentFault

SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of a test


@pytest.mark.parametrize(
    ("authorization", "fits"),
    [
        (f"Bearer {SECRET}", True),
        (f"bearer {SECRET}", True),
        (f"BEARER  {SECRET} ", True),
        (f"Bearer {SECRET}x", False),
        (f"Bearer {SECRET[:-1]}", False),
        (f"Bearer {SECRET.upper()}", False),
        (f"Basic {SECRET}", False),
        (SECRET, False),
        ("Bearer", False),
        ("Bearer ", False),
        ("", False),
        ("Bearer \xe9", False),
    ],
)
def test_only_the_whole_token_behind_bearer_fits(authorization: str, fits: bool) -> None:
    assert Token(SECRET).is_in(authorization) == fits


def test_the_daemon_makes_a_token_once_and_only_its_user_can_read_it(tmp_path: Path) -> None:
    made = token.own(tmp_path)
    file = tmp_path / "admin.token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == f"{made.text}\n"
    assert len(made.text) >= 40
    assert token.own(tmp_path).text == made.text
    assert [path.name for path in tmp_path.iterdir()] == ["admin.token"]
    file.unlink()
    assert token.own(tmp_path).text != made.text


def test_the_umask_does_not_open_the_token(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        token.own(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "admin.token").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (SECRET, 0o604, "is open to all users"),
        (SECRET, 0o602, "is open to all users"),
        ("", 0o600, "is empty"),
        ("short", 0o600, "has 5 bytes, and needs at least 20"),
        ("abc" * 20, 0o600, "repeats few bytes"),
        (SECRET * 16 + "0", 0o600, "is longer than 512 bytes"),
        (f"{SECRET} {SECRET}", 0o600, "one line of printable characters"),
        (f"{SECRET}\n{SECRET}", 0o600, "one line of printable characters"),
        (f"{SECRET}é", 0o600, "one line of printable characters"),
    ],
)
def test_a_weak_token_is_refused_and_not_shown(tmp_path: Path, content: str, mode: int, why: str) -> None:
    file = tmp_path / "t"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(EnvironmentFault, match=why) as refused:
        token.configured("t", tmp_path)
    assert SECRET not in str(refused.value)
    file.rename(tmp_path / "admin.token")
    with pytest.raises(EnvironmentFault, match=f"{why}.*remove it"):
        token.own(tmp_path)
    with pytest.raises(EnvironmentFault, match=why):
        token.rehearse_own(tmp_path)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("length", [1, 16])
def test_a_configured_token_is_the_content_of_its_file(tmp_path: Path, end: str, length: int) -> None:
    (tmp_path / "t").write_bytes(f"{SECRET * length}{end}".encode())
    (tmp_path / "t").chmod(0o640)
    assert token.configured("t", tmp_path).text == SECRET * length


def test_a_credential_is_read_from_the_service_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page").write_text(SECRET)
    (tmp_path / "page").chmod(0o400)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(MissingCredential):
        token.configured(Credential(credential="page"), tmp_path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert token.configured(Credential(credential="page"), tmp_path).text == SECRET


def test_what_is_no_file_does_not_hang_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t", 0o600)
    with pytest.raises(EnvironmentFault, match="is no regular file"):
        token.configured("t", tmp_path)
    with pytest.raises(EnvironmentFault, match="no regular file"):
        token.configured(".", tmp_path)
    with pytest.raises(EnvironmentFault, match=r"cannot be read: No such file.*openssl rand"):
        token.configured("missing", tmp_path)


def test_a_rehearsal_makes_no_token(tmp_path: Path) -> None:
    token.rehearse_own(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_token_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"admin\.token cannot be written"):
        token.own(tmp_path / "missing")
