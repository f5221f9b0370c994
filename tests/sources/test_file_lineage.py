"""Lines that real programs write, rename, copy and truncate, while the source runs and while it does not.

Also about `files/lineage.py` and `files/take_over.py`.
"""

import asyncio
import contextlib
import gzip
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from streamd.components import framers
from streamd.core.ack import Status
from streamd.core.contracts import SourceContext
from streamd.core.counters import Counters
from streamd.core.frames import Frames
from streamd.files.tail import Look
from streamd.sources import file as file_module
from streamd.sources.file import File

WIDE = "x" * 80
IDLE_LOOKS = 3
"""The first of them may have begun before."""


class World:
    """A folder with a followed file; every frame is settled at once, so that what is read is done with."""

    def __init__(self, folder: Path, path: str = "app.log", **options: Any) -> None:
        self.folder = folder
        self.options = {"type": "file", "path": path, "rotate_wait": "5ms"} | options
        self.lines: list[str] = []
        self.counters = Counters()
        self.source: File | None = None
        self.name = "app"
        self.configured: frozenset[str] = frozenset()
        self.idle_looks = 0

    def offer(self, frames: Frames) -> bool:
        self.lines += [payload.decode() for payload in frames.payloads]
        assert frames.acks
        frames.settle(Status.DELIVERED)
        return True

    def refuse(self, n: int, reason: str) -> None:
        raise AssertionError(f"{n} frames refused: {reason}")

    def ended(self, peer: str) -> None: ...

    def on_resume(self, callback: Callable[[], None]) -> None:
        """Nothing stops it."""

    async def start(self) -> None:
        config = File.Config.model_validate(self.options)
        context = SourceContext(
            self.name,
            self.counters,
            framers(config.cut_by),
            self.folder,
            self.folder / "var",
            configured=self.configured,
        )
        self.source = File(config, context)
        look = self.source._look
        self.source._look = lambda tail: self.seen(look(tail))  # type: ignore[method-assign]
        await self.source.open(self)

    def seen(self, look: Look) -> Look:
        """Count the looks at a file that has no more, and that nothing has replaced."""
        has_more = look.data or look.nul_bytes or look.rewritten or look.rotated
        self.idle_looks = 0 if has_more else self.idle_looks + 1
        return look

    async def stop(self) -> None:
        assert self.source
        await self.source.stop()
        await self.source.stop()
        self.source = None

    async def reads(self, *lines: str) -> None:
        """Wait until these lines, and no others, have been read, all in this order."""
        try:
            async with asyncio.timeout(30):
                while len(self.lines) < len(lines):
                    await asyncio.sleep(0.001)
        except TimeoutError:
            pass
        await self.quiet()
        assert self.lines == list(lines)

    async def quiet(self) -> None:
        """Wait until the source stands at the end of the file at its path and has looked there again."""
        self.idle_looks = 0
        with contextlib.suppress(TimeoutError):  # without a file there is nothing to look at
            async with asyncio.timeout(1):
                while self.idle_looks < IDLE_LOOKS:
                    await asyncio.sleep(0.001)
        for _ in range(12):
            await asyncio.sleep(0.002)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.001)

    def write(self, *lines: str, name: str = "app.log", mode: str = "a") -> None:
        with (self.folder / name).open(mode) as file:
            file.writelines(f"{line}\n" for line in lines)

    def move(self, old: str, new: str) -> None:
        (self.folder / old).rename(self.folder / new)

    def rotate(self, *lines: str, keep: int = 9) -> None:
        """As logrotate with `create` does it."""
        (self.folder / f"app.log.{keep}").unlink(missing_ok=True)
        for number in range(keep - 1, 0, -1):
            if (self.folder / f"app.log.{number}").exists():
                self.move(f"app.log.{number}", f"app.log.{number + 1}")
        self.move("app.log", "app.log.1")
        self.write(*lines)

    def count(self, counter: str) -> int:
        return self.counters[counter, ""]

    @property
    def saved(self) -> Any:
        return json.loads((self.folder / "var" / "positions" / f"{self.name}.json").read_text())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "POLL_S", 0.001)
    monkeypatch.setattr(file_module, "SAVE_S", 0.005)


