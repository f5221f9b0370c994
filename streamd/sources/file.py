"""A file that others write, followed as it grows."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import structlog
from pydantic import Field

from streamd.core.clock import read_clock
from streamd.core.contracts import Framer, Outlet, Source, SourceContext
from streamd.core.errors import ConfigError, EnvironmentFault, FramingError
from streamd.core.frames import FRAME_OVERHEAD_BYTES, Frames
from streamd.core.settings import DurationS, StreamSettings
from streamd.sources._cutting import book_counts
from streamd.sources._position import PositionFile, Progress
from streamd.sources._tail import Found, Tail, resume

log = structlog.get_logger()

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

POLL_S = 0.2
"""How long the end of a file is left alone; looking costs three system calls and a change of threads."""
SAVE_S = 1.0
"""How often the position is saved while it moves."""


class File(Source):
    """A file, followed as it grows, through rotation and restarts.

    Rotation by renaming: the old file is read to its end first; where the daemon was away it is looked for
    beside the new one (`app.log` under `app.log*`), and files begun since (`app.log.1`, `app.log-20260131`)
    are read in the order of their times; those that are compressed already are not, each of them counted
    (`files_skipped`) and named in a warning. Rotation by copying and truncating: what was written between
    the last look and the truncation is in the copy only.

    **At least once.** Up to where everything is committed (or filtered out, a dead letter, or a counted
    loss) is remembered in `positions/<source>.json` under `state_dir`, about once a second. After a crash
    what came behind that is read again; `unique` columns make it once. A full buffer stops the reading.
    A last line without its end waits until it has one, over restarts too; only when its file was rotated
    away is it delivered as it is and flagged `unterminated`.

    The file is touched in a thread of this source's own, 64 KiB at a time (about 80 µs of CPU for each): a
    slow disk holds up this source and nothing else.
    """

    address: str

    class Config(StreamSettings):
        """A file that grows."""

        path: str = Field(
            pattern=r"^[^\x00]+$", description="the file, relative to the file that configures it"
        )
        start: Literal["beginning", "end"] = Field(
            "beginning",
            description="where to begin in a file that is there at the very first start; later its"
            " position is remembered",
        )
        rotate_wait: DurationS = Field(  # type: ignore[assignment]  # parsed by the validator
            "1s",
            description="how long a file that was rotated away must be quiet before the new one is read: its"
            " writer may not have noticed yet",
        )
        oversize: Literal["truncate", "drop"] = Field(
            "truncate",
            description="a longer frame: truncate (kept up to max_frame and flagged) or drop (counted)",
        )

    def __init__(self, config: Any, context: SourceContext) -> None:
        super().__init__(config, context)
        if context.new_framer is None:
            raise ConfigError("a file needs a framing")
        self._new_framer = context.new_framer
        self._framer: Framer = self._new_framer()
        self._framing_changed = False
        self.address = os.path.abspath(context.base_dir / config.path)  # noqa: PTH100 - keeps links as written
        self._path = Path(self.address)
        self._positions = PositionFile(context.state_dir / "positions" / f"{context.name}.json")
        self._progress = Progress(None)
        self._saved = self._progress.settled
        self._saving = asyncio.Lock()
        self._room = asyncio.Event()
        self._disk = ThreadPoolExecutor(1, f"file-{context.name}")
        self._tail: Tail | None = None
        """Opened, changed for the next and closed in the thread only, which may be held up for long."""
        self._was_missing = False
        self._trouble = ""
        self._quiet_since_mono_s = 0.0
        """When the end of a file that was rotated away was reached; 0: it was not."""
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def open(self, outlet: Outlet) -> None:
        """Begin to follow, whether the file is there or not. Raises `EnvironmentFault`."""
        self._outlet = outlet
        remembered = self._positions.load()
        if remembered is not None and remembered.path == self.address:
            self._progress.settled = self._saved = remembered
        outlet.on_resume(self._room.set)
        self._room.set()
        self._framer = self._new_framer()
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._follow())
        self._timer = self._loop.call_later(SAVE_S, self._save_now_and_then)

    def rehearse(self) -> None:
        """Look at the remembered position, and at the file where it is there.

        A start waits for a file that it cannot read, because somebody may yet give it the right to. Nobody
        is watching then, so it is a refusal here.
        """
        self._positions.load()
        try:
            Tail(self._path).close()
        except FileNotFoundError:
            pass  # it is waited for
        except OSError as error:
            advice = (
                "the user of the daemon needs to (systemd: SupplementaryGroups=adm for files of that group)"
                if isinstance(error, PermissionError)
                else "a start would wait for a file"
            )
            raise EnvironmentFault(
                f"source {self.context.name}: cannot read {self.address}: {error.strerror}: {advice}"
            ) from None
        self._positions.rehearse()

    def can_become(self, config: Any) -> bool:
        """It goes on where it is in the same file."""
        return bool(config.path == self.config.path)

    def become(self, config: Any, context: SourceContext) -> None:
        """Go on with other settings; another framing begins once what was read ends with a frame."""
        if context.new_framer is None:
            raise ConfigError("a file needs a framing")
        super().become(config, context)
        self._new_framer = context.new_framer
        self._framing_changed = True
        self._change_framing()

    def _change_framing(self) -> None:
        if self._framing_changed and self._framer.between_frames and not self._framer.waiting_bytes:
            self._framer = self._new_framer()
            self._framing_changed = False

    async def stop(self) -> None:
        """Read no more. The second call, after what was read has found its fate, saves up to there."""
        self._progress.stopping = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self._disk.submit(self._close)  # nobody waits for it: the disk may not answer
            self._disk.shutdown(wait=False)
        await self._save()

    async def _on_disk(
        self, call: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        return await asyncio.wrap_future(self._disk.submit(call, *args, **kwargs))

    async def _follow(self) -> None:
        while True:
            await self._room.wait()
            more = False
            try:
                if self._tail is None:
                    await self._first_file()
                    await self._save()  # else a crash now and a rotation would leave a file nobody looks for
                more = self._tail is not None and await self._read(self._tail)
            except OSError as error:
                self._say(error.strerror or str(error))
            await asyncio.sleep(0 if more else POLL_S)

    async def _read(self, tail: Tail) -> bool:
        """One piece of the file; whether there may be another at once."""
        look = await self._on_disk(tail.look, self._path)
        if look.rewritten:
            self.context.book.note("files_truncated")
            self._end_of_file(tail)
        if look.data:
            self._quiet_since_mono_s = 0.0
            await self._feed(tail, look.data)
            return True
        return look.rotated and await self._rotate(tail)

    async def _first_file(self) -> None:
        """Begin with the file to begin with. Raises `OSError` where there is none yet."""
        position = self._progress.settled
        try:
            found = await self._on_disk(self._begin)
        except FileNotFoundError:
            self._was_missing = True
            raise
        if found.missed and position is not None:
            self.context.book.note("files_missed")
            log.warning(
                "file_missed",
                source=self.context.name,
                path=self.address,
                offset=position.offset,
                hint="the file read last is gone or was rewritten; what it had after this offset is not read",
            )
        self._note_skipped(found)
        tail = found.tail
        self._reached = tail.position(self.address, tail.offset)
        self._progress.passed(self._reached)
        self._trouble = ""
        log.info("following", source=self.context.name, path=self.address, offset=tail.offset)

    def _begin(self) -> Found:
        position = self._progress.settled
        if position is None:
            found = Found(Tail(self._path))
            if self.config.start == "end" and not self._was_missing:
                found.tail.skip_rest()
        else:
            found = resume(position, self._path, self._positions.saved_at_ns)
        self._tail = found.tail
        return found

    async def _rotate(self, old: Tail) -> bool:
        """Go on to the new file, once the old one has been quiet for long enough."""
        now_mono_s = read_clock().mono_s
        if not self._quiet_since_mono_s:
            self._quiet_since_mono_s = now_mono_s
        if now_mono_s - self._quiet_since_mono_s < self.config.rotate_wait:
            return False
        found = await self._on_disk(self._go_on, old)
        self._quiet_since_mono_s = 0.0
        self.context.book.note("files_rotated")
        self._note_skipped(found)
        self._end_of_file(found.tail)
        return True

    def _go_on(self, old: Tail) -> Found:
        found = old.successor(self._path)
        self._tail = found.tail
        old.close()
        return found

    def _close(self) -> None:
        if self._tail is not None:
            tail, self._tail = self._tail, None
            tail.close()

    def _note_skipped(self, found: Found) -> None:
        for path in found.skipped:
            self.context.book.note("files_skipped")
            log.warning(
                "file_skipped",
                source=self.context.name,
                path=str(path),
                hint="it was compressed before it was read to its end (logrotate: delaycompress)",
            )

    def _end_of_file(self, following: Tail) -> None:
        """Hand on what has no end and will have none; `following` is read from its beginning."""
        framer, self._framer = self._framer, self._new_framer()
        size_bytes = framer.waiting_bytes
        frames = framer.feed_eof()
        self._hand_on(framer, frames, size_bytes, following, 0)

    async def _feed(self, tail: Tail, data: bytes) -> None:
        framer = self._framer
        fed_bytes = framer.waiting_bytes + len(data)
        try:
            frames = framer.feed(data)
        except FramingError as error:
            frames = error.frames
            rest_bytes = await self._on_disk(tail.skip_rest)
            book = self.context.book
            book.note("discarded_bytes", error.discarded_bytes + rest_bytes)
            book.note("framing_errors", reason=error.reason)
            log.warning(
                "framing_error",
                source=self.context.name,
                peer=self.address,
                reason=error.reason,
                hint="what the file holds is skipped",
            )
            self._framer = self._new_framer()
        waiting_bytes = self._framer.waiting_bytes
        done: int | None = tail.offset - waiting_bytes
        if not waiting_bytes and not self._framer.between_frames:
            done = None  # in the middle of a frame that is cut off: there is no place to come back to
        self._hand_on(framer, frames, fed_bytes - waiting_bytes, tail, done)
        self._change_framing()

    def _hand_on(
        self, framer: Framer, frames: list[bytes], size_bytes: int, tail: Tail, done: int | None
    ) -> None:
        """Offer frames; once they are settled, everything before the offset `done` of `tail` is."""
        flagged = bool(framer.counts)
        book_counts(framer, self.context.book)
        position = self._reached if done is None else tail.position(self.address, done)
        self._reached = position
        if not frames:
            self._progress.passed(position)
            return
        batch = Frames(
            frames,
            self.address,
            read_clock().wall_s,
            ack=self._progress.waiting(position),
            flagged=flagged,
            size_bytes=size_bytes + FRAME_OVERHEAD_BYTES * len(frames),
        )
        if not self._outlet.offer(batch):
            self._room.clear()

    def _say(self, trouble: str) -> None:
        """Tell what keeps us waiting, once."""
        if trouble != self._trouble:
            self._trouble = trouble
            log.warning("file_waiting", source=self.context.name, path=self.address, error=trouble)

    def _save_now_and_then(self) -> None:
        self._timer = self._loop.call_later(SAVE_S, self._save_now_and_then)
        if self._progress.settled != self._saved and not self._saving.locked():
            self._saver = self._loop.create_task(self._save())

    async def _save(self) -> None:
        async with self._saving:
            position = self._progress.settled
            if position is None or position == self._saved:
                return
            try:
                await asyncio.to_thread(self._positions.save, position)
            except OSError as error:
                log.warning("position_not_saved", source=self.context.name, error=str(error))
            else:
                self._saved = position
