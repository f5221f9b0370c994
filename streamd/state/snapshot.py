"""The state of all steps that share sources at one moment, and what must be committed before it counts."""

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
    """A source that numbers its frames, and where they wait for the workers."""

    source: str
    numbering: Numbering
    feed: Feed


@dataclass(slots=True)
class Snapshot:
    """States by stage, taken while no batch was under way."""

    states: list[tuple[Stage, StateKey, bytes]]
    cuts: dict[str, int]
    """Of each numbering: the number of the last frame that the states have seen."""
    inputs: str
    offered: list[tuple[DeliveryBook, int]]
    """What the sinks were given up to then."""


@dataclass(slots=True)
class Group:
    """Pipelines that share sources; most often one pipeline. Their states are taken and stored together."""

    workers: Workers
    stages: list[Stage]
    """Those of steps with state."""
    numbered: list[Numbered]
    final: Snapshot | None = None
    """As it was when the last batch had passed."""
    stored: list[tuple[str, bytes]] = field(default_factory=list)
    """What the file says, to leave it alone where nothing has changed."""
    too_large: set[str] = field(default_factory=set)
    """Steps whose state is too large, which the log says already."""

    async def snapshot(self, deliveries: Sequence[DeliveryBook]) -> Snapshot:
        """Take it. Nothing may be under way. Raises what a step's own code raises."""
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
        """Whether everything that went on before the snapshot has its fate, and so may not be repeated."""
        return all(
            one.numbering.is_settled(snapshot.cuts[one.numbering.name]) for one in self.numbered
        ) and all(book.offered - book.pending >= offered for book, offered in snapshot.offered)
