"""A generated plant: sensors that fail as real ones do, and a list of every fault."""

import math
import random
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

PERIOD_S = 10
"""Seconds between two readings of a sensor, in the plant's own time."""
SENSORS, MINUTES = 12, 60
"""Size and duration unless stated otherwise."""
MOST_SENSORS = 10_000
"""A sensor takes about 6 KB."""

FAULTS = {
    "gap": "readings that were made and are not sent: their numbers are skipped",
    "duplicate": "readings that are sent twice",
    "out_of_order": "readings that come 10 or 20 s late, after the next ones of their sensor",
    "silence": "readings that a sensor did not make for 4 to 8 minutes: no number is skipped",
    "spike": "values that are 40 to 60 °C off, so they are above 50 or below 0",
    "error_value": "values of -999, as of a sensor without its probe",
    "text": "values that are texts",
    "fahrenheit": "values in °F, with that unit",
    "clock_reset": "readings from 1970, as of a clock that was not set after a power cut",
    "skew": "readings of the sensors whose clock is always 20 to 90 s fast or slow",
}
"""The kinds of faults, and the readings that each concerns."""

_CHANCE = 0.04
"""Probability of a fault at a reading of a sensor that had none for `_CALM` readings."""
_CALM = 13
"""Readings without a fault around each fault, so that the effects of two faults never mix."""
_WEIGHTS = {
    "gap": 5, "duplicate": 5, "out_of_order": 5, "spike": 4, "error_value": 2, "text": 2, "fahrenheit": 2,
    "silence": 1, "clock_reset": 1,
}  # fmt: skip
_LENGTHS = {"gap": (1, 4), "silence": (24, 48), "fahrenheit": (3, 6), "clock_reset": (3, 3)}
"""Fewest and most readings in a row that one fault concerns. Another fault concerns one."""
_SHARE_OF_SKEWED = 0.2
_WAVE_S = 2400.0
_READING = b'{"ts":"%b","sensor":"%b","seq":%d,"value":%b,"unit":"%b"}'
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SensorFault(NamedTuple):
    """One fault, with what a receiver can know of it."""

    line: int
    """The line, counted from 1, that shows the fault: of a gap or a silence, the first one after it."""
    kind: str
    sensor: str
    at: str
    """Time of its first reading by the clock of the plant."""
    seq: int
    """Number of its first reading; of a silence, of the first reading after it."""
    readings: int
    amount: float | None = None
    """Height of a spike in °C; of a skew, the seconds by which the clock is fast."""


class _Line(NamedTuple):
    content: bytes
    shows: list[SensorFault]
    """Their `line` is not known yet."""


class Plant:
    """Readings of a plant's sensors as JSON lines, with known faults. The same seed gives the same bytes.

    Each sensor makes a reading every ten seconds of the plant's own time: `ts`, `sensor`, `seq`, `value` and
    `unit`. `seq` counts the readings of the sensor from 1. The temperature is between 15 and 35 °C. The last
    readings of each sensor have no fault, so every fault is over when the stream ends. A line takes 20 µs.
    """

    def __init__(
        self,
        seed: int = 0,
        sensors: int = SENSORS,
        *,
        minutes: int = MINUTES,
        start: datetime | None = None,
    ) -> None:
        self.start = start or datetime(2026, 1, 31, 8, tzinfo=UTC)
        turns = minutes * 60 // PERIOD_S
        width = max(2, len(str(sensors)))
        self._phases_s = [PERIOD_S * n / sensors for n in range(sensors)]
        self._lives = [
            _Sensor(seed, f"s-{n:0{width}}", self.start + timedelta(seconds=phase_s), turns).life()
            for n, phase_s in enumerate(self._phases_s, 1)
        ]
        self._ready: deque[tuple[float, bytes]] = deque()
        self._left = range(turns)
        self._made = 0
        self._faults: list[SensorFault] = []

    def lines(self, count: int) -> list[bytes]:
        """The next `count` lines without line ends; fewer at the end of the stream."""
        return [line for _, line in self.timed_lines(count)]

    def timed_lines(self, count: int) -> list[tuple[float, bytes]]:
        """As `lines`, each with the time of its sending in seconds since the start of the plant."""
        while len(self._ready) < count and self._left:
            turn, self._left = self._left[0], self._left[1:]
            for phase_s, life in zip(self._phases_s, self._lives, strict=True):
                for line in next(life):
                    self._made += 1
                    self._ready.append((turn * PERIOD_S + phase_s, line.content))
                    self._faults += [fault._replace(line=self._made) for fault in line.shows]
        return [self._ready.popleft() for _ in range(min(count, len(self._ready)))]

    def faults(self, sent: int) -> list[SensorFault]:
        """The faults that the first `sent` lines show, in this order. Readings still to come count too."""
        return [fault for fault in self._faults if fault.line <= sent]

    def books(self, sent: int) -> dict[str, tuple[int, int]]:
        """How many faults of each kind the first `sent` lines show, and how many readings they concern."""
        found = {kind: [f.readings for f in self.faults(sent) if f.kind == kind] for kind in FAULTS}
        return {kind: (len(readings), sum(readings)) for kind, readings in found.items()}


