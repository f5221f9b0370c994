"""The position of a followed file, saved now and then while it moves."""

import asyncio
from collections.abc import Callable

from streamd.files.position import Position, PositionFile


class Saver:
    """Saves what `position` gives whenever it is another one than the last; what fails is tried again."""

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
        """Save every so many seconds from now on."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(every_s, self.begin, every_s)
        if self._position() != self.saved and not self._saving.locked():
            self._task = loop.create_task(self.save())

    def end(self) -> None:
        """Save only when asked to."""
        if self._timer is not None:
            self._timer.cancel()

    async def save(self) -> None:
        """Save now. A disk that does not take it is said, and no more."""
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
