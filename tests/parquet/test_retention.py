from pathlib import Path

import pyarrow as pa
from pyarrow import parquet as pq

from streamd.core.counters import Counters
from streamd.parquet.places import Places
from streamd.parquet.retention import FileRetention

NOW_S = 1_769_846_400.0


def lake(folder: Path, *ages_s: float, pattern: str = "%Y/x.parquet") -> tuple[Places, list[Path]]:
    """Files of these ages, each with two rows."""
    places = Places(folder / pattern)
    made: list[Path] = []
    for age_s in ages_s:
        path = places.new_file(places.stem_of(f"{2000 + len(made)}-01-01T00"), NOW_S - age_s)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"n": [1, 2]}), path)
        made.append(path)
    return places, made


def step(places: Places, **limits: float | None) -> Counters:
    counters = Counters()
    given = {"max_age_s": None, "max_bytes": None} | limits
    FileRetention(places, counters, wall_s=lambda: NOW_S, **given).step()  # type: ignore[arg-type]  # numbers
    return counters


def test_files_made_too_long_ago_are_deleted_with_their_empty_folders(tmp_path: Path) -> None:
    places, (old, note, young) = lake(tmp_path, 300.0, 200.0, 99.0)
    (note.parent / "note.txt").touch()
    counters = step(places, max_age_s=100.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2001", "2002"]
    assert not old.parent.exists()
    assert [path for path in (old, note, young) if path.exists()] == [young]
    assert counters.numbers() == {"expired": 4}


def test_the_oldest_files_are_deleted_until_the_rest_is_small_enough(tmp_path: Path) -> None:
    for pattern in ("%Y/x.parquet", "x.parquet"):
        places, made = lake(tmp_path, 3.0, 1.0, 2.0, pattern=pattern)
        size = made[0].stat().st_size
        assert step(places, max_bytes=2 * size).numbers() == {"expired": 2}
        assert [path.exists() for path in made] == [False, True, True]
        step(places, max_bytes=1)
        assert [path.exists() for path in made] == [False, True, False]  # the newest stays


def test_files_of_others_are_neither_counted_nor_deleted(tmp_path: Path) -> None:
    places, (old,) = lake(tmp_path, 300.0)
    other = old.with_name("other.parquet")
    other.write_bytes(b"x" * 10_000)
    assert step(places, max_bytes=other.stat().st_size, max_age_s=400.0).numbers() == {}
    assert step(places, max_age_s=100.0).numbers() == {"expired": 2}
    assert other.exists()


def test_a_damaged_file_is_deleted_as_one_without_rows(tmp_path: Path) -> None:
    places, (old,) = lake(tmp_path, 300.0)
    old.write_bytes(b"no parquet")
    assert step(places, max_age_s=100.0).numbers() == {"expired": 0}
    assert not old.exists()


def test_a_folder_that_is_gone_has_nothing_to_delete(tmp_path: Path) -> None:
    assert step(Places(tmp_path / "none" / "x.parquet"), max_age_s=1.0).numbers() == {}