class _Sensor:
    """One sensor, turn by turn."""

    def __init__(self, seed: int, name: str, start: datetime, turns: int) -> None:
        self._draw = random.Random(f"plant {seed} {name}").random  # noqa: S311 - readings are no secrets
        self._name = name
        self._start = start
        self._turn = 0
        self._turns = turns
        self._seq = 0
        self._base_c = 20 + 10 * self._draw()
        self._off_c = 0.0
        skew_s = self._between(20, 90) * self._sign()
        self._skew = timedelta(seconds=skew_s if self._draw() < _SHARE_OF_SKEWED else 0)
        self._unseen: list[SensorFault] = []
        """Faults that the next line shows."""
        self._late: dict[int, _Line] = {}
        """Lines by the turn in which they come."""

    def life(self) -> Iterator[list[_Line]]:
        """What the sensor sends in each turn."""
        if self._skew:
            self._unseen.append(self._fault("skew", self._turns, self._skew.total_seconds()))
        calm = _CALM
        while self._turn < self._turns:
            kind, length = ("", 1) if calm else self._fate()
            calm = _CALM if kind else max(0, calm - 1)
            fault = self._fault(kind, length)
            if kind and kind not in ("duplicate", "out_of_order"):
                self._unseen.append(fault)
            for n in range(length):
                lines = self._reading(fault, n)
                if self._turn in self._late:
                    lines.append(self._late.pop(self._turn))
                yield lines
                self._turn += 1

    def _fate(self) -> tuple[str, int]:
        """The next fault and its readings. There is none if the stream would end before it is over."""
        kind, place = "", self._draw() * sum(_WEIGHTS.values()) / _CHANCE
        for name, weight in _WEIGHTS.items():
            if 0 <= place < weight:
                kind = name
            place -= weight
        length = self._between(*_LENGTHS.get(kind, (1, 1)))
        return (kind, length) if self._turn + length + _CALM < self._turns else ("", 1)

    def _reading(self, fault: SensorFault, n: int) -> list[_Line]:
        """The lines of one turn, which is the `n`th of a fault."""
        kind = fault.kind
        self._off_c = 0.97 * self._off_c + self._draw() - 0.5
        if kind == "silence":
            return []
        self._seq += 1
        if kind == "gap":
            return []
        at = self._start + timedelta(seconds=self._turn * PERIOD_S)
        wave_c = 2 * math.sin(2 * math.pi * (at - _EPOCH).total_seconds() / _WAVE_S + self._base_c)
        value_c = min(35.0, max(15.0, self._base_c + wave_c + self._off_c)) + (
            fault.amount or 0.0 if kind == "spike" else 0.0
        )
        value, unit = b"%.2f" % value_c, b"C"
        at += self._skew
        match kind:
            case "error_value":
                value = b"-999.0"
            case "text":
                value = b'"%b"' % value
            case "fahrenheit":
                value, unit = b"%.2f" % (value_c * 1.8 + 32), b"F"
            case "clock_reset":
                at = _EPOCH + timedelta(seconds=2 + n * PERIOD_S)
        content = _READING % (_text(at).encode(), self._name.encode(), self._seq, value, unit)
        if kind == "out_of_order":
            self._late[self._turn + self._between(1, 2)] = _Line(content, [fault])
            return []
        if kind == "duplicate":
            self._late[self._turn + self._between(0, 2)] = _Line(content, [fault])
        shows, self._unseen = self._unseen, []
        return [_Line(content, shows)]

    def _fault(self, kind: str, readings: int, amount: float | None = None) -> SensorFault:
        if kind == "spike":
            amount = self._between(40, 60) * float(self._sign())
        at = self._start + timedelta(seconds=self._turn * PERIOD_S)
        return SensorFault(0, kind, self._name, _text(at), self._seq + 1, readings, amount)

    def _between(self, least: int, most: int) -> int:
        return least + int(self._draw() * (most - least + 1))

    def _sign(self) -> int:
        return 1 if self._draw() < 0.5 else -1  # noqa: PLR2004 - as often as not


def _text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
