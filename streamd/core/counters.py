"""What a component counts that is in no sum."""

import threading
from collections.abc import Mapping

_ADDING = threading.Lock()


class Counters(dict[tuple[str, str], int]):
    """Numbers by (name, reason) that only grow; what was never counted is 0.

    One object for each source, step and sink: it outlives the component where a reload makes that anew.
    A component declares its names, each with its meaning, in its class (`counters = {"late": "…"}`).
    """

    meanings: dict[str, str] | None = None
    """Of the names that were declared; None until something is. Another name is counted all the same."""

    def __missing__(self, key: tuple[str, str]) -> int:
        return 0

    def declare(self, *meanings: Mapping[str, str]) -> None:
        """Add names that will be counted here."""
        for more in meanings:
            self.meanings = {**(self.meanings or {}), **more}

    def add(self, name: str, n: int = 1, reason: str = "") -> None:
        """Count. A step may run in threads, and a plain `+=` of two of them would lose one."""
        with _ADDING:
            self[name, reason] += n

    def take(self, others: Mapping[tuple[str, str], int]) -> None:
        """Add the numbers of others."""
        for (name, reason), n in others.items():
            self.add(name, n, reason)

    def numbers(self) -> dict[str, int | dict[str, int]]:
        """Each number by its name; those with reasons by name and reason."""
        found: dict[str, dict[str, int]] = {}
        for (name, reason), n in list(self.items()):
            found.setdefault(name, {})[reason] = n
        return {name: reasons[""] if list(reasons) == [""] else reasons for name, reasons in found.items()}

    def totals(self) -> dict[str, int]:
        """Each name with the sum over its reasons."""
        found: dict[str, int] = {}
        for (name, _), n in list(self.items()):
            found[name] = found.get(name, 0) + n
        return found
