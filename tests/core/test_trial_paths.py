"""Each trial raises what the call it stands for raises, and makes nothing."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from streamd.core.trial_paths import is_made_before, try_entry, try_file, try_folder


def outcome(call: Callable[[], object]) -> tuple[type, int | None] | None:
    try:
        call()
    except OSError as error:
        return type(error), error.errno
    return None


def opened(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK))


@pytest.mark.parametrize(
    "name",
    ["new", "deep/er/new", "file", "folder", "file/new", "file/deep/new", "nowhere", "nowhere/new", "circle",
     "circle/new", "into", "x" * 255, "x" * 256, "deep/" + "x" * 256, "x" * 256 + "/new",
     "y/" * 3000 + "new"],
)  # fmt: skip
def test_a_file_is_refused_as_the_kernel_refuses_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "nowhere").symlink_to("no/such/place")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "into").symlink_to("folder/new")
    before = sorted(tmp_path.rglob("*"))
    tried = outcome(lambda: try_file(tmp_path / name))
    assert sorted(tmp_path.rglob("*")) == before
    assert tried == outcome(lambda: opened(tmp_path / name))


@pytest.mark.parametrize("name", ["new", "deep/er", "file", "folder", "file/new", "nowhere", "x" * 256])
def test_a_folder_is_refused_as_mkdir_refuses_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "nowhere").symlink_to("no/such/place")
    tried = outcome(lambda: try_folder(tmp_path / name))
    assert tried == outcome(lambda: (tmp_path / name).mkdir(parents=True, exist_ok=True))


def test_what_the_service_manager_makes_before_the_start_need_not_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}/state:{tmp_path}/more")
    assert is_made_before(tmp_path / "more")
    try_folder(tmp_path / "more" / "sub")
    try_entry(tmp_path / "state")
    with pytest.raises(FileNotFoundError):
        try_entry(tmp_path / "other")
