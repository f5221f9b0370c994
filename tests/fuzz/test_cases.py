"""What the fuzzer starts from and what it has found: tried again in every test run."""

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
FUZZ: dict[str, Any] = runpy.run_path(str(HERE / "fuzz.py"))
SEEDS = [
    pytest.param(name, seed, id=f"{name}-{number}")
    for name, target in FUZZ["TARGETS"].items()
    for number, seed in enumerate(target.seeds)
]


def cases() -> Iterator[Any]:
    for path in sorted(HERE.glob("cases/*/*")):
        yield pytest.param(path.parent.name, path.read_bytes(), id=f"{path.parent.name}-{path.name}")


@pytest.mark.parametrize(("name", "data"), [*SEEDS, *cases()])
def test_an_input_keeps_the_promises_of_its_target(name: str, data: bytes) -> None:
    fault, _ = FUZZ["fault_of"](name, data)
    assert fault is None


def test_the_fuzzer_sees_a_broken_promise_and_makes_its_input_smaller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def check(data: bytes) -> int:
        assert b"bug" not in data
        return len(data) % 2

    monkeypatch.setitem(FUZZ["TARGETS"], "broken", FUZZ["TARGETS"]["codec-raw"]._replace(check=check))
    fault, _ = FUZZ["fault_of"]("broken", b"a bug here")
    assert fault is not None
    assert fault.startswith("AssertionError")
    assert FUZZ["shrunk"]("broken", b"some more bytes and a bug here") == b"bug"
