"""What the watchdog sees of several processes, and their end. tests/e2e/test_processes.py runs them."""

import asyncio
from pathlib import Path

import pytest

from streamd.config import load
from streamd.processes.child import LedProcess
from streamd.processes.link import Assignment
from streamd.processes.snapshot import ProcessSnapshot
from streamd.processes.supervisor import Supervisor
from streamd.service.progress import Progress
from tests.processes.test_share import CONFIG

PATIENCE_S = 5.0


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    path = tmp_path / "streamd.toml"
    path.write_text(CONFIG.replace("processes = 4", "processes = 2"))
    made = Supervisor(load(path))
    for number in range(2):
        led = LedProcess(Assignment(number, 2, f"abc-{number}"))
        led.snapshot = ProcessSnapshot(phase="running")
        led.heard_mono_s = 100.0
        made.children[number] = led
    return made


def stalled(supervisor: Supervisor, progress: Progress, mono_s: float) -> list[str]:
    return progress.observe(supervisor.parts(PATIENCE_S), mono_s)


def test_processes_that_report_are_no_reason_to_restart(supervisor: Supervisor) -> None:
    progress = Progress(longest_gap_s=10.0)
    for second in range(10):
        for led in supervisor.children.values():
            led.heard_mono_s = 100.0 + second
        assert stalled(supervisor, progress, 100.0 + second) == []


def test_a_process_that_reports_nothing_stops_the_watchdog(supervisor: Supervisor) -> None:
    progress = Progress(longest_gap_s=10.0)
    found: list[str] = []
    for second in range(8):
        supervisor.children[0].heard_mono_s = 100.0 + second
        found = stalled(supervisor, progress, 100.0 + second)
    assert found == ["process 1: it has reported nothing for 7 s"]


def test_so_does_one_that_is_not_there(supervisor: Supervisor) -> None:
    progress = Progress(longest_gap_s=10.0)
    del supervisor.children[1]
    found: list[str] = []
    for second in range(8):
        supervisor.children[0].heard_mono_s = 100.0 + second
        found = stalled(supervisor, progress, 100.0 + second)
    assert found == ["process 1: it has reported nothing for 7 s"]


def test_a_part_that_has_stalled_in_a_process_needs_no_more_patience(supervisor: Supervisor) -> None:
    progress = Progress(longest_gap_s=10.0)
    snapshot = supervisor.children[1].snapshot
    snapshot.stalled = ["sink rows: a commit has been under way for 31 s"]
    assert stalled(supervisor, progress, 100.0) == []
    snapshot.stalled = ["sink rows: a commit has been under way for 32 s"]
    assert stalled(supervisor, progress, 101.0) == [
        "process 1, sink rows: a commit has been under way: no progress for 1 s"
    ]
    snapshot.stalled = []
    assert stalled(supervisor, progress, 102.0) == []


def test_a_lost_file_is_no_stall(supervisor: Supervisor) -> None:
    """A restart would not bring it back, and the process repairs it."""
    progress = Progress(longest_gap_s=10.0)
    supervisor.children[1].snapshot.lost_files = ["a.db was removed while in use"]
    assert stalled(supervisor, progress, 100.0) == stalled(supervisor, progress, 101.0) == []
    assert list(supervisor.view.lost_files()) == ["a.db was removed while in use"]


async def test_a_process_that_was_being_started_when_the_stop_came_is_stopped(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[bool] = []

    class Ended(LedProcess):
        async def ended(self) -> int:
            self.reported_last = True
            return 0 if stopped else -9

        def stop(self, *, is_last: bool) -> None:
            stopped.append(is_last)

    async def started(number: int) -> LedProcess:
        supervisor._stop.set()  # the drain has told all that it knows
        supervisor.children[number] = Ended(Assignment(number, 2, "abc-1.1"))
        return supervisor.children[number]

    monkeypatch.setattr(supervisor, "_started", started)
    supervisor.children[1] = Ended(Assignment(1, 2, "abc-1"))
    supervisor.view.phase = "running"
    async with asyncio.timeout(60):
        await supervisor._tend(supervisor.children[1])
    assert stopped == [True]
    assert list(supervisor.children) == [0]
