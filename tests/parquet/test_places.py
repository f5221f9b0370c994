import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.errors import ConfigError
from streamd.parquet.places import Places, unfinished_name


def test_the_fields_of_folders_and_name_are_those_of_the_time() -> None:
    places = Places(Path("/lake/year=%Y/day=%Y-%m-%d/h%H.parquet"))
    assert places.base == Path("/lake")
    assert places.stem_of("2026-01-31T08:59:59.999999Z") == Path("/lake/year=2026/day=2026-01-31/h08")
    path = places.new_file(places.stem_of("2026-01-31T08"), 0.25)
    assert re.fullmatch(r"h08-19700101T000000\.250000Z-[0-9a-f]{8}\.parquet", path.name)
    assert places.made_at_s(path) == 0.25
    assert path != places.new_file(places.stem_of("2026-01-31T08"), 0.25)


@given(st.datetimes(datetime(1971, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_name_has_its_time(moment: datetime) -> None:
    places = Places(Path("/lake/%Y/x.y.parquet"))
    path = places.new_file(places.stem_of("2026-01-31T08"), moment.timestamp())
    made_at_s = places.made_at_s(path)
    assert made_at_s is not None
    assert abs(made_at_s - moment.timestamp()) < 1e-4


@pytest.mark.parametrize(
    "name",
    [
        "/lake/2026/x.parquet",
        "/lake/2026/x-20260131T080000.000000Z-0123456.parquet",
        "/lake/2026/x-20269931T080000.000000Z-01234567.parquet",
        "/lake/2026/y-20260131T080000.000000Z-01234567.parquet",
        "/lake/26/x-20260131T080000.000000Z-01234567.parquet",
        "/lake/x-20260131T080000.000000Z-01234567.parquet",
        "/other/2026/x-20260131T080000.000000Z-01234567.parquet",
    ],
)
def test_files_of_others_are_not_its_own(name: str) -> None:
    assert Places(Path("/lake/%Y/x.parquet")).made_at_s(Path(name)) is None


def test_its_files_are_found_in_every_period_and_unfinished_ones_apart(tmp_path: Path) -> None:
    for pattern in ("%Y/%Y-%m/x.parquet", "x.parquet"):
        places = Places(tmp_path / "lake" / pattern)
        whole = [places.new_file(places.stem_of(time), 1.0) for time in ("2026-01-31T08", "2027-02-01T00")]
        for path in whole:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            unfinished_name(path).touch()
            path.with_name("note.txt").touch()
            path.with_name(".note.parquet.tmp").touch()
        assert sorted(places.files()) == sorted(whole)
        assert sorted(places.unfinished()) == sorted(map(unfinished_name, whole))


def test_a_percent_sign_in_the_state_folder_is_no_field() -> None:
    places = Places(Path("/srv/100%/lake/%Y/x.parquet"), Path("/srv/100%"))
    assert places.base == Path("/srv/100%/lake")
    assert places.stem_of("2026-01-31T08") == Path("/srv/100%/lake/2026/x")


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert not list(Places(tmp_path / "none" / "%Y" / "x.parquet").files())
    assert not list(Places(tmp_path / "none" / "x.parquet").files())


@pytest.mark.parametrize(
    "path", ["%m/x.parquet", "%Y/%d/x.parquet", "%Y/%x.parquet", "%Y/%S.parquet", "100%/x.parquet"]
)
def test_fields_that_name_no_period_are_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="names no periods"):
        Places(Path("/lake") / path)
