from pathlib import Path

from streamd.host.doctor import disk_space
from streamd.host.doctor.disk_space import OutputFile, judge

GIB = 1 << 30
FOLDER = Path("/var/lib/streamd")


def severities(free: int, *found: OutputFile) -> list[str]:
    return [finding.severity for finding in judge(FOLDER, free, found)]


def test_less_than_min_free_is_a_problem() -> None:
    output = OutputFile("sinks.a", 0, GIB, min_free_bytes=GIB, has_max_age=True)
    first, *_ = judge(FOLDER, GIB - 1, [output])
    assert first.severity == "problem"
    assert "sinks.a stops writing below 1 GiB" in first.text
    assert "fine" not in severities(GIB - 1, output)


def test_outputs_of_one_file_system_share_its_room() -> None:
    outputs = [OutputFile(f"sinks.{name}", 0, 6 * GIB) for name in "ab"]
    assert severities(13 * GIB, *outputs) == ["fine"]
    assert severities(11 * GIB, *outputs) == ["advice", "fine"]


def test_what_a_file_has_already_is_not_asked_for_again() -> None:
    assert severities(2 * GIB, OutputFile("sinks.a", 9 * GIB, 10 * GIB)) == ["fine"]


def test_growth_without_bound_is_told_with_the_key_that_bounds_it() -> None:
    findings = list(judge(FOLDER, GIB, [OutputFile("ledger", 0, None), OutputFile("sinks.a", 0, None)]))
    assert [finding.severity for finding in findings] == ["advice", "advice", "fine"]
    assert "[ledger] max_age" in findings[0].text
    assert "sinks.a.retention.max_age or .max_size would set one" in findings[1].text
    assert severities(GIB, OutputFile("ledger", 0, None, has_max_age=True)) == ["fine"]


def test_a_file_that_does_not_exist_yet_has_no_size(tmp_path: Path) -> None:
    (first, _) = judge(FOLDER, GIB, [OutputFile("ledger", None, None)])
    assert first.text == "ledger has no visible file yet and no limit: [ledger] max_age would set one"
    assert severities(GIB, OutputFile("sinks.a", None, 2 * GIB)) == ["advice", "fine"]
    assert disk_space._has_bytes(tmp_path / "none.db") is None
    assert disk_space._has_bytes(tmp_path / "%Y.db") is None
    (tmp_path / "empty.db").touch()
    assert disk_space._has_bytes(tmp_path / "empty.db") == 0


def test_every_file_of_a_parquet_sink_counts(tmp_path: Path) -> None:
    folder = tmp_path / "day=2026-01-31"
    folder.mkdir()
    for second in (1, 2):
        folder.joinpath(f"x-20260131T08000{second}.000000Z-01234567.parquet").write_bytes(b"x" * 100)
    folder.joinpath("other.parquet").write_bytes(b"x" * 1000)
    assert disk_space._has_bytes(tmp_path / "day=%Y-%m-%d" / "x.parquet") == 200
