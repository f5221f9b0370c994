"""Claims the inputs of one source at the sinks of its pipelines, and stores the states of their steps."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from streamd.core.books import Books, DeliveryBook
from streamd.core.contracts import AnySink
from streamd.core.downstream import Downstream
from streamd.core.errors import SinkError
from streamd.core.frames import Frames
from streamd.core.tenure import Tenure
from streamd.positions.stored_parts import UNKNOWN
from streamd.runtime.gate import Gate
from streamd.runtime.partition_state import Digest, PartitionState, begin, decoded, encoded, snapshot
from streamd.runtime.pipeline import Pipeline

log = structlog.get_logger()

KEEP_S = 1.0
"""Seconds between two states that are stored."""
REST = 9
"""The steps work at least so many times as long as snapshots take."""
_POLL_S = 0.02


@dataclass(slots=True)
class _Came:
    """How much of an input has come to the steps: all parts up to `number`."""

    number: int
    kept: int
    """The last part that the stored states of all pipelines contain."""
    known: dict[str, tuple[int, float]]
    """The last part in the state with which each pipeline began, and when it was stored in the input."""
    at_wall_s: float = 0.0
    """When the part `number` was stored in the input."""


class Claims:
    """The inputs that this process has claimed for one source.

    If steps keep a state, each input has instances of its own (`TenuredSteps`). Their states are stored at
    the first sink of the pipeline from time to time: they are taken between two batches, which end with whole
    parts, and stored once all records that the pipelines have offered before are committed. The next reader
    reads again from the first part that a pipeline has not in its state. Steps whose state contains a part
    already skip it. The others make the same records again, and the sinks leave out those that they have
    stored.
    """

    def __init__(
        self,
        source: str,
        downstream: Downstream,
        pipelines: list[Pipeline],
        sinks: Mapping[str, AnySink],
        books: Books,
        digest: Digest,
    ) -> None:
        """`pipelines` are those that read the source, `sinks` all sinks by name."""
        self._source = source
        self._downstream = downstream
        self._pipelines = pipelines
        self._sinks = sinks
        self._books = books
        self._digest = digest
        self._stages = {
            pipeline.name: [stage for stage in pipeline.stages if stage.step.is_stateful]
            for pipeline in pipelines
        }
        self.keeps_state = any(self._stages.values())
        self._came: dict[Tenure, _Came] = {}
        self._finished = asyncio.Event()
        self._keeping = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def tenures(self) -> list[Tenure]:
        """The inputs that are claimed now."""
        return list(self._came)

    def connect(self) -> None:
        """Let the source claim here from now on. What it has claimed before begins anew."""
        downstream, before = self._downstream, self._downstream.claims
        downstream.claims, downstream.claim, downstream.release = self, self.claim, self.release
        downstream.keeps_state = self.keeps_state
        if isinstance(before, Claims):
            for tenure in before.tenures:
                tenure.end(UNKNOWN)

    async def claim(self, tenure: Tenure) -> int:
        """Claim an input at all sinks; returns the first part that a pipeline needs. Raises `SinkError`."""
        for old in [one for one in self._came if one.sequence == tenure.sequence]:
            old.ended = True  # its source has lost it with its connection
            self.release(old)
        try:
            first, known = await self._claimed(tenure)
        except BaseException:
            await self._end_steps(tenure)
            raise
        self._came[tenure] = _Came(first - 1, first - 1, known)
        return first

    async def _claimed(self, tenure: Tenure) -> tuple[int, dict[str, tuple[int, float]]]:
        """The first part that a pipeline needs, and what the states contain."""
        starts, known = [], {}
        for pipeline in self._pipelines:
            stages, state = self._stages[pipeline.name], None
            for output in pipeline.fanout.outputs:
                claimed = await self._sinks[output.sink].claim(tenure, pipeline.name)
                if state is None:  # the first sink has the states
                    state = decoded(claimed.state, tenure)
                if not stages:
                    starts.append(claimed.stored.number)
            if stages and state is not None:
                tenure.has_own_state = True
                await begin(stages, tenure, state, self._digest)
                starts.append(state.number + 1)
                known[pipeline.name] = state.number, state.at_wall_s
        return min(starts), known

    def release(self, tenure: Tenure) -> None:
        """Forget an input whose tenure has ended."""
        if self._came.pop(tenure, None) is not None and tenure.has_own_state:
            ending = asyncio.ensure_future(self._end_steps(tenure))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def _end_steps(self, tenure: Tenure) -> None:
        for stages in self._stages.values():
            for stage in stages:
                await stage.own.end(tenure)

    def took(self, frames: Frames) -> None:
        """Note frames that are on their way to the steps."""
        if not self.keeps_state or frames.acks is None:
            return
        for _, _, ack in frames.acks:
            part = None if ack is None else ack.origin
            came = None if part is None else self._came.get(part.tenure)
            if part is not None and came is not None:
                came.number, came.at_wall_s = part.number, part.wall_s or 0.0

    async def run(self, gate: Gate, mono_s: Callable[[], float]) -> None:
        """Store the states from time to time, until `finish` is called."""
        took_s = 0.0
        while not self._finished.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(KEEP_S, took_s * REST)):
                    await self._finished.wait()
                    return
            async with self._keeping:
                async with gate.shut():
                    began_s = mono_s()
                    taken = await self._taken()
                    took_s = mono_s() - began_s
                await self._keep(taken)

    async def finish(self) -> None:
        """Store the states after the last batch, when its records are committed."""
        self._finished.set()
        async with self._keeping:  # an older state must not replace this one
            await self._keep(await self._taken())

    async def _taken(self) -> "list[tuple[Tenure, int, Pipeline, PartitionState]]":
        """The states of all inputs that have moved on, each with the last part that has come."""
        taken = []
        for tenure, came in list(self._came.items()):
            if came.number <= came.kept:
                continue
            found = []
            for pipeline in self._pipelines:
                if stages := self._stages[pipeline.name]:
                    contained = max((came.number, came.at_wall_s), came.known[pipeline.name])
                    state = await snapshot(stages, tenure, *contained, self._digest)
                    if state is not None:
                        found.append((tenure, came.number, pipeline, state))
            if len(found) == sum(map(bool, self._stages.values())):
                taken += found
        return taken

    async def _keep(self, taken: "list[tuple[Tenure, int, Pipeline, PartitionState]]") -> None:
        offered = [(book, book.offered) for book in self._deliveries()]
        while any(book.offered - book.pending < count for book, count in offered):
            await asyncio.sleep(_POLL_S)
        kept: dict[Tenure, int] = {}
        for tenure, number, pipeline, state in taken:
            if tenure.ended:
                continue  # a sink has left its records out, so the next reader gets them again
            sink = self._sinks[pipeline.fanout.outputs[0].sink]
            try:
                await sink.keep_state(tenure, pipeline.name, encoded(state))
            except SinkError as error:
                log.warning(
                    "partition_state_not_written", input=tenure.sequence, why=str(error), hint="tried again"
                )
                return
            kept[tenure] = number
        for tenure, number in kept.items():
            if not tenure.ended and tenure in self._came:
                self._came[tenure].kept = number
                if self._downstream.on_kept is not None:
                    self._downstream.on_kept(tenure, number)

    def _deliveries(self) -> list[DeliveryBook]:
        names = {pipeline.name for pipeline in self._pipelines}
        return [
            book
            for book in self._books.deliveries.values()
            if book.source == self._source and book.pipeline in names
        ]
