"""The state of all steps that share sources at one moment, and the commits it waits for."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from streamd.core.books import DeliveryBook
from streamd.runtime.stage import Stage
from streamd.runtime.worker import Workers
from streamd.state.inputs import Numbered, inputs_of
from streamd.state.key import StateKey, key_of


@dataclass(slots=True)
class Snapshot:
    """States by stage, taken while no batch was under way."""

    states: list[tuple[Stage, StateKey, bytes]]
    """Without bytes for a step that has nothing to store: this too is a state that contains frames."""
    cuts: dict[str, int]
    """By numbering: the number of the last frame that the states contain."""
    inputs: str
    """Which frames of its sources it contains, as `inputs_of` says it."""
    offered: list[tuple[DeliveryBook, int]]
    """The number of records offered to each sink before the snapshot."""
    failed: list[tuple[Stage, Exception]] = field(default_factory=list)
    """Steps that have no state here, as their own code raised an exception."""


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
    delayed_since_mono_s: float | None = None
    """Since when no snapshot of it could be stored; None while nothing is in the way."""
    delay_logged: bool = False
    not_taken: dict[Stage, str] = field(default_factory=dict)
    """Steps whose snapshot fails, with the kind of the failure as logged."""
    too_large: set[Stage] = field(default_factory=set)
    """Steps whose state is too large and already reported in the log."""

    async def snapshot(self, deliveries: Sequence[DeliveryBook]) -> Snapshot:
        """Take a snapshot while no batch is under way. An exception of a step's own code is in `failed`."""
        cuts = {one.numbering.name: one.numbering.cut(_unseen(one)) for one in self.numbered}
        states: list[tuple[Stage, StateKey, bytes]] = []
        failed: list[tuple[Stage, Exception]] = []
        for stage in self.stages:
            try:
                states.append((stage, key_of(stage.step), await stage.snapshot() or b""))
            except Exception as error:  # noqa: BLE001 - user code may raise anything
                failed.append((stage, error))
        inputs = inputs_of(self.numbered, cuts)
        return Snapshot(states, cuts, inputs, [(book, book.offered) for book in deliveries], failed)

    def final_states(self) -> list[tuple[Stage, StateKey, bytes]]:
        """The states after the last batch; without bytes for a step of which none could be taken.

        So of two steps with the same key none gets the state of the other.
        """
        if self.final is None:
            return []
        taken = {stage: state for stage, _, state in self.final.states}
        return [(stage, key_of(stage.step), taken.get(stage, b"")) for stage in self.stages]

    def uncommitted(self, snapshot: Snapshot) -> str:
        """Why frames or records before the snapshot could be read again; empty if each has its fate."""
        for one in self.numbered:
            if not one.numbering.is_settled(snapshot.cuts[one.numbering.name]):
                return f"frames of source {one.source} have no result yet: a step or a sink still has them"
        for book, offered in snapshot.offered:
            if book.offered - book.pending < offered:
                return f"sink {book.sink} has not committed the records before it"
        return ""

    @property
    def holding_source(self) -> str:
        """A source whose codec holds frames that the steps have not seen; empty if there is none."""
        for one in self.numbered:
            codec = one.feed.codec
            if codec.holds_open and not codec.holds_last and one.feed.frames.held:
                return one.source
        return ""


def _unseen(one: Numbered) -> int:
    """The number of the last frames that the steps have not seen."""
    held = one.feed.frames.held if one.feed.codec.holds_open else 0
    return one.feed.buffer.records + held
