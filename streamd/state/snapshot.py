"""The state of all steps that share sources at one moment, and the commits it waits for."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from streamd.core.books import DeliveryBook
from streamd.core.contracts import Numbering
from streamd.runtime.feed import Feed
from streamd.runtime.stage import Stage
from streamd.runtime.worker import Workers
from streamd.state.key import StateKey, key_of


@dataclass(slots=True, frozen=True)
class Numbered:
    """A source that numbers its frames, and the feed in which they wait for the workers."""

    source: str
    numbering: Numbering
    feed: Feed


@dataclass(slots=True)
class Snapshot:
    """States by stage, taken while no batch was under way."""

    states: list[tuple[Stage, StateKey, bytes]]
    cuts: dict[str, int]
    """By numbering: the number of the last frame that the states contain."""
    inputs: str
    """JSON: by source, the name of its numbering and the number of the last frame."""
    offered: list[tuple[DeliveryBook, int]]
    """The number of records offered to each sink before the snapshot."""


@dataclass(slots=True)
class Group:
    """Pipelines that share sources, usually one. Their states are taken and stored together."""

    workers: Workers
    stages: list[Stage]
    """The stages of steps with state."""
    numbered: list[Numbered]
    final: Snapshot | None = None
    """The snapshot after the last batch."""
    stored: list[tuple[str, bytes]] = field(default_factory=list)
    """The content last stored. An equal snapshot is not written again."""
    too_large: set[str] = field(default_factory=set)
    """Steps whose state is too large and already reported in the log."""

    async def snapshot(self, deliveries: Sequence[DeliveryBook]) -> Snapshot:
        """Take a snapshot while no batch is under way. Raises the exceptions of a step's own code."""
        cuts = {one.numbering.name: one.numbering.cut(one.feed.buffer.records) for one in self.numbered}
        states: list[tuple[Stage, StateKey, bytes]] = []
        for stage in self.stages:
            state = await stage.snapshot()
            if state is not None:
                states.append((stage, key_of(stage.step), state))
        inputs = json.dumps(
            {one.source: [one.numbering.name, cuts[one.numbering.name]] for one in self.numbered}
        )
        return Snapshot(states, cuts, inputs, [(book, book.offered) for book in deliveries])

    def is_committed(self, snapshot: Snapshot) -> bool:
        """Whether every frame and record before the snapshot has its fate, so that none may be read again."""
        return all(
            one.numbering.is_settled(snapshot.cuts[one.numbering.name]) for one in self.numbered
        ) and all(book.offered - book.pending >= offered for book, offered in snapshot.offered)
