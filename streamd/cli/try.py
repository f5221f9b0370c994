"""`streamd try`: sends a sample through a configuration without a daemon, and prints each frame's fate."""  # noqa: N999 - a command's name

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from streamd.cli import CONFIG_HELP
from streamd.cli._own_output import own_output
from streamd.cli._table import escape_json, text_of
from streamd.core.errors import ConfigError
from streamd.core.listed import listed
from streamd.core.printable import escape

if TYPE_CHECKING:  # these imports load every component
    from streamd.config import Loaded
    from streamd.core.dead_letter import DeadLetter
    from streamd.trial.trial import Fate, Trial

_CHUNK_BYTES = 1 << 16
_SHOWN_CHARS = 200


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--config", metavar="FILE", help=CONFIG_HELP)
    parser.add_argument(
        "--source", metavar="NAME", help="the source of the sample; required if there are several"
    )
    parser.add_argument("--pipeline", metavar="NAME", help="use only this one of the source's pipelines")
    parser.add_argument("--whole", action="store_true", help="read standard input as one frame (datagram)")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each frame and the sums")
    parser.epilog = (
        "Example: streamd try --config streamd.toml < sample.ndjson."
        " The source's framing cuts the sample; without a framing each line is a frame. No source or sink is"
        " opened, and nothing is stored or sent. Exit code: 0 good, 1 something was rejected or lost,"
        " 2 the configuration is wrong."
    )


def main(args: argparse.Namespace) -> int:
    """Returns 0 if nothing was rejected or lost, else 1. Raises `ConfigError` or `EnvironmentFault`."""
    import uvloop  # noqa: PLC0415 - imported when the command runs, not for its help

    from streamd import config  # noqa: PLC0415
    from streamd.logs import logs  # noqa: PLC0415
    from streamd.trial.trial import Trial  # noqa: PLC0415

    loaded = config.load(config.find(args.config))
    source, pipelines = _chosen(loaded, args.source, args.pipeline)
    if sys.stdin is None or sys.stdin.isatty():
        raise ConfigError("nothing to try: give a sample on standard input: streamd try < sample.ndjson")
    logs.configure("warning", loaded.config.log.format)
    with own_output() as out, tempfile.TemporaryDirectory(prefix="streamd-try-") as folder:
        trial = Trial(loaded, source, pipelines, Path(folder))
        sums: Counter[str] = Counter()

        def report(fate: "Fate") -> None:
            _count(fate, sums)
            (_print_json if args.json else _print)(fate, out)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            differences = runner.run(trial.run(_chunks(), report, whole=args.whole))
        _print_sums(trial, sums, differences, out, as_json=args.json)
    return 1 if sums["rejected"] or trial.lost or differences else 0


def _chosen(loaded: "Loaded", source: str | None, pipeline: str | None) -> tuple[str, list[str]]:
    """The source, and the pipelines that read it. Raises `ConfigError` with the existing names."""
    pipelines = loaded.config.pipelines
    if pipeline is not None and pipeline not in pipelines:
        raise ConfigError(f"there is no pipeline {pipeline!r}: there are {listed(pipelines)}")
    sources = list(loaded.config.sources) if pipeline is None else pipelines[pipeline].sources
    if source is None:
        if len(sources) > 1:
            of = "" if pipeline is None else f" of the pipeline {pipeline!r}"
            raise ConfigError(f"name the source{of} of the sample with --source: {listed(sources)}")
        source = sources[0]
    elif source not in sources:
        where = "there is no source" if pipeline is None else f"the pipeline {pipeline!r} reads no source"
        raise ConfigError(f"{where} {source!r}: there are {listed(sources)}")
    readers = [name for name, settings in pipelines.items() if source in settings.sources]
    return source, readers if pipeline is None else [pipeline]


def _chunks() -> Iterator[bytes]:
    while chunk := os.read(0, _CHUNK_BYTES):
        yield chunk


def _count(fate: "Fate", sums: Counter[str]) -> None:
    sums["frames"] += fate.number > 0
    sums["stored"] += sum(stored.count for stored in fate.stored)
    sums["filtered"] += sum(filtered.count for filtered in fate.filtered)
    sums["unmatched"] += sum(count for _, _, count in fate.unmatched)
    sums["held"] += sum(held.count for held in fate.absorbed)
    sums["rejected"] += len(fate.rejected)


def _shortened(text: str) -> str:
    shown = escape(text)
    return (
        shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]}… [{len(shown) - _SHOWN_CHARS} more]"
    )


