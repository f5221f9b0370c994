"""The records that each codec decodes in a second, alone in this process, compared with `json.loads`.

A batch has 512 records and is made just before it is measured. The codec and the baseline take turns, and the
cheapest turn of each counts. The garbage collector is off meanwhile.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from pydantic import TypeAdapter

from streamd import registry
from streamd.bench.codec_cases import CASES, FUNCTION, CodecCase
from streamd.bench.plan import Plan
from streamd.bench.row import BenchError, Row
from streamd.bench.steps import READ, no_collection
from streamd.config.brought_schemas import brought_fields
from streamd.core.contracts import AnyCodec, Decoded
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.schema import Schema, SchemaField

_NOW = Now(1_769_846_400.0, 1.0)
"""2026-01-31T08:00:00Z, about when the frames were sent."""


def scenario(name: str) -> Callable[[Plan], list[Row]]:
    """The measurement of the case of this name."""
    return lambda plan: [_row(name, CASES[name], plan)]


def opened(case: CodecCase, folder: Path) -> AnyCodec:
    """The codec of a case, with its files in `folder`."""
    (folder / "steps.py").write_text(FUNCTION)
    cls = registry.load("codecs", case.codec)
    schema = None
    if case.schema == "brought":
        schema = Schema(case.codec, brought_fields(cls))
    elif case.schema is not None:
        schema = Schema("bench", TypeAdapter(dict[str, SchemaField]).validate_python(case.schema))
    codec: AnyCodec = cls(cls.Config(**case.options), schema)
    codec.load(folder)
    codec.typed = schema is not None
    codec.place_behind(streams=False, cut=False)
    return codec


def decoded(codec: AnyCodec, case: CodecCase, first: int, count: int) -> tuple[Decoded, float]:
    """The result of `count` frames from number `first` on, and the CPU seconds for it.

    Raises `BenchError` if they are not all decoded.
    """
    frames = Frames.of([case.frame(first + place) for place in range(count)], "127.0.0.1:5", _NOW.wall_s)
    started_s = time.process_time()
    done = codec.decode(frames, _NOW)
    took_s = time.process_time() - started_s
    if done.rejects or len(done.records) != count * case.records:
        why = f": {done.rejects[0].reason}" if done.rejects else ""
        raise BenchError(f"{case.codec} made {len(done.records)} records of {count} frames{why}")
    return done, took_s


def _row(name: str, case: CodecCase, plan: Plan) -> Row:
    plan.step(f"codec_{name}")
    rates, loads_rates = [], []
    frames = READ // case.records
    with plan.folder() as folder, no_collection():
        codec, at = opened(case, folder), 0
        for _ in range(1 + plan.step_turns):
            took_s = loads_s = 0.0
            for _ in range(plan.step_batches):
                done, spent_s = decoded(codec, case, at, frames)
                at += frames
                took_s += spent_s
                loads_s += _loads_s(_dicts(codec, done))
            records = plan.step_batches * frames * case.records
            rates.append(records / took_s)
            loads_rates.append(records / loads_s)
    rates, loads_rates = rates[1:], loads_rates[1:]  # the first turn fills what the codec remembers
    goal = case.goal_per_s
    kind = "into typed records" if case.schema else "into dicts"
    return Row(
        name=f"codec_{name}",
        what=f"Codec {case.codec}: {case.what}, {kind}",
        value=max(rates),
        unit="records/s",
        note=f"{1e6 / max(rates):.2f} µs a record",
        baseline=max(loads_rates),
        baseline_what="json.loads of the same records as JSON",
        goal=f"≥ {goal:,}/s" if goal else "",
        reached=max(rates) >= goal if goal and plan.judge else None,
        details={"per_s": rates, "loads_per_s": loads_rates, "options": dict(case.options)},
    )


def _dicts(codec: AnyCodec, done: Decoded) -> list[Any]:
    if done.typed and codec.schema is not None:
        return list(map(codec.schema.to_dict, done.records))
    return done.records


def _loads_s(records: list[Any]) -> float:
    """CPU seconds of `json.loads` for the records as JSON."""
    lines = [msgspec.json.encode(record) for record in records]
    started_s = time.process_time()
    made = [json.loads(line) for line in lines]
    took_s = time.process_time() - started_s
    del made
    return took_s
