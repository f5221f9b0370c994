"""Batches divided by key: the laws of dividing and joining, and the order of each key in real processes."""

import asyncio
import random
import textwrap
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from streamd.core.contracts import BadRecord, Processed, StepContext
from streamd.core.now import Now
from streamd.core.record_key import RecordKey
from streamd.runtime.offload import Offloaded
from streamd.runtime.offload_partitions import divided, joined, lane_of
from streamd.steps.python import Python

NOW = Now(1e9, 100.0)
key_of = RecordKey(["k"], None).of


def test_a_key_has_its_process_in_every_run_and_all_processes_get_keys() -> None:
    assert [lane_of(f"s-{n}", 4) for n in range(8)] == [0, 2, 0, 2, 1, 3, 1, 3]
    assert lane_of(b"[1]", 4) == lane_of("[1]", 4)
    counts = [0] * 7
    for n in range(7000):
        counts[lane_of(f"sensor-{n}", 7)] += 1
    assert min(counts) > 800


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_record_with_a_key_is_in_one_part_and_the_others_say_why(count: int) -> None:
    records = [{"k": k, "n": n} for n, k in enumerate(["a", 1, 1.0, True, "1", None, [2], float("nan"), "a"])]
    parts, rejects = divided(records, key_of, count)
    assert [(bad.record["n"], bad.reason) for bad in rejects] == [(5, "key:missing"), (7, "key:missing")]
    places = sorted(place for part in parts for place in part.places)
    assert places == [0, 1, 2, 3, 4, 6, 8]
    for part in parts:
        assert part.records == [records[place] for place in part.places]
        assert {lane_of(key_of(record), count) for record in part.records} == {part.lane}


def made(part_records: list[Any], rng: random.Random, *, owned: bool) -> Processed:
    """What a step could make of the records: none, one, or three of each, or a reject."""
    done = Processed([], owners=[] if owned else None)
    for record in part_records:
        times = rng.choice([0, 1, 1, 3, None])
        if times is None:
            done.rejects.append(BadRecord(record, "r"))
            continue
        done.records += [record | {"copy": copy} for copy in range(times)]
        done.filtered += not times
        done.emitted += max(0, times - 1)
        if done.owners is not None:
            done.owners += [record] * times
    return done


