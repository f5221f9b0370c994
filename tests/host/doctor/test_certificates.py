from pathlib import Path

import pytest

from streamd.host.doctor.certificates import judge_expiry, judge_key

DAY_S = 86400.0


@pytest.mark.parametrize(
    ("left_days", "severity"), [(-1, "problem"), (0, "problem"), (13, "advice"), (15, "fine")]
)
def test_a_certificate_is_renewed_before_it_expires(left_days: float, severity: str) -> None:
    finding = judge_expiry("floor", left_days * DAY_S)
    assert finding.severity == severity
    assert f"{abs(left_days):.1f} days" in finding.text


def test_a_key_is_not_for_everybody() -> None:
    finding = judge_key("floor", Path("/etc/streamd/server.key"), 0o100644)
    assert finding.severity == "problem"
    assert finding.paste == ("chmod o= /etc/streamd/server.key",)
    assert judge_key("floor", Path("/etc/streamd/server.key"), 0o100640).severity == "fine"
