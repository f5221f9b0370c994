import asyncio
from pathlib import Path

import pytest

from streamd.core.errors import EnvironmentFault
from streamd.sqlite.databases import Databases


async def test_one_path_is_one_database_until_the_last_user_has_gone(tmp_path: Path) -> None:
    databases = Databases()
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    one, two = await asyncio.gather(
        databases.acquire(tmp_path / "data.db"),
        databases.acquire(tmp_path / "link" / ".." / tmp_path / "data.db"),
    )
    assert one is two
    assert await databases.acquire(tmp_path / "link" / "data.db") is one
    other = await databases.acquire(tmp_path / "other.db")
    assert other is not one
    for _ in range(2):
        await databases.release(one)
        assert await one.fetch("SELECT 1") == [(1,)]
    await databases.release(one)
    with pytest.raises(RuntimeError, match="not open"):
        await one.fetch("SELECT 1")
    again = await databases.acquire(tmp_path / "data.db")
    assert await again.fetch("SELECT 1") == [(1,)]
    await databases.release(again)
    await databases.release(other)


@pytest.mark.parametrize("order", [("normal", "full"), ("full", "normal")])
async def test_the_stricter_synchronous_wins(tmp_path: Path, order: tuple[str, str]) -> None:
    databases = Databases()
    for synchronous in order:
        database = await databases.acquire(tmp_path / "data.db", synchronous)  # type: ignore[arg-type]
    assert await database.fetch("PRAGMA synchronous") == [(2,)]
    assert database.synchronous == "full"
    for _ in order:
        await databases.release(database)


async def test_what_could_not_be_opened_can_be_tried_again(tmp_path: Path) -> None:
    databases = Databases()
    blocker = tmp_path / "folder"
    blocker.touch()
    with pytest.raises(EnvironmentFault):
        await databases.acquire(blocker / "data.db")
    blocker.unlink()
    await databases.release(await databases.acquire(blocker / "data.db"))


async def test_a_file_under_a_second_name_is_refused_and_a_link_to_the_path_is_not(tmp_path: Path) -> None:
    databases = Databases()
    database = await databases.acquire(tmp_path / "data.db")
    (tmp_path / "link.db").symlink_to("data.db")
    (tmp_path / "hard.db").hardlink_to(tmp_path / "data.db")
    assert await databases.acquire(tmp_path / "link.db") is database
    with pytest.raises(EnvironmentFault, match="one file under two names"):
        await databases.acquire(tmp_path / "hard.db")
    for _ in range(2):
        await databases.release(database)
