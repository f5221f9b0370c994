import asyncio
from typing import Any, Never

import pytest

from streamd.core.contained import contained


def raising(error: BaseException) -> Any:
    def call() -> Never:
        raise error

    return call


def test_a_result_and_an_exception_come_through() -> None:
    assert contained(lambda: 5) == 5
    error = ValueError("no")
    with pytest.raises(ValueError, match="no") as caught:
        contained(raising(error))
    assert caught.value is error


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()]
)
def test_what_would_end_the_daemon_becomes_an_exception(error: BaseException) -> None:
    with pytest.raises(RuntimeError, match=f"the step raised {type(error).__name__}") as caught:
        contained(raising(error))
    assert caught.value.__cause__ is error
