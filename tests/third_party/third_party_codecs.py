"""Codecs of somebody else's package: small users of held frames."""

import json

from streamd.core.contracts import Codec, Decoded
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.core.settings import Settings


class Lagging(Codec[Settings]):
    """Makes a record of each frame when the next one of its sender has come, so it always holds one."""

    holds = True

    def __init__(self, config: Settings, schema: object) -> None:
        super().__init__(config, None)
        self.last: dict[int, Frames] = {}

    def decode(self, frames: Frames, now: Now) -> Decoded:
        released: list[Frames] = []
        rest = frames
        while len(rest):
            first, rest = rest.split(1) if len(rest) > 1 else (rest, Frames.of([], "", 0.0))
            if (before := self.last.pop(id(first.peer(0)), None)) is not None:
                released.append(before)
            self.last[id(first.peer(0))] = first
        return self.records(released)

    def forget(self, peer: Peer, now: Now) -> Decoded | None:
        last = self.last.pop(id(peer), None)
        return None if last is None else self.records([last])

    def finish(self, now: Now) -> Decoded | None:
        left, self.last = [*self.last.values()], {}
        return self.records(left) if left else None

    @staticmethod
    def records(parts: list[Frames]) -> Decoded:
        frames = Frames.merge(parts) if parts else Frames.of([], "", 0.0)
        records = list(map(json.loads, frames.payloads))
        return Decoded(records, [*range(len(records))], frames=frames)
