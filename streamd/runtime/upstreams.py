"""Connects the steps of pipelines to what they may ask about their sources."""

import asyncio
from collections.abc import Callable, Sequence

from streamd.core.now import Now
from streamd.runtime.feed import Feed
from streamd.runtime.gate import Gate
from streamd.runtime.pipeline import Pipeline


def connect(pipeline: Pipeline, feeds: Sequence[Feed], now: Now) -> None:
    """Let the steps of a pipeline see the sources that it reads. Called when its workers begin.

    A step that was connected before, because a reload keeps it, has listened since then.
    """
    routes = [(feed, route) for feed in feeds for route in feed.routes if route.pipeline is pipeline]

    def waiting() -> int:
        return sum(feed.buffer.records for feed, _ in routes)

    def lost() -> int:
        return sum(
            sum(feed.frames.dropped.values())
            + sum(route.records.dropped.values())
            + feed.frames.counters["kernel_dropped", ""]
            for feed, route in routes
        )

    for stage in pipeline.stages:
        upstream = stage.step.context.upstream
        upstream.waiting, upstream.lost = waiting, lost
        if all(feed.resumes for feed, _ in routes):
            upstream.since_wall_s = None
        elif upstream.connected_wall_s is None:
            upstream.since_wall_s = now.wall_s
        else:
            upstream.since_wall_s = upstream.connected_wall_s
        upstream.connected_wall_s = upstream.connected_wall_s or now.wall_s


def connect_claims(feeds: Sequence[Feed]) -> None:
    """Let the sources claim inputs at the sinks of these feeds. Called when the workers begin."""
    for feed in feeds:
        if feed.claims is not None:
            feed.claims.connect()


def keep_states(
    feeds: Sequence[Feed], gate: Gate, mono_s: Callable[[], float], tasks: asyncio.TaskGroup
) -> None:
    """Store the states of claimed inputs from time to time, until `finish_claims`."""
    for feed in feeds:
        if feed.claims is not None and feed.claims.keeps_state:
            tasks.create_task(feed.claims.run(gate, mono_s))


async def finish_claims(feeds: Sequence[Feed]) -> None:
    """Store the states after the last batch."""
    for feed in feeds:
        if feed.claims is not None:
            await feed.claims.finish()
