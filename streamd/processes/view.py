"""The view of all processes together, for the admin address and the control socket."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

from streamd.admin.view import ProcessGauge
from streamd.core.books import Books
from streamd.core.now import Now
from streamd.processes.child import LedProcess
from streamd.processes.snapshot import ProcessSnapshot, merged_books

SILENT_S = 5.0
"""A process that has reported nothing for this time is shown as a reason why data does not flow."""


class Together:
    """Adds up the newest reports of the living processes and the last ones of those that have ended."""

    def __init__(self, children: Mapping[int, LedProcess], clock: Callable[[], Now]) -> None:
        self._children = children
        self._clock = clock
        self._past = ProcessSnapshot()
        self.ended: dict[int, int] = {}
        """How often each process has ended."""
        self.hung: dict[int, int] = {}
        """How often each process was killed because it reported nothing."""

    @property
    def living(self) -> list[ProcessSnapshot]:
        """The newest report of each process, by its number."""
        return [self._children[number].snapshot for number in sorted(self._children)]

    def bury(self, child: LedProcess) -> None:
        """Keep the numbers of a process that has ended."""
        number = child.assignment.number
        self.ended[number] = self.ended.get(number, 0) + 1
        self._past.books = merged_books([self._past.books, child.snapshot.books])
        self._past.dead_letters += child.snapshot.dead_letters
        self._past.loop_cpu_s += child.snapshot.loop_cpu_s

    def books(self) -> Books:
        """The sums over all processes of this run."""
        return merged_books([self._past.books, *(one.books for one in self.living)])

    def dead_letters(self) -> dict[str, int]:
        """The numbers of dead letters by fate."""
        total = sum((one.dead_letters for one in self.living), self._past.dead_letters.copy())
        return dict(total)

    def loop_cpu_s(self) -> float:
        """CPU time of the event loops of all processes."""
        return self._past.loop_cpu_s + sum(one.loop_cpu_s for one in self.living)

    def take_least_waits_s(self) -> dict[str, float]:
        """The least wait in each source's buffer in any process since the last call."""
        least: dict[str, float] = {}
        for one in self.living:
            for name, wait_s in one.least_waits_s.items():
                least[name] = min(wait_s, least.get(name, wait_s))
            one.least_waits_s = {}
        return least

    def ledger_trouble(self) -> str | None:
        """The first error of a process that cannot write the ledger."""
        return next((one.ledger_trouble for one in self.living if one.ledger_trouble), None)

    def troubles(self) -> Iterator[str]:
        """The reasons why the processes do not do their work."""
        now = self._clock()
        for number, child in sorted(self._children.items()):
            silent_s = now.mono_s - child.heard_mono_s
            if child.pid is None or child.snapshot.phase == "starting":
                yield f"process {number} is not ready"
            elif silent_s > SILENT_S:
                yield f"process {number} (pid {child.pid}) has reported nothing for {silent_s:.0f} s"
            for line in child.snapshot.stalled:
                yield f"process {number}: {line}"

    def lost_files(self) -> list[str]:
        """One sentence for each database file that was removed or replaced, from whichever process saw it."""
        return list(dict.fromkeys(chain.from_iterable(one.lost_files for one in self.living)))

    def processes(self) -> Iterable[ProcessGauge]:
        """Each process, by its number."""
        for number, child in sorted(self._children.items()):
            phase = child.snapshot.phase
            yield ProcessGauge(
                number,
                child.pid,
                child.assignment.run_id,
                "waiting" if child.pid is None else phase,
                child.started.wall_s,
                self.ended.get(number, 0),
                self.hung.get(number, 0),
            )

    def holds(self) -> list[tuple[str, str]]:
        """The places that the processes hold."""
        return list(dict.fromkeys(chain.from_iterable(one.holds for one in self.living)))