@pytest.fixture
def said() -> Iterator[list[Any]]:
    """The log, as it comes."""
    capture = LogCapture()
    before = structlog.get_config()["processors"]
    structlog.configure(processors=[capture])
    yield capture.entries
    structlog.configure(processors=before)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def of(entries: list[Any], event: str) -> list[Any]:
    return [entry for entry in entries if entry["event"] == event]


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize(
    "foreign", ["node-2", "node.2", "node-20260131", "node.20260131", "node2", "node.old"]
)
async def test_another_programs_file_is_never_read(tmp_path: Path, foreign: str, away: bool) -> None:
    world = World(tmp_path, "node")
    world.write("foreign before", name=foreign)
    world.write("a", name="node")
    await world.start()
    await world.reads("a")
    world.write("foreign", name=foreign)
    if away:
        await world.stop()
    world.move("node", "node.1")
    world.write("foreign again", name=foreign)
    world.write("b", name="node")
    world.write("foreign at last", name=foreign)
    if away:
        await world.start()
    await world.reads("a", "b")
    await world.stop()


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("banner", [1, 255, 300, 1100, 5000])
async def test_a_file_rewritten_longer_behind_the_same_banner_is_read_from_its_beginning(
    world: World, banner: int, away: bool, said: list[Any]
) -> None:
    head = "#" * banner
    old = [head, *(f"old {n}" for n in range(5))]
    new = [head, *(f"new {n} {WIDE}" for n in range(30))]
    world.write(*old)
    await world.start()
    await world.reads(*old)
    if away:
        await world.stop()
    world.write(*new, mode="w")
    if away:
        await world.start()
    await world.reads(*old, *new)
    assert world.count("files_truncated") + world.count("files_missed") == 1
    assert of(said, "file_missed" if away else "file_truncated")
    await world.stop()


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize(
    "name", ["app.log.20260131", "app.log-20260131", "app.log.2", "app.log.bak", "app.log.1"]
)
async def test_a_copy_made_before_a_rotation_is_not_read(world: World, name: str, away: bool) -> None:
    lines = [f"{n} {WIDE}" for n in range(9)]
    world.write("very old", name="app.log.3")
    world.write(*lines)
    await world.start()
    await world.reads(*lines)
    if away:
        await world.stop()
    shutil.copy(world.folder / "app.log", world.folder / name)
    os.utime(world.folder / "app.log.3")
    world.move("app.log", "app.log.1" if name != "app.log.1" else "app.log.2")
    world.write("new")
    if away:
        await world.start()
    await world.reads(*lines, "new")
    await world.stop()


@pytest.mark.parametrize("nul_bytes", [1, 70, 4096, 300_000])
@pytest.mark.parametrize("seen_short", [False, True])
async def test_the_hole_that_a_truncation_leaves_is_passed_over(
    world: World, nul_bytes: int, seen_short: bool, said: list[Any]
) -> None:
    world.write("old")
    await world.start()
    await world.reads("old")
    if seen_short:
        os.truncate(world.folder / "app.log", 0)
        await world.until(lambda: world.count("files_truncated"))
    with (world.folder / "new").open("wb") as file:
        file.truncate(nul_bytes)
    with (world.folder / "app.log").open("r+b") as file:
        file.truncate(0)
        file.seek(nul_bytes)
        file.write(b"first\nsecond\n")
    await world.reads("old", "first", "second")
    assert world.count("discarded_bytes") == nul_bytes
    assert world.count("files_truncated") == 1
    assert sum(entry["nul_bytes"] for entry in of(said, "file_hole")) == nul_bytes
    world.write("third")
    await world.reads("old", "first", "second", "third")
    await world.stop()
    assert world.saved["offset"] == nul_bytes + len("first\nsecond\nthird\n")


@pytest.mark.parametrize("framing", ["newline", "octet_counting", "auto"])
async def test_start_end_begins_with_a_whole_frame(tmp_path: Path, framing: str) -> None:
    world = World(tmp_path, start="end", framing=framing)
    path = tmp_path / "app.log"
    old, half, rest = {
        "newline": (b"one\ntwo\n", b"thr", b"ee\n"),
        "octet_counting": (b"3 one3 two", b"5 th", b"ree"),
        "auto": (b"two\n8 <1>three", b"14 <1>f", b"ourteen!!!"),
    }[framing]
    path.write_bytes(old + half)
    await world.start()
    await world.until((tmp_path / "var" / "positions" / "app.json").exists)
    assert world.saved["offset"] == len(old)
    with path.open("ab") as file:
        file.write(rest)
    expected = {"newline": "three", "octet_counting": "three", "auto": "<1>fourteen!!!"}[framing]
    await world.reads(expected)
    await world.stop()


async def test_start_end_reads_a_file_whole_that_comes_while_the_daemon_is_down(tmp_path: Path) -> None:
    world = World(tmp_path, start="end")
    await world.start()
    await world.until((tmp_path / "var" / "positions" / "app.json").exists)
    await world.stop()
    world.write("new")
    await world.start()
    await world.reads("new")
    await world.stop()


