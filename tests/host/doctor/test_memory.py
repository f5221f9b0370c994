import pytest

from streamd.host.doctor.memory import judge

GIB = 1 << 30


@pytest.mark.parametrize(
    ("buffers", "total", "available", "severity"),
    [
        (GIB, 4 * GIB, 2 * GIB, "fine"),
        (3 * GIB, 4 * GIB, 2 * GIB, "advice"),
        (4 * GIB, 4 * GIB, 2 * GIB, "problem"),
        (GIB, None, None, "unknown"),
    ],
)
def test_full_buffers_have_to_fit(
    buffers: int, total: int | None, available: int | None, severity: str
) -> None:
    assert judge(buffers, total, available).severity == severity
