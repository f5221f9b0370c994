"""Generated sensor readings as JSON lines, for demonstrations, tests and benchmarks."""

import random
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice

LINES_A_SECOND = 1000
"""Speed of the stream's own clock: timestamps of successive readings are a millisecond apart."""

_LOWEST_C, _LEVELS, _MOST_STEPS = 15, 2000, 7
_RENDERED = [
    b'%d.%02d,"unit":"C","ok":true,"site":"lab-a"}' % divmod(_LOWEST_C * 100 + level, 100)
    for level in range(_LEVELS + 1)
]
_STEPS = [byte % (2 * _MOST_STEPS + 1) for byte in range(256)]
_REFLECTED = [
    abs(level) if level <= _LEVELS else 2 * _LEVELS - level
    for level in range(-_MOST_STEPS, _LEVELS + _MOST_STEPS + 1)
]
_TEMPLATES = [
    b'{"ts":"%%b.%03d%03dZ","sensor":"%%b","seq":%%d,"value":%%b' % (at_ms, 997)
    for at_ms in range(LINES_A_SECOND)
]


class SensorStream:
    """Readings of `sensors` sensors in turn. Each value is a random walk between 15 and 35 °C.

    `seq` counts all readings from 1 without a gap, so a receiver can count lost readings exactly. The same
    seed gives the same bytes. A line has about 115 bytes and 7 fields and takes about 0.3 µs.
    """

    def __init__(self, seed: int = 0, sensors: int = 1000, start: datetime | None = None) -> None:
        self._random = random.Random(seed)  # noqa: S311 - readings are no secrets
        self._names = [b"s-%04d" % number for number in range(1, sensors + 1)]
        self._levels = [self._random.randrange(_LEVELS + 1) for _ in range(sensors)]
        self._turns = cycle(range(sensors))
        self._start = start or datetime(2026, 1, 31, 8, tzinfo=UTC)
        self._sent = 0
        self._moves = b""

    def lines(self, count: int) -> list[bytes]:
        """The next `count` lines, without line ends."""
        found: list[bytes] = []
        while len(found) < count:
            found += self._within_a_second(min(count - len(found), LINES_A_SECOND))
        return found

    def _within_a_second(self, most: int) -> list[bytes]:
        second, at = divmod(self._sent, LINES_A_SECOND)
        if at == 0:  # drawn for a whole second, so the bytes do not depend on the sizes of the calls
            self._moves = self._random.randbytes(LINES_A_SECOND)
        templates = _TEMPLATES[at : at + most]
        count = len(templates)
        stamp = (self._start + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S").encode()
        levels, names = self._levels, self._names
        parts: list[bytes | int] = [b""] * (4 * count)
        parts[0::4] = [stamp] * count
        turns = list(islice(self._turns, count))
        parts[1::4] = [names[turn] for turn in turns]
        parts[2::4] = range(self._sent + 1, self._sent + count + 1)
        values: list[bytes] = []
        for turn, byte in zip(turns, self._moves[at:], strict=False):
            level = levels[turn] = _REFLECTED[levels[turn] + _STEPS[byte]]
            values.append(_RENDERED[level])
        parts[3::4] = values
        self._sent += count
        return (b"\n".join(templates) % tuple(parts)).split(b"\n")


class FaultySensors:
    """A sensor stream with the faults of real sensors. The same seed gives the same bytes.

    `gaps` is the probability that a reading is missing; its `seq` is skipped. `spikes` is the probability
    that a value is 50 to 150 °C off. `drift` is the rise of all values in °C for each second of the stream's
    own clock. With all three at 0 the lines equal those of `SensorStream`. Faults cost about 0.3 µs a line,
    drift 1 µs.
    """

    def __init__(
        self,
        seed: int = 0,
        sensors: int = 1000,
        *,
        gaps: float = 0.0,
        spikes: float = 0.0,
        drift: float = 0.0,
    ) -> None:
        self._stream = SensorStream(seed, sensors)
        self._random = random.Random(f"faults {seed}")  # noqa: S311 - readings are no secrets
        self._gaps = gaps
        self._spikes = spikes
        self._drift = drift
        self._at = 0

    def lines(self, count: int) -> list[bytes]:
        """The next `count` readings without line ends. Missing readings are left out."""
        lines = self._stream.lines(count)
        if not (self._gaps or self._spikes or self._drift):
            return lines
        found: list[bytes] = []
        draw = self._random.random
        for line in lines:
            self._at += 1
            if self._gaps and draw() < self._gaps:
                continue
            off_c = self._drift * self._at / LINES_A_SECOND
            if self._spikes and draw() < self._spikes:
                off_c += self._random.choice((-1, 1)) * self._random.uniform(*_SPIKE_C)
            found.append(_moved(line, off_c) if off_c else line)
        return found


_SPIKE_C = (50, 150)


def _moved(line: bytes, by_c: float) -> bytes:
    head, _, rest = line.partition(b'"value":')
    value, _, tail = rest.partition(b",")
    return b'%b"value":%.2f,%b' % (head, float(value) + by_c, tail)
