from streamd.host.doctor.backlog import judge


def test_a_smaller_limit_of_the_kernel_is_told_with_the_line_that_mends_it() -> None:
    finding = judge(128)
    assert finding.severity == "advice"
    assert "128" in finding.text
    assert finding.paste[0] == "sysctl -w net.core.somaxconn=1024"
    assert judge(4096).severity == "fine"
    assert judge(None).severity == "unknown"
