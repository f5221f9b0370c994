from pathlib import Path

from streamd.host.doctor.sync_speed import judge, measure


def test_a_disk_slower_than_the_commits_that_wait_for_it_is_a_problem() -> None:
    finding = judge(0.3, {"a": 0.2})
    assert finding.severity == "problem"
    assert "300 ms" in finding.text
    assert "200 ms" in finding.text
    assert judge(0.03, {"a": 0.2}).severity == "fine"


def test_a_slow_disk_is_worth_a_word_where_no_commit_waits() -> None:
    assert judge(0.3, {}).severity == "advice"
    assert judge(0.001, {}).severity == "fine"


def test_measuring_leaves_nothing_behind(tmp_path: Path) -> None:
    assert measure(tmp_path) > 0
    assert not list(tmp_path.iterdir())
