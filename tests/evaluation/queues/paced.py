"""Steps for the drives: one that takes its time by the clock and not by the CPU, one that stops the loop."""

import time
from pathlib import Path
from typing import Any

PACE = Path("pace")
STALL = Path("stall")


class Paced:
    """Gives each record its time of service, as a server does that is never late.

    A record begins when it was sent, or when the record before it ends, if that is later (Lindley, 1952). So
    a delay of the machine takes nothing from the capacity. The file `pace` has the seconds for each record.
    """

    def __init__(self) -> None:
        self._free_mono_s = 0.0

    def process(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        each_s = float(PACE.read_text())
        for record in records:
            self._free_mono_s = max(record["sent"], self._free_mono_s) + each_s
        pace(self._free_mono_s - time.monotonic())
        return records


def stall(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Stop the event loop once for the seconds in the file `stall`, as a step that computes for long does."""
    if STALL.exists():
        seconds = float(STALL.read_text())
        STALL.unlink()
        pace(seconds)
    return records


def pace(seconds: float) -> None:
    """Let time pass, if it is not over."""
    time.sleep(max(0.0, seconds))
