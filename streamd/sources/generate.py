"""Generates a stream of sensor readings, for trying out and for tests."""

import asyncio
from collections.abc import Mapping
from typing import ClassVar

import structlog
from pydantic import Field

from streamd.client.pace import Pace
from streamd.core.clock import read_clock
from streamd.core.contracts import Outlet, Source, SourceContext
from streamd.core.frames import Frames
from streamd.core.settings import SourceSettings
from streamd.sensors import LINES_A_SECOND, FaultySensors

log = structlog.get_logger()

PEER = "generate"


class Generate(Source["Generate.Config"]):
    """Generates sensor readings as JSON lines, at a steady rate, with the faults of real sensors.

    `seq` counts from 1 over the whole stream, so a missing number shows a missing reading. The time in the
    readings is not the clock's: it advances by one millisecond for each reading, so the same seed gives the
    same bytes. A full buffer pauses the stream; readings that were due meanwhile are not made up for.
    """

    counters: ClassVar[Mapping[str, str]] = {
        "generated_gaps": "readings that a `generate` source left out on purpose",
    }

    class Config(SourceSettings):
        """A generated stream of sensor readings."""

        rate: float = Field(100.0, gt=0, le=1e6, description="readings a second")
        count: int | None = Field(
            None, ge=1, description="number of readings in all, including missing ones. Default: no end"
        )
        seed: int = Field(0, ge=0, description="the same seed gives the same readings")
        sensors: int = Field(1000, ge=1, le=10**6, description="number of sensors, which take turns")
        gaps: float = Field(0.0, ge=0, le=1, description="probability that a reading is missing")
        spikes: float = Field(0.0, ge=0, le=1, description="probability that a value is 50 to 150 °C off")
        drift: float = Field(
            0.0, ge=-1000, le=1000, description="°C by which all values rise with every 1,000 readings"
        )

    def __init__(self, config: Config, context: SourceContext) -> None:
        super().__init__(config, context)
        self.address = PEER
        self._left = config.count
        self._stream = FaultySensors(
            config.seed, config.sensors, gaps=config.gaps, spikes=config.spikes, drift=config.drift
        )
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._stopped = False

    async def open(self, outlet: Outlet) -> None:
        """Begin to generate at once."""
        self._outlet = outlet
        self._loop = asyncio.get_running_loop()
        self._pace = Pace(self.config.rate, read_clock().mono_s)
        outlet.on_resume(self._resume)
        log.info("generating", source=self.context.name, rate=self.config.rate, seed=self.config.seed)
        self._tick()

    def rehearse(self) -> None:
        """Needs nothing of its environment, so nothing can be refused."""

    async def stop(self) -> None:
        """Stop generating."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _resume(self) -> None:
        if self._paused and not self._stopped:
            self._paused = False
            self._tick()

    def _tick(self) -> None:
        now = read_clock()
        due = min(self._pace.due(now.mono_s), LINES_A_SECOND)
        if self._left is not None:
            due = min(due, self._left)
            self._left -= due
        self._pace.spend(due)
        lines = self._stream.lines(due)
        if due > len(lines):
            self.context.counters.add("generated_gaps", due - len(lines))
        if lines and not self._outlet.offer(Frames.of(lines, PEER, now.wall_s)):
            self._paused = True
        elif self._left == 0:
            log.info("generated_all", source=self.context.name, count=self.config.count)
        else:
            self._timer = self._loop.call_later(self._pace.delay_s(), self._tick)
