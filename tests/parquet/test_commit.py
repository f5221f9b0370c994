from pathlib import Path

from pyarrow import parquet as pq

from streamd.core.batch import Batch
from streamd.core.now import Now
from streamd.core.schema import FieldSettings
from streamd.parquet.commit import Files
from streamd.parquet.places import Places

NOW = Now(1_769_846_400.5, 50.0)


def files_in(folder: Path, pattern: str) -> Files:
    fields = {"n": FieldSettings(type="int")}
    return Files(
        Places(folder / pattern),
        fields,
        add_metadata=False,
        extra="drop",
        compression="zstd",
        clock=lambda: NOW,
    )


def test_all_batches_of_a_period_are_one_file_in_order(tmp_path: Path) -> None:
    batches = [Batch.of([{"n": n}, {"n": n + 1}], "lab", "main", "peer", float(n)) for n in (1, 5, 3)]
    commit = files_in(tmp_path, "%Y/x.parquet").make(batches)
    assert not list(tmp_path.iterdir())
    commit.store()
    (path,) = tmp_path.rglob("*.parquet")
    assert path.parent.name == "1970"
    assert path.name.startswith("x-20260131T080000.500000Z-")
    assert pq.ParquetFile(path).read()["n"].to_pylist() == [1, 2, 5, 6, 3, 4]
    assert (commit.files, commit.waiting, commit.rejects) == (1, [], [[], [], []])


def test_a_record_without_a_time_is_of_the_present(tmp_path: Path) -> None:
    batch = Batch.of([{"n": 1}, {"n": 2}], "lab", "main", "peer", 1.0)
    batch.lift()
    del batch.records[1]["@received_at"]
    commit = files_in(tmp_path, "%Y/x.parquet").make([batch])
    assert [path.parent.name for path, _ in commit.waiting] == ["1970", "2026"]


def test_a_second_call_stores_what_the_first_did_not(tmp_path: Path) -> None:
    batch = Batch.of([{"n": n} for n in range(3)], "lab", "main", "peer", [0.0, 4e7, 8e7])
    commit = files_in(tmp_path, "%Y/x.parquet").make([batch])
    names = [path.name for path, _ in commit.waiting]
    (tmp_path / "1971").touch()
    for _ in range(2):
        try:
            commit.store()
        except FileExistsError:
            assert commit.files == 1
            (tmp_path / "1971").unlink()
    assert sorted(path.name for path in tmp_path.rglob("*.parquet")) == sorted(names)
    assert commit.files == 3
