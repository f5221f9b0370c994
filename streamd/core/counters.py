"""Counters of components that belong to no sum of the books."""

import threading
from collections.abc import Mapping

MOST = 2**60
"""The largest number of a counter, which then grows no further.

SQLite, MessagePack and JSON have 64 bits, and a query of the ledger adds up several runs.
"""
_ADDING = threading.Lock()


class Counters(dict[tuple[str, str], int]):
    """Numbers by (name, reason) that only grow, up to `MOST`; a missing number is 0.

    Each source, step and sink has one object, which goes on if a reload makes a new component. The class of
    the component declares its counters with their meanings (`counters = {"late": "…"}`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.gauges: dict[tuple[str, str], float] = {}
        """The newest values by (gauge, name), which may fall as well as grow. No sum of them is made."""
        self.gauge_meanings: dict[str, str] = {}

    meanings: dict[str, str] | None = None
    """The meanings of the declared names; None if none is declared. Undeclared names are counted too."""

    def __missing__(self, key: tuple[str, str]) -> int:
        return 0

    def declare(self, *meanings: Mapping[str, str]) -> None:
        """Add names with their meanings."""
        for more in meanings:
            self.meanings = {**(self.meanings or {}), **more}

    def add(self, name: str, n: int = 1, reason: str = "") -> None:
        """Add `n`. A step may run in several threads, so the addition is locked."""
        with _ADDING:
            self[name, reason] = min(self[name, reason] + n, MOST)

    def set_gauge(self, gauge: str, value: float, name: str = "") -> None:
        """Set the newest value of a gauge. `name` tells the values of one gauge apart."""
        self.gauges[gauge, name] = value

    def take(self, others: Mapping[tuple[str, str], int]) -> None:
        """Add the numbers of another object."""
        for (name, reason), n in others.items():
            self.add(name, n, reason)

    def numbers(self) -> dict[str, int | dict[str, int]]:
        """Each number by its name; numbers with reasons by name and reason."""
        found: dict[str, dict[str, int]] = {}
        for (name, reason), n in list(self.items()):
            found.setdefault(name, {})[reason] = n
        return {name: reasons[""] if list(reasons) == [""] else reasons for name, reasons in found.items()}

    def gauge_values(self) -> dict[str, float | dict[str, float]]:
        """Each gauge by its name; gauges with several values by gauge and name."""
        found: dict[str, dict[str, float]] = {}
        for (gauge, name), value in list(self.gauges.items()):
            found.setdefault(gauge, {})[name] = value
        return {gauge: values[""] if list(values) == [""] else values for gauge, values in found.items()}

    def totals(self) -> dict[str, int]:
        """Each name with the sum over its reasons."""
        found: dict[str, int] = {}
        for (name, _), n in list(self.items()):
            found[name] = found.get(name, 0) + n
        return found
