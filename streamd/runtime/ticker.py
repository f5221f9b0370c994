"""Ticks the steps of one pipeline when they are due."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from streamd.core.now import Now
from streamd.runtime.gate import Gate
from streamd.runtime.pipeline import Pipeline

IDLE_S = 0.01
"""Pause after the tick of a step that made no record and is still due."""


class _Due(NamedTuple):
    mono_s: float
    stage: int


class Ticker:
    """Sleeps until the earliest deadline of the steps, and ticks that step.

    Only one tick is under way at a time, and none begins while a sink has no room. A step that is always due
    gets one tick in each turn of the event loop.
    """

    def __init__(self, pipeline: Pipeline, gate: Gate, clock: Callable[[], Now]) -> None:
        self._pipeline = pipeline
        self._gate = gate
        self._clock = clock
        self._woken = asyncio.Event()
        self._asleep_until_mono_s: float | None = None
        self._not_before_mono_s: dict[int, float] = {}
        """Earliest next tick of each step, for steps that are due without making records."""
        self._closed = False
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Tick steps until `end` is called."""
        self._pipeline.on_ran = self._look
        try:
            while not self._closed:
                due = self._earliest()
                wait_s = None if due is None else due.mono_s - self._clock().mono_s
                if due is None or wait_s is None or wait_s > 0:
                    await self._sleep(due, wait_s)
                else:
                    await self._tick(due.stage)
                    await asyncio.sleep(0)
        finally:
            self._pipeline.on_ran = None
            self._ended.set()

    async def end(self) -> None:
        """Finish the tick under way, then tick a last time each step that has no snapshots.

        Called when no batch follows.
        """
        self._closed = True
        self._woken.set()
        await self._ended.wait()
        for index, stage in enumerate(self._pipeline.stages):
            if stage.step.is_timed and not stage.step.is_stateful and stage not in self._pipeline.handed_on:
                while await self._pipeline.tick(index) and self._is_due(index):
                    await self._pipeline.fanout.room()
                    await asyncio.sleep(0)

    def _is_due(self, index: int) -> bool:
        deadline = self._pipeline.stages[index].next_deadline()
        return deadline is not None and deadline <= self._clock().mono_s

    async def _tick(self, index: int) -> None:
        await self._pipeline.fanout.room()
        await self._gate.opened()
        with self._gate:
            made = await self._pipeline.tick(index)
        now_s = self._clock().mono_s
        self._not_before_mono_s[index] = now_s if made else now_s + IDLE_S

    async def _sleep(self, due: _Due | None, wait_s: float | None) -> None:
        self._asleep_until_mono_s = float("inf") if due is None else due.mono_s
        self._woken.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._woken.wait()
        except TimeoutError:
            pass
        finally:
            self._asleep_until_mono_s = None

    def _look(self) -> None:
        """Wake up if a step is due earlier than before, after steps have run."""
        if self._asleep_until_mono_s is not None:
            due = self._earliest()
            if due is not None and due.mono_s < self._asleep_until_mono_s:
                self._woken.set()

    def _earliest(self) -> _Due | None:
        found = []
        for index, stage in enumerate(self._pipeline.stages):
            if stage.step.is_timed and (deadline := stage.next_deadline()) is not None:
                found.append(_Due(max(deadline, self._not_before_mono_s.get(index, deadline)), index))
        return min(found, default=None)