def _print(fate: "Fate", out: TextIO) -> None:
    flag = f"  ({fate.flag})" if fate.flag else ""
    if fate.number:
        print(f"{fate.number}  {_shortened(text_of(fate.payload))}{flag}", file=out)
    else:
        print("end of the sample, for the frames that the codec has held", file=out)
    for stored in fate.stored:
        new = "record" if stored.count == 1 else f"{stored.count} records"
        print(
            f"   stored    {new} by pipeline {stored.pipeline} in sink {stored.sink} ({stored.type})",
            file=out,
        )
        for row in stored.rows:
            cells = ", ".join(f"{name} = {_cell(value)}" for name, value in row.items())
            print(f"             {_shortened(cells)}", file=out)
        for line in stored.lines:
            print(f"             {_shortened(line)}", file=out)
    for filtered in fate.filtered:
        print(
            f"   filtered  {filtered.count} by pipeline {filtered.pipeline}, step {filtered.step}", file=out
        )
    for pipeline, sink, count in fate.unmatched:
        print(f"   filtered  {count} by pipeline {pipeline}: the where of sink {sink} is not true", file=out)
    for letter in fate.rejected:
        place = _place(letter)
        detail = f": {escape(letter.detail)}" if letter.detail else ""
        print(f"   rejected  {place}: {letter.reason}{detail}", file=out)
        if letter.payload != fate.payload:
            print(f"             {_shortened(_content(letter))}", file=out)
    _print_held(fate, out)


def _print_held(fate: "Fate", out: TextIO) -> None:
    for held in fate.absorbed:
        print(f"   held      {held.count} by step {held.step} of pipeline {held.pipeline}", file=out)
    if fate.held:
        print("   held      by the codec, until further frames arrive", file=out)
    elif not (fate.stored or fate.filtered or fate.unmatched or fate.absorbed or fate.rejected):
        print("   no record", file=out)


def _cell(value: Any) -> str:
    return "NULL" if value is None else text_of(value)


def _place(letter: "DeadLetter") -> str:
    words = [f"pipeline {letter.pipeline}"] if letter.pipeline else []
    words.append(f"sink {letter.sink}" if letter.sink else f"step {letter.stage}")
    if letter.stage == "decode":
        words = ["codec"]
    return ", ".join(words)


def _content(letter: "DeadLetter") -> str:
    from streamd.dead_letters.row import json_text  # noqa: PLC0415 - only for a reject

    return text_of(letter.payload) if isinstance(letter.payload, bytes) else json_text(letter.payload)


def _print_json(fate: "Fate", out: TextIO) -> None:
    import base64  # noqa: PLC0415

    document: dict[str, Any] = (
        {"frame": fate.number, **_bytes(fate.payload)} if fate.number else {"end": True}
    )
    if fate.flag:
        document["flag"] = fate.flag
    if fate.held:
        document["held"] = True
    document["stored"] = [
        {
            "pipeline": stored.pipeline,
            "sink": stored.sink,
            "type": stored.type,
            "records": stored.count,
            "rows": [
                {
                    name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
                    for name, value in row.items()
                }
                for row in stored.rows
            ],
            "lines": stored.lines,
        }
        for stored in fate.stored
    ]
    document["filtered"] = [
        {"pipeline": filtered.pipeline, "step": filtered.step, "records": filtered.count}
        for filtered in fate.filtered
    ] + [{"pipeline": pipeline, "sink": sink, "records": count} for pipeline, sink, count in fate.unmatched]
    if fate.absorbed:
        document["held_by"] = [
            {"pipeline": held.pipeline, "step": held.step, "records": held.count} for held in fate.absorbed
        ]
    document["rejected"] = [
        {
            "stage": letter.stage,
            "pipeline": letter.pipeline,
            "sink": letter.sink,
            "reason": letter.reason,
            "detail": letter.detail,
            "kind": letter.kind,
            **_bytes(letter.payload if isinstance(letter.payload, bytes) else _content(letter).encode()),
        }
        for letter in fate.rejected
    ]
    print(escape_json(json.dumps(document)), file=out)


def _bytes(payload: bytes) -> dict[str, str]:
    import base64  # noqa: PLC0415

    try:
        return {"payload": payload.decode()}
    except UnicodeDecodeError:
        return {"payload_base64": base64.b64encode(payload).decode()}


_SHOWN_IF_ANY = ("unmatched", "held")


def _print_sums(
    trial: "Trial", sums: Counter[str], differences: list[str], out: TextIO, *, as_json: bool
) -> None:
    names = ("frames", "stored", "filtered", "unmatched", "held", "rejected")
    if as_json:
        counts = {name: sums[name] for name in names}
        print(json.dumps({**counts, "lost": trial.lost, "balanced": not differences}), file=out)
    else:
        for lost in trial.lost:
            print(f"lost: {escape(lost)}", file=out)
        frames = "1 frame" if sums["frames"] == 1 else f"{sums['frames']:,} frames"
        fates = [f"{sums[name]:,} {name}" for name in names[1:] if sums[name] or name not in _SHOWN_IF_ANY]
        words = ", ".join([frames, *fates])
        balance = "the books balance" if not differences else "books do not balance"
        print(f"{words}; {balance}", file=out)
    for difference in differences:
        print(f"streamd: books do not balance: {difference}", file=sys.stderr)
