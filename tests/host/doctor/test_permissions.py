from pathlib import Path

import pytest

from streamd.host.doctor.permissions import judge_code, judge_state_dir

FILE = Path("/etc/streamd/my steps.py")


@pytest.mark.parametrize(
    ("mode", "who"),
    [(0o100664, "its group"), (0o100646, "every user"), (0o100666, "its group and every user")],
)
def test_what_others_may_change_runs_as_the_daemon(mode: int, who: str) -> None:
    finding = judge_code(FILE, "Python", mode, 0, {0})
    assert finding is not None
    assert finding.severity == "problem"
    assert f"changed by {who}:" in finding.text
    assert finding.paste == ("chmod go-w '/etc/streamd/my steps.py'",)


def test_a_file_of_another_user_is_not_trusted() -> None:
    assert judge_code(FILE, "Python", 0o100644, 1001, {0, 1000}) is not None
    assert judge_code(FILE, "Python", 0o100644, 1000, {0, 1000}) is None


@pytest.mark.parametrize(
    ("mode", "severity"), [(0o41777, "problem"), (0o40755, "advice"), (0o40750, "fine"), (0o40700, "fine")]
)
def test_the_state_folder_is_for_the_daemon_and_its_group(mode: int, severity: str) -> None:
    assert judge_state_dir(Path("/var/lib/streamd"), mode).severity == severity