async def test_a_source_under_another_name_goes_on_and_says_so(world: World, said: list[Any]) -> None:
    world.write("a")
    await world.start()
    await world.reads("a")
    await world.stop()
    world.name, world.configured = "web", frozenset({"web"})
    world.write("b")
    await world.start()
    await world.reads("a", "b")
    await world.stop()
    world.name, world.configured = "app", frozenset({"app"})
    world.write("c")
    await world.start()
    await world.reads("a", "b", "c")
    await world.stop()
    assert [(entry["by"], entry["offset"]) for entry in of(said, "position_taken_over")] == [
        ("app", 2),
        ("web", 4),
    ]


async def test_the_position_of_a_source_that_is_still_configured_stays_its_own(world: World) -> None:
    world.write("a")
    await world.start()
    await world.reads("a")
    await world.stop()
    world.name, world.configured = "web", frozenset({"web", "app"})
    await world.start()
    await world.reads("a", "a")
    await world.stop()
    assert (world.folder / "var" / "positions" / "app.json").exists()


async def test_the_same_file_by_another_path_is_not_read_again(world: World, said: list[Any]) -> None:
    world.write("a")
    await world.start()
    await world.reads("a")
    await world.stop()
    (world.folder / "link.log").symlink_to(world.folder / "app.log")
    world.options["path"] = "link.log"
    world.write("b")
    await world.start()
    await world.reads("a", "b")
    await world.stop()
    assert [entry["was"] for entry in of(said, "position_taken_over")] == [str(world.folder / "app.log")]


async def test_the_position_of_another_path_is_kept_and_named(world: World, said: list[Any]) -> None:
    world.write("a")
    world.write("other", name="other.log")
    await world.start()
    await world.reads("a")
    await world.stop()
    world.options["path"] = "other.log"
    await world.start()
    await world.reads("a", "other")
    await world.stop()
    assert [entry["offset"] for entry in of(said, "position_not_used")] == [2]
    world.options["path"] = "app.log"
    world.write("b")
    await world.start()
    await world.reads("a", "other", "b")
    await world.stop()


def is_open(path: Path) -> bool:
    """Whether this process has the file open, deleted or not."""
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if str(link.readlink()).startswith(str(path)):
                return True
    return False


async def test_a_deleted_file_is_read_to_its_end_named_and_released(world: World, said: list[Any]) -> None:
    world.write("a")
    await world.start()
    await world.reads("a")
    with (world.folder / "app.log").open("a") as writer:
        (world.folder / "app.log").unlink()
        writer.write("late\nhalf")
        writer.flush()
        await world.until(lambda: of(said, "file_released"))
    assert world.lines == ["a", "late", "half"]
    assert len(of(said, "file_deleted")) == 1
    assert world.count("files_deleted") == 1
    await world.until(lambda: not is_open(world.folder / "app.log"))
    await world.until(lambda: world.saved["inode"] == 0)
    world.write("new")
    await world.reads("a", "late", "half", "new")
    assert world.count("files_missed") == 0
    await world.stop()


@pytest.mark.parametrize("away", [False, True])
async def test_what_was_written_before_a_truncation_is_read_from_the_copy(world: World, away: bool) -> None:
    lines = [f"{n} {WIDE}" for n in range(9)]
    world.write(*lines)
    await world.start()
    await world.reads(*lines)
    await world.stop()
    for generation in range(3):
        world.write(f"late {generation} {WIDE}")
        for number in (2, 1):
            if (world.folder / f"app.log.{number}").exists():
                world.move(f"app.log.{number}", f"app.log.{number + 1}")
        shutil.copy(world.folder / "app.log", world.folder / "app.log.1")
        os.truncate(world.folder / "app.log", 0)
        if not away:
            await world.start()
            await world.until(lambda wanted=10 + generation: len(world.lines) == wanted)  # type: ignore[misc]
            await world.stop()
    world.write("now")
    await world.start()
    await world.reads(*lines, *(f"late {n} {WIDE}" for n in range(3)), "now")
    await world.stop()


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("times", [1, 2, 4])
async def test_every_rotated_file_is_read_once_and_in_order(world: World, times: int, away: bool) -> None:
    world.write("0", "older", name="app.log.1")
    world.write("a")
    await world.start()
    await world.reads("a")
    if away:
        await world.stop()
    for n in range(times):
        world.write(f"rest {n}")
        world.rotate(f"new {n}")
    if away:
        await world.start()
    expected = ["a", "rest 0"]
    for n in range(times):
        expected += [f"new {n}"] if n == times - 1 else [f"new {n}", f"rest {n + 1}"]
    await world.reads(*expected)
    await world.stop()


