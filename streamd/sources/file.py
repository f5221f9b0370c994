"""Follows a file that other programs append to."""

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, ParamSpec, TypeVar

from pydantic import Field, model_validator

from streamd.core.clock import read_clock
from streamd.core.contracts import Numbering, Outlet, Source, SourceContext
from streamd.core.errors import ConfigError
from streamd.core.framer_counts import CUTTING
from streamd.core.multiline_settings import JOINING
from streamd.core.settings import DurationS
from streamd.core.stream_settings import StreamSettings
from streamd.files.events import FileEvents
from streamd.files.first_place import first_frame, go_to_end
from streamd.files.frames import FileFrames
from streamd.files.lineage import Found, Lineage
from streamd.files.position import Position, PositionFile, ReadingProgress
from streamd.files.position_saver import PositionSaver
from streamd.files.tail import Look, Tail, rehearse
from streamd.files.take_over import take_over

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

POLL_S = 0.2
"""Seconds between two checks at the end of the file. A check costs six system calls and a thread switch."""
SAVE_S = 1.0
"""Seconds between two saves of a position that moves."""


class File(Source["File.Config"]):
    """Follows a file as it grows, through rotation and restarts. More in docs/how-to/files.md.

    **At least once: the remembered position never passes what is committed; exactly once with `unique`.** A
    frame counts as committed when its records are stored, filtered out, dead letters, or counted as lost. The
    position behind the last such frame is saved in `positions/<source>.json` under `state_dir`, about once a
    second. After a crash the lines behind it are read again. A full buffer stops the reading. A last line
    without a line end is held back until it has one, also over restarts. If its file is rotated away, the
    line is delivered with the flag `unterminated`.

    A file is recognised by its inode, its beginning and the bytes before the position. A renamed file is read
    to its end first, then the files that followed it, in the order of their names (`app.log.1`,
    `app.log-20260131`, `app-20260131.log`), then the file at `path`. Compressed files are not read: each is
    counted (`files_skipped`) and named in a warning. After copying and truncating, unread lines are read from
    the copy, if it is in the same folder and not compressed.

    A slow disk delays this source only. Reading 64 KiB takes about 80 µs of CPU.
    """

    # The file is read in a thread of the source's own, 64 KiB at a time.

    address: str

    counters: ClassVar[Mapping[str, str]] = {
        **CUTTING,
        **JOINING,
        "files_rotated": "files that were renamed or replaced, read to their end, and followed by the next",
        "files_replaced": "how many of these were not renamed by a rotation: deleted, replaced by an editor,"
        " or a link that leads elsewhere (event `file_replaced`)",
        "files_truncated": "times the file was truncated or rewritten (event `file_truncated`)",
        "files_deleted": "deleted files that were read to their end and closed",
        "files_missed": "starts at which the file read last was gone: its remaining lines are not read",
        "files_skipped": "rotated files that were compressed before they were read to their end; the event "
        "`file_skipped` names each, and `file_missed` the offset from which on the file read "
        "last is lost",
        "already_in_state": "frames read again after a crash and skipped, because the stored state of steps "
        "already includes them",
    }

    class Config(StreamSettings):
        """A file that grows."""

        @model_validator(mode="before")
        @classmethod
        def _is_not_compressed(cls, options: Any) -> Any:
            if isinstance(options, dict) and "decompress" in options:
                raise ValueError(
                    "decompress: a compressed file cannot be followed, because reading cannot go on in its "
                    "middle after a restart. Let its program write plain lines, or send what is in it: "
                    "zcat FILE | streamd send tcp://HOST:PORT"
                )
            return options

        path: str = Field(pattern=r"^[^\x00]+$", description="the file, relative to the configuration file")
        start: Literal["beginning", "end"] = Field(
            "beginning",
            description="where the very first start begins in an existing file: beginning (at its first"
            " frame) or end (with the first frame that is not finished yet). Later starts "
            "continue at the remembered position",
        )
        rotate_wait: DurationS = Field(  # type: ignore[assignment]  # parsed by the validator
            "1s",
            description="how long a rotated or deleted file must be quiet before it is closed and the "
            "next one is read; its writer may still write to it",
        )
        oversize: Literal["truncate", "drop"] = Field(
            "truncate",
            description="what happens to a longer frame: truncate (keep max_frame bytes, with a flag) "
            "or drop (and count it)",
        )

    def __init__(self, config: Config, context: SourceContext) -> None:
        super().__init__(config, context)
        if context.new_framer is None:
            raise ConfigError("a file needs a framing")
        self._new_framer = context.new_framer
        self.address = os.path.abspath(context.base_dir / config.path)  # noqa: PTH100 - keeps links as written
        self._nothing = Position(self.address, 0, 0, b"")
        """The position while there is no file at the path."""
        self._events = FileEvents(context.name, self.address, context.counters)
        self._lineage = Lineage(Path(self.address), nul_is_data=self._new_framer().nul_is_data)
        """Used in the disk thread only."""
        self._positions = PositionFile(context.state_dir / "positions" / f"{context.name}.json")
        self._saved_at_ns = 0
        self._progress = ReadingProgress()
        self._frames = FileFrames(
            self.address,
            context.counters,
            self._new_framer,
            self._progress,
            needs_first=context.needs_first,
        )
        self._saver = PositionSaver(self._positions, self._position_to_save, self._events.not_saved)
        self._room = asyncio.Event()
        self._disk = ThreadPoolExecutor(1, f"file-{context.name}")
        self._tail: Tail | None = None
        """Opened, replaced and closed in the disk thread only, which a slow disk may block for long."""
        self._show_first = context.needs_first
        """Whether the codec still needs the file's first frame although reading resumes at a later offset."""
        self._deleted = False
        self._quiet_since_mono_s = 0.0
        """Since when a file that is no longer at its path has been read to its end; 0: it has not."""
        self._task: asyncio.Task[None] | None = None

    async def open(self, outlet: Outlet) -> None:
        """Begin to follow; the file need not exist yet. Raises `EnvironmentFault`."""
        self.numbering()
        outlet.on_resume(self._room.set)
        self._room.set()
        self._frames.open(outlet, self._room.clear)
        self._task = asyncio.create_task(self._follow())
        self._saver.begin(SAVE_S)

    def numbering(self) -> Numbering:
        """The numbers of the file's frames. The first call loads the remembered position."""
        if not self._progress.name:
            remembered = take_over(
                self._positions, self.address, self.context.configured, self._lineage.leads_to_file_of
            )
            self._events.remembered(remembered)
            self._saver.saved = remembered.position
            self._progress.begin(remembered.position)
            self._saved_at_ns = remembered.saved_at_ns
        return self._progress

    def rehearse(self) -> None:
        """Check the remembered position, and the file if it exists. Raises `EnvironmentFault`.

        An unreadable file is refused here. `open` waits for it instead, because its permissions may change.
        """
        self._positions.load()
        rehearse(self.context.name, Path(self.address))
        self._positions.rehearse()

    def can_become(self, config: Config) -> bool:
        """True if the path is the same: the source keeps its place in the file."""
        return bool(config.path == self.config.path)

    def become(self, config: Config, context: SourceContext) -> None:
        """Take over new settings. A new framing begins at the next end of a frame."""
        if context.new_framer is None:
            raise ConfigError("a file needs a framing")
        super().become(config, context)
        self._new_framer = context.new_framer
        self._frames.become(self._new_framer, needs_first=context.needs_first)
        self._show_first = context.needs_first

    async def stop(self) -> None:
        """Stop reading and save the position. A second call saves the frames settled since the first."""
        self._progress.stopping = True
        self._saver.end()
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self._disk.submit(self._close)  # not awaited: the disk may not answer
            self._disk.shutdown(wait=False)
        await self._saver.save()

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
                    # Without this save, a crash followed by a rotation would leave this file unread.
                    await self._saver.save()
                if self._tail is not None:
                    if self._show_first:
                        await self._show_first_frame(self._tail)
                    more = await self._read(self._tail)
            except OSError as error:
                self._events.waiting(error)
            await asyncio.sleep(0 if more else POLL_S)

    async def _show_first_frame(self, tail: Tail) -> None:
        """If reading resumes in the middle of the file, hand on its first frame again."""
        if tail.offset:
            frame = await self._on_disk(first_frame, tail, self._new_framer)
            if frame is not None:
                self._frames.show_first(frame)
        self._show_first = False

    async def _read(self, tail: Tail) -> bool:
        """Read one piece of the file. True if more may be readable at once."""
        look = await self._on_disk(self._look, tail)
        if look.rewritten:
            await self._begin_again(tail)
            return True
        if look.nul_bytes:
            self._events.hole(look.nul_bytes)
        if look.data or look.nul_bytes:
            self._quiet_since_mono_s = 0.0
            error = self._frames.feed(tail, look.data)
            if error is not None:
                rest_bytes = await self._on_disk(tail.skip_rest)
                self._events.broken_framing(error.reason, error.discarded_bytes + rest_bytes)
                self._frames.feed(tail, b"", error)
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
            self._events.waiting(OSError(errno.ENOENT, os.strerror(errno.ENOENT)))
        return False

    def _look(self, tail: Tail) -> Look:
        look = tail.look(self._lineage.path)
        if not look.data and not look.rewritten:
            self._lineage.watch(tail)
        return look

    async def _first_file(self) -> None:
        """Open the first file to read. Raises `OSError` if there is none yet."""
        position = self._progress.settled
        try:
            found = await self._on_disk(self._begin)
        except FileNotFoundError:
            if position is None:  # saved, so that a later file is read from its beginning
                self._progress.passed(self._nothing)
                await self._saver.save()
            raise
        if position is not None:
            self._events.next_file(found, position)
        self._stop_skipping_after_gap(found)
        tail = found.tail
        self._frames.begin_at(tail.position(self.address, tail.offset))
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
        """The file was truncated or rewritten: continue in its copy, or at its beginning."""
        offset = tail.offset
        found = await self._on_disk(self._go_on_after_truncation, tail)
        self._events.truncated(found, offset)
        if not found.continues:
            self._progress.stop_skipping()
            self._frames.end(found.tail.position(self.address, 0))

    def _go_on_after_truncation(self, tail: Tail) -> Found:
        found = self._lineage.after_truncation(tail)
        if found.tail is not tail:
            self._tail = found.tail
            tail.close()
        return found

    async def _change_to(self, found: Found, old: Tail) -> None:
        self._quiet_since_mono_s = 0.0
        self._deleted = False
        self.context.counters.add("files_rotated")
        self._events.next_file(found, old.position(self.address, old.offset))
        self._stop_skipping_after_gap(found)
        self._events.following(found.tail)
        if not found.continues:
            self._frames.end(found.tail.position(self.address, 0))

    def _go_on(self, old: Tail) -> Found:
        found = self._lineage.after(old)
        self._tail = found.tail
        old.close()
        self._lineage.watch(found.tail)
        return found

    def _stop_skipping_after_gap(self, found: Found) -> None:
        if found.missed or found.replaced or found.skipped:
            self._progress.stop_skipping()

    async def _release(self, tail: Tail) -> None:
        """Close a file that was deleted; the next one at the path is read from its beginning."""
        self._events.released(tail.offset)
        self._frames.end(self._nothing)
        await self._on_disk(self._close)
        self._quiet_since_mono_s = 0.0
        self._deleted = False

    def _close(self) -> None:
        if self._tail is not None:
            tail, self._tail = self._tail, None
            tail.close()

    def _position_to_save(self) -> Position | None:
        """The position up to which all frames are settled, with the files found beside the followed one."""
        position, tail, saved = self._progress.savable, self._tail, self._saver.saved
        if position is None:
            return None
        if self.config.redact.rules:
            position = position.without_content()
        if tail is None or tail.inode == position.inode:
            return replace(position, around=self._lineage.around)
        return replace(position, around=saved.around if saved is not None else None)
