"""An outlet that keeps what it is offered."""

from collections.abc import Callable

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
