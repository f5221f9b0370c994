"""Runs tests, each on its own virtual clock and in a folder of its own, and compares their outcomes."""

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import uvloop

from streamd.closing_books import differences
from streamd.config import Loaded, load
from streamd.config.cases import Input
from streamd.core.errors import ConfigError, StreamdError
from streamd.core.plural import counted
from streamd.testing.clock import VirtualClock, shown_to_python
from streamd.testing.compare import Difference, compare
from streamd.testing.files import LocatedCase, content
from streamd.testing.outcome import CaseOutcome, book_outcome, letter_outcome, sink_outcome
from streamd.testing.rig import CaseFault, Rig

TIMEOUT_S = 60.0
"""Longest real time of one test."""
_MEMORY = "/dev/shm"  # noqa: S108 - folders below it have random names
SEED = 0
"""The seed of Python's `random` at the beginning of each test."""


@dataclass(slots=True)
class Result:
    """The result of one test. It has passed if it has neither differences nor a fault."""

    located: LocatedCase
    seconds: float = 0.0
    differences: list[Difference] = field(default_factory=list)
    fault: str = ""
    """Why the test could not run to its end."""
    outcome: CaseOutcome | None = None

    @property
    def passed(self) -> bool:
        """Whether the outcome is the expected one."""
        return not self.differences and not self.fault


def run(loaded: Loaded, cases: Iterable[LocatedCase]) -> Iterator[Result]:
    """Run the tests in order. A test that cannot run has a fault, and the next one runs.

    Raises `ConfigError` if a component refuses the configuration.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for located in cases:
            began_s = time.perf_counter()
            result = Result(located)
            try:
                with tempfile.TemporaryDirectory(prefix="streamd-test-", dir=_in_memory()) as folder:
                    result.outcome = runner.run(_outcome(loaded, located, Path(folder)))
            except ConfigError:
                raise
            except StreamdError as error:
                result.fault = str(error)
            except TimeoutError:
                result.fault = f"not done after {TIMEOUT_S:g} s of real time"
            else:
                result.differences = compare(located, result.outcome)
            result.seconds = time.perf_counter() - began_s
            yield result


async def _outcome(loaded: Loaded, located: LocatedCase, folder: Path) -> CaseOutcome:
    case = located.case
    clock = VirtualClock(_wall_s(case.start))
    rig = Rig(loaded, folder, clock, may_be_killed=any(one.restart == "kill" for one in case.inputs))
    before = random.getstate()
    random.seed(SEED)
    try:
        with shown_to_python(clock):
            async with asyncio.timeout(TIMEOUT_S):
                return await _played(rig, loaded, located)
    finally:
        random.setstate(before)
        with suppress(Exception):  # the first fault is the one to report
            await rig.abandon()


async def _played(rig: Rig, loaded: Loaded, located: LocatedCase) -> CaseOutcome:
    await rig.start()
    for number, one in enumerate(located.case.inputs):
        try:
            await _play(rig, one, located)
        except StreamdError as error:
            raise CaseFault(str(located.error(str(error), "inputs", number))) from None
    await rig.stop()
    outcome = CaseOutcome(faults=differences(rig.books))
    outcome.faults += [
        f"source {name}: {counted(count, 'byte')} at the end of the file"
        f" {'is' if count == 1 else 'are'} no whole frame"
        for name, count in rig.unfinished.items()
        if count
    ]
    outcome.sinks = {name: sink_outcome(output) for name, output in rig.outputs.items()}
    outcome.rejected = [letter_outcome(letter, loaded) for letter in rig.letters.letters]
    book_outcome(rig.books, outcome)
    return outcome


async def _play(rig: Rig, one: Input, located: LocatedCase) -> None:
    if one.at is not None:
        await rig.advance_to(_wall_s(one.at))
    if one.advance is not None:
        await rig.advance_to(round(rig.clock.wall_s + one.advance, 6))
    elif one.until is not None:
        await rig.drain()
    elif one.restart == "kill":
        await rig.kill()
    elif one.restart:
        await rig.restart()
    elif one.reload is not None:
        await rig.reload(load(located.file.absolute().parent / one.reload))
    elif one.source is not None and one.records is not None:
        await rig.enter(one.source, one.peer, one.records)
    elif one.source is not None and (one.text, one.hex, one.base64, one.file) != (None,) * 4:
        data = content(one, located.file)
        await rig.send(one.source, one.peer, data, is_text=one.text is not None)
    if one.close and one.source is not None:
        await rig.close(one.source, one.peer)


def _in_memory() -> str | None:
    """A folder in memory, where databases are opened five times faster; None if this host has none."""
    return _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else None


def _wall_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
