import resource

from streamd.host.doctor.open_files import judge


def test_a_service_gets_a_drop_in_with_what_is_needed() -> None:
    finding = judge(2000, 1024, is_service=True)
    assert finding.severity == "problem"
    assert "2,000" in finding.text
    assert "1,024" in finding.text
    assert any("LimitNOFILE=2000" in line for line in finding.paste)


def test_a_shell_gets_its_own_limit_raised() -> None:
    assert judge(2000, 1024, is_service=False).paste[0].startswith("ulimit -n 2000")


def test_just_enough_and_no_limit_are_fine() -> None:
    assert judge(2000, 2000, is_service=True).severity == "fine"
    assert judge(2000, resource.RLIM_INFINITY, is_service=False).severity == "fine"
