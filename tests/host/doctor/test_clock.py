import pytest

from streamd.host.doctor.clock import judge_jump, judge_state


@pytest.mark.parametrize(("state", "severity"), [(0, "fine"), (1, "fine"), (5, "advice"), (None, "unknown")])
def test_the_kernel_says_whether_it_is_synchronised(state: int | None, severity: str) -> None:
    assert judge_state(state).severity == severity


def test_a_file_from_the_future_means_that_the_clock_went_back() -> None:
    finding = judge_jump("ledger", 3600.0)
    assert finding is not None
    assert finding.severity == "problem"
    assert "3,600 s" in finding.text
    assert judge_jump("ledger", 5.0) is None
    assert judge_jump("ledger", -1e6) is None