@pytest.mark.parametrize("seed", range(20))
def test_results_that_know_their_records_are_joined_in_the_order_of_the_batch(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - a test's own dice
    records = [{"k": f"k{rng.randrange(9)}", "n": n} for n in range(rng.randrange(1, 60))]
    parts, _ = divided(records, key_of, 4)
    outcomes = [made(part.records, rng, owned=True) for part in parts]
    done = joined(parts, outcomes)
    places = [(record["n"], record["copy"]) for record in done.records]
    assert places == sorted(places)
    rejected = [bad.record["n"] for bad in done.rejects]
    assert rejected == sorted(rejected)
    assert len(records) + done.emitted == len(done.records) + done.filtered + len(done.rejects)


@pytest.mark.parametrize("seed", range(20))
def test_results_that_do_not_know_their_records_keep_the_order_of_each_part(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - a test's own dice
    records = [{"k": f"k{rng.randrange(9)}", "n": n} for n in range(rng.randrange(1, 60))]
    parts, _ = divided(records, key_of, 4)
    done = joined(parts, [made(part.records, rng, owned=False) for part in parts])
    assert len(records) + done.emitted == len(done.records) + done.filtered + len(done.rejects)
    of_key = defaultdict(list)
    for record in done.records:
        of_key[record["k"]].append((record["n"], record["copy"]))
    assert all(places == sorted(places) for places in of_key.values())


def test_results_one_for_one_beside_rejects_are_joined_exactly() -> None:
    records = [{"k": f"k{n % 5}", "n": n} for n in range(50)]
    parts, _ = divided(records, key_of, 3)
    outcomes = [
        Processed(
            [dict(record) for record in part.records if record["n"] % 7],
            rejects=[BadRecord(record, "r") for record in part.records if not record["n"] % 7],
        )
        for part in parts
    ]
    assert [record["n"] for record in joined(parts, outcomes).records] == [n for n in range(50) if n % 7]


def test_a_part_of_which_all_is_rejected_or_no_part_joins_too() -> None:
    records = [{"k": "a", "n": n} for n in range(2)]
    parts, _ = divided(records, key_of, 3)
    done = joined(parts, [Processed([{"n": 9}], emitted=1, rejects=[BadRecord(r, "r") for r in records])])
    assert (done.records, len(done.rejects), done.emitted) == ([{"n": 9}], 2, 1)
    assert joined([], []) == Processed([])


@pytest.fixture
async def by_key(tmp_path: Path) -> AsyncIterator[Callable[..., Offloaded]]:
    """A python step in three processes by the field k."""
    steps: list[Offloaded] = []

    def make(body: str, head: str = "def step(record):", **options: Any) -> Offloaded:
        text = f"import os, time, streamd\nseen = []\n{head}\n{textwrap.indent(body, '    ')}\n"
        (tmp_path / "steps.py").write_text(text)
        config = Python.Config.model_validate(
            {
                "function": "steps.py:step", "executor": "process", "timeout": "20s",
                "concurrency": 3, "partition_by": ["k"], **options,
            }
        )  # fmt: skip
        step = Python(config, StepContext("python[0]", "p", None, tmp_path))
        assert step.offload is not None
        steps.append(Offloaded(step, step.offload))
        return steps[-1]

    yield make
    for step in steps:
        await step.close()


async def test_a_key_stays_in_its_process_and_the_batch_in_its_order(
    by_key: Callable[..., Offloaded],
) -> None:
    step = by_key(
        "if record['n'] % 5 == 0: return streamd.DROP\n"
        "if record['n'] % 5 == 1: raise ValueError\n"
        "if record['n'] % 5 == 2: return [record | {'pid': os.getpid()}, record | {'pid': os.getpid()}]\n"
        "return record | {'pid': os.getpid()}"
    )
    pids = defaultdict(set)
    for _ in range(3):
        records = [{"k": f"k{n % 6}", "n": n} for n in range(30)] + [{"n": 99}]
        done = await step.process(records, NOW)
        twice = [n for n in range(30) for _ in range([0, 0, 2, 1, 1][n % 5])]
        assert [record["n"] for record in done.records] == twice
        assert [(bad.record["n"], bad.reason) for bad in done.rejects] == [
            *((n, "exception") for n in range(1, 30, 5)), (99, "key:missing"),
        ]  # fmt: skip
        assert (done.filtered, done.emitted) == (6, 6)
        for record in done.records:
            pids[record["k"]].add(record["pid"])
    assert all(len(some) == 1 for some in pids.values())
    assert len(set.union(*pids.values())) == 3


async def test_no_batch_overtakes_another_within_a_key_however_slow_a_process_is(
    by_key: Callable[..., Offloaded],
) -> None:
    step = by_key(
        "if record['k'] == 'slow': time.sleep(0.02)\n"
        "seen.append(record['n'])\nreturn record | {'seen': seen[:]}"
    )
    rng = random.Random(3)  # noqa: S311 - a test's own dice
    batches = [
        [{"k": rng.choice(["slow", "k1", "k2", "k3"]), "n": batch * 10 + n} for n in range(6)]
        for batch in range(12)
    ]
    entries = [step.enter() for _ in batches]
    done = await asyncio.gather(
        *(step.process(batch, NOW, entry=entry) for batch, entry in zip(batches, entries, strict=True))
    )
    for outcome, batch in zip(done, batches, strict=True):
        assert [record["n"] for record in outcome.records] == [record["n"] for record in batch]
        assert all(record["seen"] == sorted(record["seen"]) for record in outcome.records)


async def test_a_key_that_kills_its_process_costs_the_others_nothing(
    by_key: Callable[..., Offloaded],
) -> None:
    step = by_key("if record['n'] == 7: os._exit(1)\nreturn record")
    records = [{"k": f"k{n % 4}", "n": n} for n in range(12)]
    done = await step.process(records, NOW)
    assert [record["n"] for record in done.records] == [n for n in range(12) if n != 7]
    assert [(bad.record["n"], bad.reason) for bad in done.rejects] == [(7, "worker_died")]
    step = by_key("if record['n'] == 7: os._exit(1)\nreturn record", on_lost="reject")
    done = await step.process(records, NOW)
    lane = lane_of("k3", 3)
    assert [bad.record["n"] for bad in done.rejects] == [
        n for n in range(12) if lane_of(f"k{n % 4}", 3) == lane
    ]


async def test_a_batch_function_gets_the_records_of_its_keys(by_key: Callable[..., Offloaded]) -> None:
    step = by_key("return [{'n': r['n'], 'of': len(record)} for r in record]", mode="batch")
    records = [{"k": f"k{n % 4}", "n": n} for n in range(12)]
    done = await step.process(records, NOW)
    assert [record["n"] for record in done.records] == list(range(12))
    assert {record["of"] for record in done.records} < {3, 6, 9}


async def test_a_result_that_cannot_be_sent_leaves_the_others_in_their_places(
    by_key: Callable[..., Offloaded],
) -> None:
    step = by_key("return record | {'o': object() if record['n'] == 4 else 0}", mode="record")
    records = [{"k": f"k{n % 4}", "n": n} for n in range(12)]
    done = await step.process(records, NOW)
    assert [record["n"] for record in done.records] == [n for n in range(12) if n != 4]
    assert [bad.reason for bad in done.rejects] == ["bad_result"]
