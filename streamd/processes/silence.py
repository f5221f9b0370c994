"""Which processes have reported nothing for too long."""

from collections.abc import Mapping

LOOK_S = 1.0
"""Time between two observations."""
HUNG_S = 30.0
"""A process that has reported nothing for this time is killed and replaced, as systemd's watchdog does it."""


class Silence:
    """Adds up how long each process has reported nothing.

    Between two observations at most twice `LOOK_S` counts. In a longer gap the observer itself stood still,
    and the reports may wait for it.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._seen_mono_s: float | None = None
        self._silent: dict[
            int, tuple[float, float]
        ] = {}  # number → (time of its last report, silent seconds)

    def over(self, heard_mono_s: Mapping[int, float], mono_s: float) -> list[int]:
        """The processes that were silent for `limit_s`, each named once; its time then begins anew.

        `heard_mono_s` has the time of the last report of each process to be observed.
        """
        gap_s = 0.0 if self._seen_mono_s is None else min(mono_s - self._seen_mono_s, 2 * LOOK_S)
        self._seen_mono_s = mono_s
        before, self._silent = self._silent, {}
        found = []
        for number, heard in heard_mono_s.items():
            was, silent_s = before.get(number, (None, 0.0))
            silent_s = silent_s + gap_s if was == heard else 0.0
            if silent_s >= self.limit_s:
                found.append(number)
                silent_s = 0.0
            self._silent[number] = heard, silent_s
        return found
