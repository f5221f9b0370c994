from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamd import registry
from streamd.core.contracts import Processed, Step, StepContext
from streamd.core.now import Now

NewStep = Callable[..., Step[Any]]


@pytest.fixture
def now() -> Now:
    return Now(1_700_000_000.0, 1.0)


@pytest.fixture
def new_step(tmp_path: Path) -> NewStep:
    """Makes a step of the options a configuration would give it; its folder is `tmp_path`."""

    def make(type_name: str, known: frozenset[str] | None = None, **options: Any) -> Step[Any]:
        cls = registry.load("steps", type_name)
        context = StepContext(f"{type_name}[0]", "readings", None, tmp_path, known)
        step: Step[Any] = cls(cls.Config(**options), context)
        return step

    return make


@pytest.fixture(scope="session")
def assert_exact() -> Callable[[int, Processed], None]:
    """Holds what a step made against the sum that `Processed` promises."""

    def check(taken_in: int, done: Processed) -> None:
        assert min(done.filtered, done.absorbed, done.emitted) >= 0
        gone = len(done.records) + done.filtered + done.absorbed + len(done.rejects)
        assert taken_in + done.emitted == gone

    return check
