import asyncio

import pytest

from streamd.runtime import closing
from streamd.runtime.closing import close_all


async def test_a_part_that_hangs_or_fails_keeps_no_other_from_closing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(closing, "CLOSE_TIMEOUT_S", 0.01)
    closed: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            closed.append("cancelled")

    async def fail() -> None:
        raise RuntimeError("a bug")

    async def close() -> None:
        closed.append("closed")

    assert await close_all([hang(), fail(), close()])
    assert closed == ["cancelled", "closed"]
    assert not await close_all([fail(), close()])
    assert not await close_all([])
