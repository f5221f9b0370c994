"""`streamd dead-letters replay`: sends letters through the pipelines of the current configuration again."""

import argparse
import asyncio
import json
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, TextIO

from streamd.cli.query import QueryRefused, only_reading, open_read_only, positive
from streamd.core.ack import Status
from streamd.core.listed import listed
from streamd.dead_letters.filter import LetterFilter
from streamd.dead_letters.reader import missing

if TYPE_CHECKING:  # these imports load every component, and reading letters does not need them
    from streamd.config import Loaded
    from streamd.replay.letters import ReplayPlan
    from streamd.replay.outcome import Outcome
    from streamd.replay.replay import Replay


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments other than the filters."""
    parser.add_argument("--limit", type=positive, metavar="N", help="replay at most N letters, oldest first")
    parser.add_argument("--dry-run", action="store_true", help="only show which letters would be sent")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the outcome as one JSON object; if a sink prints to stdout, as the last line on stderr",
    )
    parser.add_argument("--config", metavar="FILE", help="the configuration with the pipelines")


def main(options: argparse.Namespace, wanted: LetterFilter) -> int:
    """Replay the selected letters. Returns 0 if none of them is left, else 1.

    Raises `ConfigError`, `EnvironmentFault` and `QueryRefused`.
    """
    from streamd.host.running import loaded_where_it_runs  # noqa: PLC0415 - only this action loads components
    from streamd.replay.letters import plan  # noqa: PLC0415

    loaded = loaded_where_it_runs(options.config)
    file = loaded.state_dir / loaded.config.dead_letters.path
    with closing(open_read_only(file)) as connection, only_reading(connection):
        refuse_missing(connection, wanted)
        planned = plan(connection, wanted, options.limit)
    if options.dry_run:
        return _print_plan(planned, loaded, as_json=options.json)
    return send(planned, loaded, as_json=options.json)


def refuse_missing(connection: sqlite3.Connection, wanted: LetterFilter) -> None:
    """Raises `QueryRefused` if the filter names numbers that no letter has."""
    absent = missing(connection, wanted.ids or ())
    if absent:
        words = "is no dead letter" if len(absent) == 1 else "are no dead letters"
        numbers = listed(map(str, absent))
        raise QueryRefused(f"there {words} {numbers}: replayed, purged, or evicted from a full file")


def send(planned: "ReplayPlan", loaded: "Loaded", *, as_json: bool) -> int:
    """Replay the plan and print its outcome. Returns 0 if none of its letters is left, else 1."""
    from streamd.logs import logs  # noqa: PLC0415 - only a replay needs every component
    from streamd.replay.replay import Replay  # noqa: PLC0415

    logs.configure("warning", loaded.config.log.format)
    replay = Replay(loaded, planned)
    outcome = _run(replay) if planned.letters else replay.outcome
    for difference in outcome.differences:
        print(f"streamd: books do not balance: {difference}", file=sys.stderr)
    # With a stdout sink, standard output carries records only, even if no letter was replayed.
    printing = any(sink.type == "stdout" for sink in loaded.config.sinks.values())
    _print_outcome(outcome, planned, sys.stderr if printing else sys.stdout, as_json=as_json)
    return 0 if outcome.gone == planned.letters and not outcome.differences else 1


def _run(replay: "Replay") -> "Outcome":
    """Run the replay. A signal stops it, and a second signal ends the process at once."""
    import uvloop  # noqa: PLC0415 - only a replay needs it

    async def run() -> "Outcome":
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_DFL)
            replay.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal)
        return await replay.run(_progress(replay.plan.letters, cleanup))

    with ExitStack() as cleanup, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def _progress(total: int, cleanup: ExitStack) -> Callable[[int], None]:
    if not sys.stderr.isatty():
        return lambda _: None
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import Progress  # noqa: PLC0415

    bar = cleanup.enter_context(Progress(console=Console(stderr=True), transient=True))
    task = bar.add_task("replaying", total=total)
    return lambda done: bar.update(task, completed=done)


def _print_plan(plan: "ReplayPlan", loaded: "Loaded", *, as_json: bool) -> int:
    from streamd.replay.ways import why_not  # noqa: PLC0415 - loads every component

    ways = [(origin, count, why_not(loaded, origin)) for origin, count in plan.origins.items()]
    if as_json:
        lines = [{**origin._asdict(), "letters": n, "impossible": why} for origin, n, why in ways]
        print(json.dumps({"letters": plan.letters, "ways": lines}))
    else:
        print(f"{_letters(plan.letters)} would be sent")
        for origin, count, why in ways:
            to = f" to the sink {origin.sink!r} only" if origin.sink is not None else ""
            by = f"the pipeline {origin.pipeline!r}" if origin.pipeline is not None else "every pipeline"
            entry = f"its codec through {by}" if origin.kind == "frame" else f"the first step of {by}"
            way = f"cannot be replayed: {why}" if why else f"from {entry}{to}"
            print(f"  {count:,} of the source {origin.source!r}: {way}")
    return 1 if any(why for _, _, why in ways) else 0


def _print_outcome(outcome: "Outcome", plan: "ReplayPlan", out: TextIO, *, as_json: bool) -> None:
    fates = outcome.fates
    numbers = {
        "letters": plan.letters,
        "stored": fates[Status.DELIVERED],
        "filtered": fates[Status.FILTERED],
        "rejected": fates[Status.REJECTED],
        "kept": fates[Status.DROPPED] + fates[Status.FAILED],
        "held": outcome.held.total(),
        "impossible": outcome.impossible.total(),
        "not_reached": plan.letters - outcome.done,
        "unconfirmed": outcome.unconfirmed,
    }
    if as_json:
        by = {"held_by": +outcome.held, "why_impossible": +outcome.impossible}
        print(json.dumps({**numbers, **by}), file=out)
        return
    explained = {
        "stored": "stored, and no longer in the dead letters",
        "filtered": "filtered, and no longer in the dead letters",
        "rejected": "rejected again: in the dead letters with the new reason, under new numbers",
        "kept": "not stored in every sink: still in the dead letters",
        "not_reached": "not reached: still in the dead letters",
        "unconfirmed": "records sent over a connection that broke: the peer may not have read them",
    }
    print(f"{_letters(plan.letters)}:" if plan.letters else "no dead letters match", file=out)
    for name, words in explained.items():
        if numbers[name]:
            print(f"  {numbers[name]:,} {words}", file=out)
    for step, count in (+outcome.held).items():
        print(f"  {count:,} held by step {step}, whose state a replay does not store: still there", file=out)
    for why, count in (+outcome.impossible).items():
        print(f"  {count:,} cannot be replayed: {why}", file=out)


def _letters(count: int) -> str:
    return "1 dead letter" if count == 1 else f"{count:,} dead letters"
