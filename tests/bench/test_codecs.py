"""The rate of each codec, and the frames of `bench/codec_cases.py` that they decode."""

from pathlib import Path
from typing import Any

import pytest

from streamd import registry
from streamd.bench import codecs
from streamd.bench.codec_cases import CASES
from streamd.bench.codecs import decoded, opened
from streamd.bench.plan import Plan
from streamd.bench.row import BenchError
from streamd.core.contracts import Decoded

ONE_BY_ONE = {"python", "struct", "struct_typed"}
"""Cases whose codec decodes one frame after the other."""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan.quick(lambda _: None, tmp_path)


def test_every_codec_has_a_case() -> None:
    assert {case.codec for case in CASES.values()} == set(registry.names("codecs"))


@pytest.mark.parametrize("name", CASES)
def test_all_frames_are_decoded_at_once_and_differ(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    codec = opened(case, tmp_path)
    decoded(codec, case, 0, 64)  # fills what the codec remembers
    if name not in ONE_BY_ONE:
        monkeypatch.setattr(codec, "decode_each", lambda *_: pytest.fail("frames are decoded one by one"))
    done, took_s = decoded(codec, case, 64, 8)
    assert took_s >= 0
    assert len(done.records) == 8 * case.records
    assert all(one != another for one, another in zip(done.records, done.records[1:], strict=False))


@pytest.mark.parametrize("name", ["syslog", "statsd_datagrams", "csv"])
def test_a_row_names_the_frames_the_rate_and_the_goal(name: str, plan: Plan) -> None:
    case = CASES[name]
    (row,) = codecs.scenario(name)(plan)
    assert row.name == f"codec_{name}"
    assert row.what.startswith(f"Codec {case.codec}: {case.what}, into ")
    assert (row.value, row.baseline) == (max(row.details["per_s"]), max(row.details["loads_per_s"]))
    assert len(row.details["per_s"]) == plan.step_turns
    assert row.goal == (f"≥ {case.goal_per_s:,}/s" if case.goal_per_s else "")
    assert row.reached is None
    assert not list(plan.parent.iterdir())


def test_a_codec_that_loses_a_record_is_not_measured(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(_: Any, frames: Any, __: Any) -> Decoded:
        return Decoded([{}] * (len(frames) - 1))

    monkeypatch.setattr("streamd.codecs.raw.Raw.decode", lose)
    with pytest.raises(BenchError, match="raw made 511 records of 512 frames"):
        codecs.scenario("raw")(plan)