async def test_dated_files_are_read_in_order(world: World) -> None:
    world.write("a")
    await world.start()
    await world.reads("a")
    await world.stop()
    for day in (29, 30, 31):
        world.write(f"day {day}")
        world.move("app.log", f"app.log-202601{day}")
    world.write("now")
    world.write("copy of a day", name="app.log.2026-02-01")
    await world.start()
    await world.reads("a", "day 29", "day 30", "day 31", "now")
    await world.stop()


async def test_a_file_that_was_read_and_compressed_is_not_said_to_be_skipped(world: World) -> None:
    lines = [f"{n} {WIDE}" for n in range(9)]
    world.write(*lines)
    await world.start()
    await world.reads(*lines)
    with gzip.open(world.folder / "app.log.1.gz", "wb") as packed:
        packed.write((world.folder / "app.log").read_bytes())
    (world.folder / "app.log").unlink()
    world.write("new")
    await world.reads(*lines, "new")
    assert world.count("files_skipped") == world.count("files_replaced") == 0
    await world.stop()


async def test_a_file_under_the_inode_of_one_that_was_compressed_is_read(
    world: World, said: list[Any]
) -> None:
    lines = [f"{n} {WIDE}" for n in range(9)]
    world.write(*lines)
    await world.start()
    await world.reads(*lines)
    await world.stop()
    with gzip.open(world.folder / "app.log.2.gz", "wb") as packed:
        packed.write((world.folder / "app.log").read_bytes())
    (world.folder / "app.log").unlink()
    world.write("between", name="app.log.1")  # most file systems give it the inode that was just freed
    world.write("now")
    await world.start()
    await world.reads(*lines, "between", "now")
    assert len(of(said, "file_missed")) == 1
    assert world.count("files_skipped") == 0
    await world.stop()


@pytest.mark.parametrize("away", [False, True])
async def test_a_file_that_an_editor_wrote_anew_is_not_read_again(
    world: World, away: bool, said: list[Any]
) -> None:
    lines = [f"{n} {WIDE}" for n in range(9)]
    world.write(*lines)
    await world.start()
    await world.reads(*lines)
    if away:
        await world.stop()
    world.write(*lines, "added", name="tmp")
    world.move("tmp", "app.log")
    if away:
        await world.start()
    await world.reads(*lines, "added")
    assert len(of(said, "file_replaced")) == world.count("files_replaced") == 1
    await world.stop()


@pytest.mark.parametrize("away", [False, True])
async def test_a_switched_folder_link_leads_to_the_new_file_behind_the_rest_of_the_old(
    tmp_path: Path, away: bool
) -> None:
    world = World(tmp_path, "current/app.log")
    for release in ("r1", "r2"):
        (tmp_path / release).mkdir()
        world.write("foreign", name=f"{release}/app.log.1")
    (tmp_path / "current").symlink_to("r1")
    world.write("a", name="r1/app.log")
    await world.start()
    await world.reads("a")
    if away:
        await world.stop()
    world.write("rest", name="r1/app.log")
    world.write("b", name="r2/app.log")
    (tmp_path / "next").symlink_to("r2")
    world.move("next", "current")
    if away:
        await world.start()
    await world.reads("a", "rest", "b")
    assert world.count("files_missed") == 0
    await world.stop()


async def test_a_position_of_the_first_format_is_honoured(world: World) -> None:
    world.write("a", "b")
    status = (world.folder / "app.log").stat()
    folder = world.folder / "var" / "positions"
    folder.mkdir(parents=True)
    old = {"path": str(world.folder / "app.log"), "inode": status.st_ino, "offset": 2, "head": b"a\n".hex()}
    (folder / "app.json").write_text(json.dumps(old))
    await world.start()
    await world.reads("b")
    await world.stop()
    assert world.saved["version"] == 2


async def test_files_that_came_while_the_daemon_was_down_are_only_those_of_the_same_rotation(
    world: World,
) -> None:
    world.write("a")
    await world.start()
    await world.reads("a")
    await world.stop()
    world.rotate("b")
    for name in ("app.log-2", "app.log.20260131", "app.log-20260131", "app-2.log", "app.log.01"):
        world.write("foreign", name=name)
    await world.start()
    await world.reads("a", "b")
    await world.stop()


