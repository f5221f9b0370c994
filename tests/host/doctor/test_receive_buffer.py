import pytest

from streamd.host.doctor.receive_buffer import judge

MIB = 1 << 20


@pytest.mark.parametrize(
    ("rmem_max", "given", "severity"),
    [
        (212_992, None, "problem"),
        (4 * MIB - 1, None, "problem"),
        (4 * MIB, None, "fine"),  # the kernel doubles what it grants
        (64 * MIB, None, "fine"),
        (None, None, "unknown"),
        (212_992, 8 * MIB, "fine"),  # systemd may exceed the limit
        (None, 8 * MIB, "fine"),
        (212_992, MIB, "problem"),
    ],
)
def test_what_is_asked_for_is_compared_with_the_double_of_what_is_allowed(
    rmem_max: int | None, given: int | None, severity: str
) -> None:
    assert judge("lab", 8 * MIB, rmem_max, given).severity == severity


def test_the_lines_to_paste_grant_it_now_and_at_every_boot() -> None:
    finding = judge("lab", 8 * MIB, 212_992, None)
    assert "8 MiB" in finding.text
    assert "416 KiB" in finding.text
    assert finding.paste == (
        "sysctl -w net.core.rmem_max=8388608",
        "echo 'net.core.rmem_max = 8388608' > /etc/sysctl.d/60-streamd-rmem_max.conf",
    )
    granted = int(finding.paste[0].rpartition("=")[2])
    assert judge("lab", 8 * MIB, granted, None).severity == "fine"
