import pytest

from streamd.host.doctor.python import judge


@pytest.mark.parametrize(
    ("version", "has_uvloop", "severity"),
    [
        ((3, 10, 9), True, "problem"),
        ((3, 11, 0), True, "fine"),
        ((3, 13, 2), True, "fine"),
        ((3, 14, 0), True, "advice"),
        ((3, 12, 1), False, "problem"),
    ],
)
def test_the_interpreter_and_its_loop(version: tuple[int, ...], has_uvloop: bool, severity: str) -> None:
    assert judge(version, has_uvloop=has_uvloop).severity == severity
