import pytest

from streamd.host.doctor.sqlite import judge


@pytest.mark.parametrize(
    ("version", "severity"),
    [
        ((3, 36, 0), "problem"),
        ((3, 37, 0), "advice"),
        ((3, 40, 1), "advice"),
        ((3, 44, 5), "advice"),
        ((3, 44, 6), "fine"),
        ((3, 45, 0), "advice"),
        ((3, 50, 7), "fine"),
        ((3, 51, 2), "advice"),
        ((3, 51, 3), "fine"),
        ((3, 53, 0), "fine"),
    ],
)
def test_versions_without_strict_tables_or_with_the_wal_reset_bug(
    version: tuple[int, ...], severity: str
) -> None:
    assert judge(version).severity == severity
