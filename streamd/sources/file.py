"""A file that others write, followed as it grows."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

from pydantic import Field

from streamd.core.clock import read_clock
from streamd.core.contracts import Framer, Outlet, Source, SourceContext
from streamd.core.errors import ConfigError, EnvironmentFault, FramingError
from streamd.core.frames import FRAME_OVERHEAD_BYTES, Frames
from streamd.core.settings import DurationS, StreamSettings
from streamd.sources._cutting import book_counts
from streamd.sources._file_events import FileEvents
from streamd.sources._first_place import go_to_end
from streamd.sources._lineage import Found, Lineage
from streamd.sources._position import Position, PositionFile, Progress
from streamd.sources._tail import Look, Tail
from streamd.sources._take_over import take_over

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

POLL_S = 0.2
"""How long the end of a file is left alone; looking costs six system calls and a change of threads."""
SAVE_S = 1.0
"""How often the position is saved while it moves."""


class File(Source):
    """A file, followed as it grows, through rotation and restarts. More in docs/files.md.

    **At least once: the remembered position never passes what is committed; exactly once with `unique`.**
    Up to where everything is committed (or filtered out, a dead letter, or a counted loss) is remembered in
    `positions/<source>.json` under `state_dir`, about once a second. After a crash what came behind that is
    read again. A full buffer stops the reading. A last line without its end waits until it has one, over
    restarts too; only when its file was rotated away is it delivered as it is and flagged `unterminated`.

    A file is known by its inode, its beginning and what stands before the position. One that was renamed is
    read to its end first, and so are those that came between it and the one at `path`: their names say so
    (`app.log.1`, `app.log-20260131`, `app-20260131.log`). Those that are compressed already are not read:
    each is counted (`files_skipped`) and named in a warning. After copying and truncating, what was not read
    yet is read from the copy, if it is there and not compressed.

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
            description="where to begin in a file that is there at the very first start: at its first frame,"
            " or with the first one that is not finished yet; later its position is remembered",
        )
        rotate_wait: DurationS = Field(  # type: ignore[assignment]  # parsed by the validator
            "1s",
            description="how long a file that was rotated away or deleted must be quiet before it is closed"
            " and the new one is read: its writer may not have noticed yet",
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
        self._nothing = Position(self.address, 0, 0, b"")
        """The position while nothing is at the path."""
        self._events = FileEvents(context.name, self.address, context.book)
        self._lineage = Lineage(Path(self.address), nul_is_data=self._framer.nul_is_data)
        """Asked in the thread only."""
        self._positions = PositionFile(context.state_dir / "positions" / f"{context.name}.json")
        self._saved_at_ns = 0
        self._progress = Progress(None)
        self._saved = self._progress.settled
        self._saving = asyncio.Lock()
        self._room = asyncio.Event()
        self._disk = ThreadPoolExecutor(1, f"file-{context.name}")
        self._tail: Tail | None = None
        """Opened, changed for the next and closed in the thread only, which may be held up for long."""
        self._deleted = False
        self._quiet_since_mono_s = 0.0
        """When the end of a file that is at its path no more was reached; 0: it was not."""
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def open(self, outlet: Outlet) -> None:
        """Begin to follow, whether the file is there or not. Raises `EnvironmentFault`."""
        self._outlet = outlet
        remembered = take_over(
            self._positions, self.address, self.context.configured, self._lineage.leads_to_file_of
        )
        self._events.remembered(remembered)
        self._progress.settled = self._saved = remembered.position
        self._saved_at_ns = remembered.saved_at_ns
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
            Tail(Path(self.address)).close()
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
                self._events.waiting(error.strerror or str(error))
            await asyncio.sleep(0 if more else POLL_S)

    async def _read(self, tail: Tail) -> bool:
        """One piece of the file; whether there may be another at once."""
        look = await self._on_disk(self._look, tail)
        if look.rewritten:
            await self._begin_again(tail)
            return True
        if look.nul_bytes:
            self._events.hole(look.nul_bytes)
        if look.data or look.nul_bytes:
            self._quiet_since_mono_s = 0.0
            await self._feed(tail, look.data)
            return True
        if look.deleted and not self._deleted:
            self._deleted = True
            self._events.deleted(tail.offset)
        if not (look.rotated or look.missing):
            self._quiet_since_mono_s = 0.0
            return False
        now_mono_s = read_clock().mono_s
        self._quiet_since_mono_s = self._quiet_since_mono_s or now_mono_s
        if now_mono_s - self._quiet_since_mono_s < self.config.rotate_wait:
            return False
        if look.rotated:
            await self._change_to(await self._on_disk(self._go_on, tail), tail)
            return True
        if look.deleted:
            await self._release(tail)
        else:
            self._events.waiting(os.strerror(2))
        return False

    def _look(self, tail: Tail) -> Look:
        look = tail.look(self._lineage.path)
        if not look.data and not look.rewritten:
            self._lineage.watch(tail)
        return look

    async def _first_file(self) -> None:
        """Begin with the file to begin with. Raises `OSError` where there is none yet."""
        position = self._progress.settled
        try:
            found = await self._on_disk(self._begin)
        except FileNotFoundError:
            if position is None:  # the next start must know that it was not there
                self._progress.passed(self._nothing)
                await self._save()
            raise
        if position is not None:
            self._events.next_file(found, position)
        tail = found.tail
        self._reached = tail.position(self.address, tail.offset)
        self._progress.passed(self._reached)
        self._events.following(tail)

    def _begin(self) -> Found:
        position = self._progress.settled
        if position is None:
            found = Found(self._lineage.open())
            if self.config.start == "end":
                go_to_end(found.tail, self._new_framer)
        else:
            found = self._lineage.resume(position, self._saved_at_ns)
        self._tail = found.tail
        self._lineage.watch(found.tail)
        return found

    async def _begin_again(self, tail: Tail) -> None:
        """The file was truncated or written anew."""
        offset = tail.offset
        found = await self._on_disk(self._go_on_after_truncation, tail)
        self._events.truncated(found, offset)
        if not found.continues:
            self._end_of_file(found.tail)

    def _go_on_after_truncation(self, tail: Tail) -> Found:
        found = self._lineage.after_truncation(tail)
        if found.tail is not tail:
            self._tail = found.tail
            tail.close()
        return found

    async def _change_to(self, found: Found, old: Tail) -> None:
        self._quiet_since_mono_s = 0.0
        self._deleted = False
        self.context.book.note("files_rotated")
        self._events.next_file(found, old.position(self.address, old.offset))
        self._events.following(found.tail)
        if not found.continues:
            self._end_of_file(found.tail)

    def _go_on(self, old: Tail) -> Found:
        found = self._lineage.after(old)
        self._tail = found.tail
        old.close()
        self._lineage.watch(found.tail)
        return found

    async def _release(self, tail: Tail) -> None:
        """Close a file that was deleted; the next one at the path is read from its beginning."""
        self._events.released(tail.offset)
        self._end_of_file(None)
        await self._on_disk(self._close)
        self._quiet_since_mono_s = 0.0
        self._deleted = False

    def _close(self) -> None:
        if self._tail is not None:
            tail, self._tail = self._tail, None
            tail.close()

    def _end_of_file(self, following: Tail | None) -> None:
        """Hand on what has no end and will have none; `following` is read from its beginning."""
        framer, self._framer = self._framer, self._new_framer()
        size_bytes = framer.waiting_bytes
        frames = framer.feed_eof()
        nothing = Position(self.address, 0, 0, b"")
        self._hand_on(
            framer, frames, size_bytes, following.position(self.address, 0) if following else nothing
        )

    async def _feed(self, tail: Tail, data: bytes) -> None:
        framer = self._framer
        fed_bytes = framer.waiting_bytes + len(data)
        try:
            frames = framer.feed(data)
        except FramingError as error:
            frames = error.frames
            rest_bytes = await self._on_disk(tail.skip_rest)
            self._events.broken_framing(error.reason, error.discarded_bytes + rest_bytes)
            self._framer = self._new_framer()
        waiting_bytes = self._framer.waiting_bytes
        position = self._reached
        if (
            waiting_bytes or self._framer.between_frames
        ):  # else in a frame that is cut off: no place to come back
            position = tail.position(self.address, tail.offset - waiting_bytes)
        self._hand_on(framer, frames, fed_bytes - waiting_bytes, position)
        self._change_framing()

    def _hand_on(self, framer: Framer, frames: list[bytes], size_bytes: int, position: Position) -> None:
        """Offer frames; once they are settled, everything before `position` is."""
        flagged = bool(framer.counts)
        book_counts(framer, self.context.book)
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

    def _to_save(self) -> Position | None:
        """What is settled, with what stands beside the file."""
        position, tail, saved = self._progress.settled, self._tail, self._saved
        if position is None:
            return None
        if tail is None or tail.inode == position.inode:
            return replace(position, around=self._lineage.around)
        return replace(position, around=saved.around if saved is not None else None)

    def _save_now_and_then(self) -> None:
        self._timer = self._loop.call_later(SAVE_S, self._save_now_and_then)
        if self._to_save() != self._saved and not self._saving.locked():
            self._saver = self._loop.create_task(self._save())

    async def _save(self) -> None:
        async with self._saving:
            position = self._to_save()
            if position is None or position == self._saved:
                return
            try:
                await asyncio.to_thread(self._positions.save, position)
            except OSError as error:
                self._events.not_saved(error)
            else:
                self._saved = position
