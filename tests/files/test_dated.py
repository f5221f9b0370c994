from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from streamd.core.errors import ConfigError
from streamd.files.dated import DatedPath, files_of, is_dated

MIDNIGHT = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("%Y.db", "2026.db", "2026.db"),
        ("a-%Y-%m.db", "a-2026-01.db", "a-2026-02.db"),
        ("%Y%m%d.db", "20260131.db", "20260201.db"),
        ("%d.%m.%Y-%H.db", "31.01.2026-23.db", "01.02.2026-00.db"),
    ],
)
def test_each_moment_has_its_file_and_each_file_its_span(name: str, before: str, after: str) -> None:
    dated = DatedPath(Path("/data") / name)
    for moment, file in ((MIDNIGHT - timedelta(microseconds=1), before), (MIDNIGHT, after)):
        path = dated.file_of(moment)
        assert path == Path("/data") / file
        start = dated.start_of_file(path)
        assert start is not None
        assert start == dated.start_of(moment)
        assert start <= moment < dated.end_of(start)
        assert dated.file_of(dated.end_of(start) - timedelta(microseconds=1)) == path
        assert dated.file_of(dated.end_of(start)) != path


def test_the_day_is_that_of_utc() -> None:
    east = timezone(timedelta(hours=8))
    assert DatedPath(Path("%Y-%m-%d")).file_of(datetime(2026, 2, 1, 7, 59, tzinfo=east)).name == "2026-01-31"


@pytest.mark.parametrize("name", ["%m.db", "%Y-%d.db", "%Y%Y.db", "%Y-%j.db", "100%.db", "%%Y.db", "%y.db"])
def test_a_pattern_that_is_no_span_of_time_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="names no periods"):
        DatedPath(Path(name))


def test_files_are_found_in_the_order_of_time_and_others_are_left_out(tmp_path: Path) -> None:
    for name in (
        "31.12.2025.db",
        "01.02.2026.db",
        "02.01.2026.db",
        "99.01.2026.db",
        "x",
        "01.02.2026.db-wal",
    ):
        (tmp_path / name).touch()
    found = files_of(tmp_path / "%d.%m.%Y.db")
    assert [path.name for path in found] == ["31.12.2025.db", "02.01.2026.db", "01.02.2026.db"]


def test_a_path_without_a_pattern_is_its_own_file(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    assert files_of(path) == []
    path.touch()
    assert files_of(path) == [path]
    assert not is_dated(path)


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert files_of(tmp_path / "none" / "%Y.db") == []


@pytest.mark.parametrize("name", ["%Y.db", "%Y-%m.db", "%Y-%m-%d.db", "%Y-%m-%d-%H.db"])
def test_a_file_is_to_come_until_its_first_moment(name: str) -> None:
    dated = DatedPath(Path("/data") / name)
    start = datetime(2027, 1, 1, tzinfo=UTC)
    path = dated.file_of(start)
    assert dated.is_in_future(path, start - timedelta(microseconds=1))
    assert not dated.is_in_future(path, start)
    assert not dated.is_in_future(Path("/data/notes.txt"), start)
