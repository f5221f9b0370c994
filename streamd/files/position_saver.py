"""Saves the position of a followed file at an interval while it moves."""

import asyncio
from collections.abc import Callable

from streamd.files.position import Position, PositionFile


class PositionSaver:
    """Saves the result of `position` if it has changed. A failed save is retried at the next interval."""

    def __init__(
        self, file: PositionFile, position: Callable[[], Position | None], on_error: Callable[[OSError], None]
    ) -> None:
        self.saved: Position | None = None
        self._file = file
        self._position = position
        self._on_error = on_error
        self._saving = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, every_s: float) -> None:
        """Save now, and every `every_s` seconds from now on, if the position has changed."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(every_s, self.begin, every_s)
        if self._position() != self.saved and not self._saving.locked():
            self._task = loop.create_task(self.save())

    def end(self) -> None:
        """End the saves at an interval."""
        if self._timer is not None:
            self._timer.cancel()

    async def save(self) -> None:
        """Save now. An `OSError` is passed to `on_error` and not raised."""
        async with self._saving:
            position = self._position()
            if position is None or position == self.saved:
                return
            try:
                await asyncio.to_thread(self._file.save, position)
            except OSError as error:
                self._on_error(error)
            else:
                self.saved = position
