"""The view of all processes: sums that never fall, and what is wrong with each process."""

from streamd.core.now import Now
from streamd.processes.child import LedProcess
from streamd.processes.link import Assignment
from streamd.processes.snapshot import ProcessSnapshot
from streamd.processes.view import SILENT_S, Together
from tests.processes.test_snapshot import books


def child(number: int, snapshot: ProcessSnapshot) -> LedProcess:
    """A process that has reported, but never ran."""
    made = LedProcess(Assignment(number, 2, f"abc-{number}"))
    made.snapshot = snapshot
    return made


def test_the_numbers_of_a_process_stay_after_its_end() -> None:
    children = {
        0: child(0, ProcessSnapshot(books=books(10), loop_cpu_s=1.0)),
        1: child(1, ProcessSnapshot(books=books(5))),
    }
    children[0].snapshot.dead_letters["kept"] = 2
    together = Together(children, lambda: Now(0.0, 0.0))
    before = together.books().source("floor").received, together.dead_letters(), together.loop_cpu_s()
    together.bury(children.pop(0))
    assert before == (15, {"kept": 2}, 1.0)
    assert (
        together.books().source("floor").received,
        together.dead_letters(),
        together.loop_cpu_s(),
    ) == before
    assert together.ended == {0: 1}


def test_each_least_wait_is_taken_once() -> None:
    one, other = (
        ProcessSnapshot(least_waits_s={"a": 0.3, "b": 0.1}),
        ProcessSnapshot(least_waits_s={"a": 0.2}),
    )
    together = Together({0: child(0, one), 1: child(1, other)}, lambda: Now(0.0, 0.0))
    assert together.take_least_waits_s() == {"a": 0.2, "b": 0.1}
    assert together.take_least_waits_s() == {}


def test_a_silent_process_and_its_troubles_are_reasons() -> None:
    first = child(
        0, ProcessSnapshot(phase="running", stalled=["sink rows: a commit has been under way for 40 s"])
    )
    second = child(1, ProcessSnapshot(phase="running"))
    third = child(2, ProcessSnapshot(phase="starting"))
    for one in (first, second, third):
        one.heard_mono_s = 100.0
        one.pid = 7
    clock = [Now(0.0, 100.0 + SILENT_S)]
    together = Together({0: first, 1: second, 2: third}, lambda: clock[0])
    assert list(together.troubles()) == [
        "process 0: sink rows: a commit has been under way for 40 s",
        "process 2 is not ready",
    ]
    clock[0] = Now(0.0, 100.1 + SILENT_S)
    assert "process 1 (pid 7) has reported nothing for 5 s" in list(together.troubles())


def test_each_process_is_listed_with_its_run() -> None:
    first = child(0, ProcessSnapshot(phase="running"))
    together = Together({0: first}, lambda: Now(0.0, 0.0))
    (gauge,) = together.processes()
    assert (gauge.number, gauge.run_id, gauge.pid, gauge.ended) == (0, "abc-0", None, 0)
    assert gauge.state == "waiting", "it has no process"
