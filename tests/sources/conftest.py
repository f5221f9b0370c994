"""An outlet that keeps what it is offered, and a wait for a condition that a real socket brings about."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from streamd.core.frames import Frames


class Capture:
    """Keeps every frame; `accepting` False says stop."""

    def __init__(self) -> None:
        self.offered: list[Frames] = []
        self.accepting = True
        self.resume: Callable[[], None] = lambda: None

    def offer(self, frames: Frames) -> bool:
        self.offered.append(frames)
        return self.accepting

    def on_resume(self, callback: Callable[[], None]) -> None:
        self.resume = callback

    @property
    def payloads(self) -> list[bytes]:
        return [payload for frames in self.offered for payload in frames.payloads]

    @property
    def peers(self) -> list[str]:
        return [frames.peer(i) for frames in self.offered for i in range(len(frames))]


@pytest.fixture
def capture() -> Capture:
    return Capture()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    return _until
