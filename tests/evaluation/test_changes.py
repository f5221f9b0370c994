import pytest

from tests.evaluation.changes import Found, judge_changes, matched


@pytest.mark.parametrize(
    ("points", "reports", "found"),
    [
        pytest.param([10], [10], {10: 10}, id="at the point"),
        pytest.param([10], [15], {10: 15}, id="the last moment"),
        pytest.param([10], [16], {}, id="too late"),
        pytest.param([10], [9], {}, id="before the point"),
        pytest.param([10], [11, 12], {10: 11}, id="the first of two"),
        pytest.param([10, 12], [12], {12: 12}, id="after the next point a report is for that one"),
        pytest.param([12, 10], [13, 11], {10: 11, 12: 13}, id="in any order"),
        pytest.param([10, 12], [11], {10: 11}, id="one report finds one point"),
        pytest.param([], [3], {}, id="no point"),
    ],
)
def test_reports_for_points(points: list[int], reports: list[int], found: dict[int, int]) -> None:
    assert matched(points, reports, 5) == found


def test_recall_is_the_mean_over_people_and_precision_is_by_all_of_them() -> None:
    marked = {"a": [10, 50], "b": [11], "c": [], "d": [30]}
    found = judge_changes(marked, [12, 70], range(100), 5)
    assert sorted(found.shares) == [0.0, 0.5, 1.0]
    assert (found.recall, found.precision, found.false_alarms, found.points) == (0.5, 0.5, 1, 4)
    assert sorted(found.delays) == [1, 2]
    assert (found.delay, found.f1) == (1.5, 0.5)


def test_a_second_report_for_the_same_point_is_false() -> None:
    found = judge_changes({"a": [10]}, [10, 12, 14], range(100), 5)
    assert (found.recall, found.reports, found.right, found.false_alarms) == (1.0, 3, 1, 2)


def test_only_points_and_reports_of_the_part_count() -> None:
    found = judge_changes({"a": [10, 60]}, [12, 61, 80], range(50, 100), 5)
    assert (found.points, found.reports, found.right, found.records) == (1, 2, 1, 50)


def test_without_points_or_reports_shares_are_unknown() -> None:
    nothing = judge_changes({"a": [], "b": []}, [], range(10), 5)
    assert (nothing.recall, nothing.precision, nothing.f1, nothing.delay) == (None, None, 0.0, None)
    quiet = judge_changes({"a": [3]}, [], range(10), 5)
    assert (quiet.recall, quiet.precision, quiet.f1) == (0.0, None, 0.0)
    wrong = judge_changes({"a": [3]}, [1], range(10), 5)
    assert (wrong.recall, wrong.precision, wrong.f1) == (0.0, 0.0, 0.0)


def test_counts_of_series_are_added() -> None:
    both = judge_changes({"a": [3]}, [3], range(10), 5) + judge_changes({"a": [3]}, [9], range(10), 5)
    assert both == Found((1.0, 0.0), 2, 2, 1, (0,), 20)
