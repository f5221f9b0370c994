"""The cost of a fair buffer for each datagram, with one sender and with competing senders."""

import random
import time
from collections.abc import Iterator

from streamd.bench.plan import MIB, Plan
from streamd.bench.row import Row
from streamd.core.frames import Frames
from streamd.runtime.buffer import Buffer
from streamd.runtime.fair_buffer import FairBuffer

GOAL_US = 0.3
MAX_RECORDS = 65536
MAX_BYTES = 64 * MIB
READ = 512
TAKE = 512
WAITING = 8 * READ
"""Frames left in the buffer, so that the fair buffer has to sort."""
_PAYLOAD = b"x" * 100


def measure(plan: Plan) -> list[Row]:
    """The cost to put and take a datagram, compared with a plain buffer in the same run."""
    plan.step("fairness")
    count = plan.fairness_datagrams
    alone = {
        f"{read}_a_read_{waiting}_waiting": _fair_and_plain_us(["10.0.0.1:5"], count, read, waiting)
        for read, waiting in ((1, 0), (READ, 0), (READ, WAITING))
    }
    rng = random.Random(1)  # noqa: S311 - no secret
    spoofed = [_peer(rng.getrandbits(32)) for _ in range(count)]
    others = {
        "1_sender_1_a_read_into_a_backlog": _fair_and_plain_us(["10.0.0.1:5"], count, 1, WAITING, turns=1),
        "10_senders": _fair_and_plain_us([_peer(n) for n in range(10)], count, READ, WAITING),
        f"{count:,}_senders_at_the_bound": _fair_and_plain_us(spoofed, count, READ, MAX_RECORDS, turns=1),
    }
    fair_us, plain_us = max(alone.values(), key=lambda pair: pair[0] - pair[1])
    over_us = fair_us - plain_us
    return [
        Row(
            name="fairness",
            what="A datagram through a fair buffer, one sender",
            value=fair_us,
            unit="µs",
            note=f"the most expensive of {len(alone)} cases: {over_us:.2f} µs over the baseline; "
            + ", ".join(f"{name.replace('_', ' ')} {pair[0]:.2f} µs" for name, pair in others.items()),
            baseline=plain_us,
            baseline_what="a plain first-in, first-out buffer",
            goal=f"< {GOAL_US} µs more",
            reached=over_us < GOAL_US if plan.judge else None,
            details={
                name: {"fair_us": pair[0], "plain_us": pair[1]} for name, pair in (alone | others).items()
            },
        )
    ]


def _fair_and_plain_us(
    peers: list[str], count: int, read: int, waiting: int, turns: int = 3
) -> tuple[float, float]:
    """The lowest cost of some turns, in µs for each datagram: in a fair and in a plain buffer."""
    costs = [
        [
            _cost_us(kind(MAX_RECORDS, MAX_BYTES, "drop_oldest", lambda _: None), peers, count, read, waiting)
            for kind in (FairBuffer, Buffer[Frames])
        ]
        for _ in range(turns)
    ]
    fair_us, plain_us = map(min, zip(*costs, strict=True))
    return fair_us, plain_us


def _cost_us(buffer: Buffer[Frames], peers: list[str], count: int, read: int, waiting: int) -> float:
    reads = list(_reads(peers, count, read))
    started_s = time.process_time()
    for frames in reads:
        buffer.put(frames)
        while buffer.records > waiting:
            buffer.take(TAKE)
    while buffer.records:
        buffer.take(TAKE)
    return (time.process_time() - started_s) / count * 1e6


def _reads(peers: list[str], count: int, read: int) -> Iterator[Frames]:
    for first in range(0, count, read):
        size = min(read, count - first)
        each = [peers[n % len(peers)] for n in range(first, first + size)]
        yield Frames.of([_PAYLOAD] * size, each[0] if len(peers) == 1 else each, 1.0)


def _peer(number: int) -> str:
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}:5"
