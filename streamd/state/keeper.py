"""Stores the state of steps periodically and at the stop, and restores it at the start."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from streamd.assembly import Assembly
from streamd.core.books import Books
from streamd.core.errors import SinkError
from streamd.core.failure import failure_of, text_of
from streamd.core.now import Now
from streamd.core.timestamp import from_epoch
from streamd.runtime.stage import Stage
from streamd.sqlite.databases import Databases
from streamd.state.inputs import Numbered, cuts_of, misfit
from streamd.state.key import StateKey, key_of, why_not
from streamd.state.snapshot import Group, Snapshot
from streamd.state.store import FILE, StateStore, StoredState

log = structlog.get_logger()

POLL_S = 0.05
"""Time between two checks whether the batches before a snapshot are committed."""
REST = 9
"""The next snapshot comes at the earliest after so many times the time that one takes: no record passes the
steps meanwhile.
"""
DELAY_INTERVALS = 10
"""After so many intervals without a stored state the log names the cause."""


class StateKeeper:
    """Stores and restores the states of all steps of a daemon. docs/decisions/021 explains the order.

    A snapshot is taken while no batch is under way. It is stored after the commit of every batch before it.
    Only then may the remembered positions of numbered sources pass the frames of these batches. A stored
    state is therefore never ahead of the committed rows, and no position is ahead of the state.
    """

    def __init__(
        self,
        databases: Databases,
        state_dir: Path,
        books: Books,
        *,
        interval_s: float,
        max_bytes: int,
        clock: Callable[[], Now],
    ) -> None:
        self.path = state_dir / FILE
        self.max_bytes = max_bytes
        self._databases = databases
        self._books = books
        self._interval_s = interval_s
        self._clock = clock
        self._store: StateStore | None = None
        self._groups: list[Group] = []
        self._regrouped = asyncio.Event()

    async def open(self, parts: Assembly) -> None:
        """Restore every opened step, before the sources are opened. Raises `EnvironmentFault`."""
        self._groups = self._grouped(parts)
        if self._groups or self.path.exists():
            await self._open_store()
        if self._store is None:
            return
        rows = await self._store.current()
        for group in self._groups:
            rows = await self._restore(group, rows)
            for one in group.numbered:
                one.numbering.hold_back()
        await self._set_aside_rest(rows)

    async def run(self) -> None:
        """Store snapshots until cancelled."""
        while True:
            self._regrouped.clear()
            keeping = [asyncio.create_task(self._keep(group)) for group in self._groups]
            changed = asyncio.create_task(self._regrouped.wait())
            try:
                done, _ = await asyncio.wait([changed, *keeping], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (changed, *keeping):
                    task.cancel()
                await asyncio.wait([changed, *keeping])
            for task in done:
                task.result()

    async def prepare(self, parts: Assembly) -> None:
        """Open the file if `parts` needs it, so that `hand_over` cannot fail. Raises `EnvironmentFault`."""
        stages = [stage for pipeline in parts.pipelines.values() for stage in pipeline.stages]
        if self._store is None and any(stage.step.is_stateful for stage in stages):
            await self._open_store()

    async def hand_over(self, parts: Assembly) -> None:
        """Continue with another assembly, after the last batch has passed the steps of the previous one.

        A new step receives the state of a previous step with the same key, without a read from the file.
        """
        before, self._groups = self._groups, self._grouped(parts)
        kept = {stage.step for group in self._groups for stage in group.stages}
        states: dict[StateKey, list[bytes]] = {}
        for group in before:
            for stage, key, state in group.final_states():
                if stage.step not in kept:
                    states.setdefault(key, []).append(state)
        old_stages = {stage.step for group in before for stage in group.stages}
        seen = {one.numbering.name: one.numbering for group in before for one in group.numbered}
        for group in self._groups:
            for stage in group.stages:
                if stage.step not in old_stages and states.get(key_of(stage.step)):
                    await self._restore_step(stage, states[key_of(stage.step)].pop(0))
            for one in group.numbered:
                known = seen.pop(one.numbering.name, None)
                if known is not None and known is not one.numbering:
                    one.numbering.skip_to(known.handed_on)
                one.numbering.hold_back()
        for numbering in seen.values():
            numbering.release(None)
        await self._forget_gone([group.final for group in before if group.final is not None])
        self._regrouped.set()

    async def finish(self) -> None:
        """Store the states after the last batch, if all its records are committed."""
        for group in self._groups:
            final = group.final
            why = "it could not be taken" if final is None else group.uncommitted(final)
            left = group.stages
            if final is not None and not why:
                await self._put(group, final)
                why, stored = "it could not be taken", [stage for stage, _, _ in final.states]
                left = [stage for stage in group.stages if stage not in stored]
            if left:
                log.warning(
                    "state_not_stored",
                    steps=", ".join(map(_place, left)),
                    why=why,
                    hint="the next start uses the state stored before",
                )

    async def close(self) -> None:
        """Release the file."""
        if self._store is not None:
            store, self._store = self._store, None
            store.db.recovery.remove_user(self._prepare_new_file)
            await self._databases.release(store.db)

    async def _open_store(self) -> None:
        store = StateStore(await self._databases.acquire(self.path, "full"))
        try:
            await store.open()
        except BaseException:
            await self._databases.release(store.db)
            raise
        self._store = store
        store.db.recovery.add_user(self._prepare_new_file)

    async def _prepare_new_file(self) -> None:
        """Make the table again and store every state again, because the file was replaced."""
        if self._store is not None:
            await self._store.open()
        for group in self._groups:
            group.stored = []

    def _grouped(self, parts: Assembly) -> list[Group]:
        groups = []
        for workers in parts.workers.values():
            stages = [s for pipeline in workers.pipelines for s in pipeline.stages if s.step.is_stateful]
            if not stages:
                continue
            numbered = []
            for feed in workers.feeds:
                source = feed.frames.source
                numbering = parts.sources[source].numbering()
                if numbering is not None:
                    numbered.append(Numbered(source, numbering, feed))
            group = Group(workers, stages, numbered)
            workers.on_end = partial(self._at_end, group)
            groups.append(group)
        return groups

    async def _at_end(self, group: Group) -> None:
        async with group.workers.gate.shut():  # a snapshot may be under way
            group.final = await self._take_snapshot(group)

    async def _keep(self, group: Group) -> None:
        took_s = 0.0
        while True:
            await asyncio.sleep(max(self._interval_s, took_s * REST))
            async with group.workers.gate.shut():
                if group.workers.has_ended:  # a closed step has no state, and a step of others may be at work
                    continue
                began_s = self._clock().mono_s
                snapshot = await self._take_snapshot(group)
                took_s = self._clock().mono_s - began_s
            if snapshot is None or group.workers.has_ended:
                continue
            while why := group.uncommitted(snapshot):
                self._note_delay(group, why)
                await asyncio.sleep(POLL_S)
            group.delayed_since_mono_s, group.delay_logged = None, False
            await asyncio.shield(asyncio.ensure_future(self._put(group, snapshot)))

    def _note_delay(self, group: Group, why: str) -> None:
        """Log once that no state of the group is stored, after `DELAY_INTERVALS` of that."""
        now_mono_s = self._clock().mono_s
        if group.delayed_since_mono_s is None:
            group.delayed_since_mono_s = now_mono_s
        delayed_s = now_mono_s - group.delayed_since_mono_s
        if delayed_s < DELAY_INTERVALS * self._interval_s or group.delay_logged:
            return
        group.delay_logged = True
        log.warning(
            "state_delayed",
            steps=", ".join(_place(stage) for stage in group.stages),
            why=why,
            delayed_s=round(delayed_s, 1),
            hint="after a crash the steps go on from the older state, and the source reads on from there",
        )

    async def _take_snapshot(self, group: Group) -> Snapshot | None:
        """A snapshot of all states of the group at one moment, without those that cannot be stored.

        None if none can be stored, or if one cannot and a source numbers its frames: such a source reads
        again from the last state, and the states of one moment belong together.
        """
        if source := group.holding_source:  # so no number separates frames that the steps have seen
            self._note_delay(group, f"the codec of source {source} holds frames")
            return None
        names = {pipeline.name for pipeline in group.workers.pipelines}
        deliveries = [book for book in self._books.deliveries.values() if book.pipeline in names]
        snapshot = await group.snapshot(deliveries)
        for stage, error in snapshot.failed:
            failure = failure_of(error, stage.step.context.base_dir)
            if failure.kind != group.not_taken.get(stage):
                group.not_taken[stage] = failure.kind
                log.error(
                    "state_not_taken",
                    step=_place(stage),
                    error=failure.text,
                    hint="its state stored before is kept, and the positions of sources that read again",
                    exc_info=error,
                )
        taken, snapshot.states = snapshot.states, []
        for stage, key, state in taken:
            group.not_taken.pop(stage, None)
            if len(state) <= self.max_bytes:
                group.too_large.discard(stage)
                snapshot.states.append((stage, key, state))
                continue
            if stage not in group.too_large:
                group.too_large.add(stage)
                log.error(
                    "state_too_large",
                    step=_place(stage),
                    bytes=len(state),
                    max_bytes=self.max_bytes,
                    hint="the state is not stored: raise [daemon] max_state, or let the step keep less",
                )
        is_whole = len(snapshot.states) == len(group.stages)
        return snapshot if is_whole or (snapshot.states and not group.numbered) else None

    async def _put(self, group: Group, snapshot: Snapshot) -> None:
        if self._store is None:
            return
        content = [(snapshot.inputs, b""), *((_place(stage), state) for stage, _, state in snapshot.states)]
        if content != group.stored:
            at = from_epoch(self._clock().wall_s)
            rows = [
                StoredState(key, stage.name, at, snapshot.inputs, state)
                for stage, key, state in snapshot.states
            ]
            steps = [(stage.name, key) for stage, key, _ in snapshot.states]
            try:
                await self._store.replace(steps, rows)
            except (SinkError, sqlite3.Error) as error:
                log.warning("state_not_written", path=str(self.path), why=str(error), hint="tried again")
                return
            group.stored = content
        for one in group.numbered:
            one.numbering.release(snapshot.cuts[one.numbering.name])

    async def _restore(self, group: Group, rows: list[StoredState]) -> list[StoredState]:
        """Restore the steps of the group. Returns the rows that fit none of them."""
        left: list[StoredState] = []
        waiting = list(group.stages)
        cuts: dict[str, int] = {}
        for row in rows:
            stage = next((stage for stage in waiting if key_of(stage.step) == row.key), None)
            if stage is None:
                left.append(row)
            elif why := misfit(row.inputs, group.numbered, cuts) or await self._restore_step(
                stage, row.state
            ):
                await self._set_aside(row, why)
            else:
                waiting.remove(stage)
                cuts.update(cuts_of(row.inputs))
        for one in group.numbered:
            if one.numbering.name in cuts:
                one.numbering.skip_to(cuts[one.numbering.name])
        return left

    async def _restore_step(self, stage: Stage, state: bytes) -> str:
        """Restore the step. Returns the reason if the step refuses the state, else an empty text.

        A step that had nothing to store goes on as it was opened.
        """
        if not state:
            return ""
        try:
            await stage.restore(state, self._clock())
        except Exception as error:  # noqa: BLE001 - user code may raise anything
            stage.failed(error)
            return f"the step cannot restore it: {type(error).__name__}: {text_of(error)}"
        log.info("state_restored", step=_place(stage), bytes=len(state))
        return ""

    async def _set_aside_rest(self, rows: list[StoredState]) -> None:
        keys = [key_of(stage.step) for group in self._groups for stage in group.stages]
        for row in rows:
            if row.state:
                await self._set_aside(row, why_not(row.key, keys))
            elif self._store is not None:
                await self._store.delete(row)

    async def _forget_gone(self, last: Sequence[Snapshot]) -> None:
        """Set aside the states of steps that a reload has removed, as they were after their last batch."""
        if self._store is None:
            return
        keys = [key_of(stage.step) for group in self._groups for stage in group.stages]
        at = from_epoch(self._clock().wall_s)
        with suppress(SinkError, sqlite3.Error):  # the next start sets aside what is stored
            for snapshot in last:
                for stage, key, state in snapshot.states:
                    if state and key not in keys:
                        row = StoredState(key, stage.name, at, snapshot.inputs, state)
                        await self._store.replace([(stage.name, key)], [row])
            await self._set_aside_rest([row for row in await self._store.current() if row.key not in keys])

    async def _set_aside(self, row: StoredState, why: str) -> None:
        log.warning(
            "state_set_aside",
            step=f"{row.key.pipeline} > {row.step}",
            why=why,
            saved_at=row.saved_at,
            hint="the step starts without it; `streamd state list` shows it, `streamd state drop` deletes it",
        )
        if self._store is not None:
            await self._store.set_aside(row, from_epoch(self._clock().wall_s), why)


def _place(stage: Stage) -> str:
    return f"{stage.step.context.pipeline} > {stage.name}"