async def test_older_files_are_not_read_again_though_the_one_read_last_is_gone(
    world: World, said: list[Any]
) -> None:
    for number in (3, 2, 1):
        world.write(f"old {number}", name=f"app.log.{number}")
    world.write("a")
    await world.start()
    await world.reads("a")
    await world.stop()
    world.rotate("b")
    world.rotate("c")
    (world.folder / "app.log.2").unlink()
    world.write("foreign", name="app.log-2")
    for number in (5, 4, 3):
        os.utime(world.folder / f"app.log.{number}")
    await world.start()
    await world.reads("a", "b", "c")
    assert [entry["offset"] for entry in of(said, "file_missed")] == [2]
    await world.stop()


class Disorder:
    """Writes lines that can be told apart, and does to the file what rotations and people do to files."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.chance = random.Random(seed)  # noqa: S311 - no secret
        self.written: list[str] = []
        self.renames = self.chance.random() < 0.5
        self._steps = [self.write, self.write, self.rotate, self.backup, self.foreign, self.touch]

    def step(self) -> None:
        self.chance.choice(self._steps)()

    def write(self) -> None:
        for _ in range(self.chance.randrange(1, 5)):
            self.written.append(f"{len(self.written)} {WIDE}")
            self.world.write(self.written[-1])

    def rotate(self) -> None:
        if self.renames:
            self.world.rotate()
            return
        folder = self.world.folder
        for number in range(8, 0, -1):
            if (folder / f"app.log.{number}").exists():
                self.world.move(f"app.log.{number}", f"app.log.{number + 1}")
        shutil.copy(folder / "app.log", folder / "app.log.1")
        os.truncate(folder / "app.log", 0)

    def backup(self) -> None:
        day = self.chance.randrange(10, 31)
        shutil.copy(self.world.folder / "app.log", self.world.folder / f"app.log.202601{day}")

    def foreign(self) -> None:
        names = ["app.log-2", "app.log-20260131", "app.log.lock", "app-3.log"]
        self.world.write("foreign", name=self.chance.choice(names))

    def touch(self) -> None:
        for path in self.world.folder.glob("app.log.*"):
            os.utime(path)


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_rotations_do_each_line_is_read_once_and_in_order(world: World, seed: int) -> None:
    disorder = Disorder(world, seed)
    chance, written = disorder.chance, disorder.written
    disorder.write()
    await world.start()
    await world.reads(*written)
    for _ in range(25):
        for _ in range(chance.randrange(1, 4)):
            disorder.step()
            if world.source and not disorder.renames and chance.random() < 0.5:
                await world.until(lambda: len(world.lines) == len(written))
        if world.source and chance.random() < 0.3:
            await world.stop()
        elif not world.source and chance.random() < 0.6:
            disorder.write()
            await world.start()
            await world.reads(*written)
    if not world.source:
        disorder.write()
        await world.start()
    await world.reads(*written)
    await world.stop()


REDACT = {"rules": [{"detect": ["email"], "action": "mask"}]}


async def test_the_position_of_a_source_that_redacts_holds_no_content(world: World) -> None:
    world.write(f"one {WIDE}", "two")
    await world.start()
    await world.reads(f"one {WIDE}", "two")
    await world.stop()
    assert bytes.fromhex(world.saved["head"]).startswith(b"one")
    world.options["redact"] = REDACT
    await world.start()  # the position from before the option is written anew, although nothing is read
    await world.until(lambda: isinstance(world.saved["head"], list))
    await world.stop()
    assert [world.saved[key][0] for key in ("head", "before")] == [89, 89]
    assert b"one".hex() not in json.dumps(world.saved)
    world.write("three")
    await world.start()
    await world.reads(f"one {WIDE}", "two", "three")
    await world.stop()


@pytest.mark.parametrize("how", ["renamed", "copied", "compressed", "rewritten"])
async def test_digests_recognise_a_file_as_its_content_does(world: World, how: str) -> None:
    world.options["redact"] = REDACT
    lines = [f"{n} {WIDE}" for n in range(30)]
    world.write(*lines)
    await world.start()
    await world.reads(*lines)
    await world.stop()
    app = world.folder / "app.log"
    match how:
        case "renamed":
            world.write("rest")
            world.rotate("new")
            expected = ["rest", "new"]
        case "copied":
            shutil.copy(app, world.folder / "app.log.1")
            world.write("rest", name="app.log.1")
            world.write("new", mode="w")
            expected = ["rest", "new"]
        case "compressed":
            (world.folder / "app.log.1.gz").write_bytes(gzip.compress(app.read_bytes()))
            app.unlink()
            world.write("new")
            expected = ["new"]
        case "rewritten":
            world.write(*lines[:20], f"other {WIDE}", *lines[21:], "new", mode="w")
            expected = [*lines[:20], f"other {WIDE}", *lines[21:], "new"]
    await world.start()
    await world.reads(*lines, *expected)
    await world.stop()
    assert world.count("files_skipped") == 0
