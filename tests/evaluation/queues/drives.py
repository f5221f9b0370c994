"""The loads and faults that the model is compared with. Rates are small, so that the CPU decides nothing."""

import contextlib
import random
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from pathlib import Path

from tests.evaluation.queues.driven import STALLING, Drive, set_pace

PACE = 1000.0
"""Records a second that the step lets through, unless a drive says otherwise."""


def constant(load: float, source_records: int) -> Drive:
    """A load from the start on; `load` is a multiple of the pace."""
    full_s = source_records / (PACE * (load - 1))
    return Drive(f"constant {load:g}", full_s + 10, lambda _: PACE * load, PACE, source_records)


def step(before: float, after: float, source_records: int) -> Drive:
    """A load that rises after 10 seconds."""
    full_s = source_records / (PACE * (after - 1))
    return Drive(
        f"step {before:g} to {after:g}",
        10 + full_s + 10,
        lambda at_s: PACE * (after if at_s >= 10 else before),
        PACE,
        source_records,
        begins_s=10.0,
    )


def bursts(load: float, mean_s: float, source_records: int, seed: int, seconds: float = 75.0) -> Drive:
    """Bursts and pauses whose lengths are exponentially distributed with one mean, so half the time each."""
    return Drive(
        f"bursts {load:g}, {mean_s:g} s, {seed}",
        seconds,
        bursty(PACE * load, mean_s, seed),
        PACE,
        source_records,
    )


def bursty(mean_per_s: float, mean_s: float, seed: int) -> Callable[[float], float]:
    """The rate at a time: 0 or twice the mean."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    ends_s = list(accumulate(draw.expovariate(1 / mean_s) for _ in range(2000)))

    def per_s(at_s: float) -> float:
        place = next(index for index, end_s in enumerate(ends_s) if at_s < end_s)
        return 2 * mean_per_s if place % 2 == 0 else 0.0

    return per_s


def slow_step() -> Drive:
    """The step becomes slow after 10 seconds: 400 records a second where 800 come."""
    return Drive(
        "slow step",
        32.0,
        lambda _: 800.0,
        2000.0,
        4000,
        acts=((10.0, partial(set_pace, per_s=400.0)),),
        begins_s=10.0,
    )


def stalled_sink() -> Drive:
    """Another process locks the database for 25 seconds: the buffer of the sink fills, then the source's."""
    return Drive(
        "stalled sink",
        40.0,
        lambda _: 500.0,
        2000.0,
        4000,
        sink_records=4000,
        acts=((10.0, partial(lock, seconds=25.0)),),
        begins_s=10.0,
        ends_s=34.5,
        queue="sink",
    )


def lock(folder: Path, seconds: float) -> None:
    """Hold the write lock of the sink's database."""

    def hold() -> None:
        with contextlib.closing(sqlite3.connect(folder / "var" / "streamd.db", timeout=10)) as database:
            database.execute("BEGIN IMMEDIATE")
            threading.Event().wait(seconds)
            database.rollback()

    threading.Thread(target=hold).start()


def stalled_loop(seconds: float) -> Drive:
    """The event loop stands still once, with a small buffer of the kernel."""
    return Drive(
        f"stalled loop {seconds:g}",
        16.0,
        lambda _: 1000.0,
        PACE,
        100_000,
        receive_buffer="256KiB",
        step=STALLING,
        acts=((8.0, partial(stall, seconds=seconds)),),
        begins_s=8.0,
    )


def stall(folder: Path, seconds: float) -> None:
    """Let the step `stall` stop the event loop."""
    new = folder / "stall.new"
    new.write_text(repr(seconds))
    new.rename(folder / "stall")


def overloads() -> Drive:
    """An overload of 12 seconds every 30 seconds, which fills the buffer in about 5."""
    return Drive(
        "repeated overloads",
        170.0,
        lambda at_s: PACE * (1.6 if at_s % 30 >= 18 else 0.5),
        PACE,
        3000,
    )


def chance() -> Drive:
    """Bursts about as strong as the capacity, which now and then fill the buffer."""
    return Drive("chance", 170.0, bursty(PACE * 0.95, 1.0, 5), PACE, 2500)


def all_drives() -> list[Drive]:
    """Everything that the page shows."""
    return [
        constant(1.2, 4000),
        constant(1.5, 5000),
        constant(2.0, 8000),
        step(0.6, 1.2, 3000),
        step(0.6, 1.5, 5000),
        step(0.3, 2.0, 8000),
        slow_step(),
        stalled_sink(),
        stalled_loop(0.1),
        stalled_loop(1.0),
        *(bursts(1.2, 0.5, 8000, seed) for seed in (*range(1, 7), *range(11, 17))),
        *(bursts(1.3, 1.0, 12_000, seed) for seed in (*range(1, 5), *range(11, 15))),
        overloads(),
        chance(),
    ]
