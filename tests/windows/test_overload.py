"""A flooder and nine quiet senders behind a fair buffer under overload: no record of a quiet one is late."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from streamd.core.contracts import StepContext
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.core.timestamp import from_epoch
from streamd.runtime.fair_buffer import FairBuffer
from streamd.steps.window import Window

QUIET = [Peer(f"10.0.0.{n}:5000") for n in range(1, 10)]
FLOODER = Peer("10.0.0.99:5000")
SECONDS = 120
TAKEN_PER_S = 200


class Overloaded:
    """A fair buffer with its worker, which takes fewer frames than there come."""

    def __init__(self, **options: Any) -> None:
        config = Window.Config(size="10s", key=["sensor"], aggregate={"n": "count()"}, **options)
        self.step = Window(config, StepContext("window[0]", "p", None, Path()))
        self.step.open()
        self.buffer = FairBuffer(1000, 10_000_000, "drop_newest", self.drop)
        self.step.context.upstream.waiting = lambda: self.buffer.records
        self.dropped: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.late: list[str] = []

    def drop(self, frames: Frames) -> None:
        self.dropped.update(str(peer) for peer in frames.peers.of(len(frames)))

    def send(self, peer: Peer, count: int, at_s: float) -> None:
        payload = json.dumps({"sensor": peer.host, "ts": at_s}).encode()
        self.buffer.put(Frames.of([payload] * count, peer, at_s))

    def work(self, most: int, at_s: float) -> None:
        now = Now(at_s, at_s)
        for frames in self.buffer.take(most):
            done = self.step.process([record(frames, index) for index in range(len(frames))], now)
            self.late += [bad.record["sensor"] for bad in done.rejects]
            self.take(done.records)
        self.take(self.step.tick(now).records)

    def take(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            self.counts[row["sensor"]] += row["n"]


def record(frames: Frames, index: int) -> dict[str, Any]:
    metadata = {"@peer": str(frames.peers[index]), "@received_at": from_epoch(frames.received_at[index])}
    return {**json.loads(frames.payloads[index]), **metadata}


@pytest.mark.parametrize("watermark_by", ["key", "sender", "pipeline"])
@pytest.mark.parametrize("time", [{"time": "ts", "watermark_delay": "2s"}, {}], ids=["ts", "receipt"])
def test_no_record_of_a_quiet_sender_is_late_in_a_flood(watermark_by: str, time: dict[str, str]) -> None:
    line = Overloaded(watermark_by=watermark_by, **time)
    at_s = 0.0
    for tenth in range(SECONDS * 10):
        at_s = tenth / 10
        if tenth % 10 < len(QUIET):
            line.send(QUIET[tenth % 10], 1, at_s)
        line.send(FLOODER, 100, at_s)
        line.work(TAKEN_PER_S // 10, at_s)
    while line.buffer.records:
        line.work(1000, at_s)
    line.work(1, at_s + 31)
    assert line.dropped[FLOODER] > 5_000
    assert line.late == []
    assert set(line.dropped) == {FLOODER}
    assert [line.counts[peer.host] for peer in QUIET] == [SECONDS] * len(QUIET)
