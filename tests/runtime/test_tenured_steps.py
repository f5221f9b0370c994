"""Steps whose state goes from one process to another with the input that it is of."""

from pathlib import Path
from typing import Any

import pytest

from streamd.core.ack import Ack
from streamd.core.batch import Record
from streamd.core.contracts import Processed, Step, StepContext
from streamd.core.now import Now
from streamd.core.settings import Settings
from streamd.core.tenure import InputPart, Tenure
from streamd.runtime.stage import Stage

NOW = Now(1000.0, 50.0)


class Count(Step[Settings]):
    """Numbers its records, and notes the time."""

    def __init__(self, config: Settings, context: StepContext) -> None:
        super().__init__(config, context)
        self.count = 0
        self.is_open = False

    def open(self) -> None:
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False

    def process(self, records: list[Record], now: Now) -> Processed:
        assert self.is_open
        done = Processed([])
        for record in records:
            self.count += 1
            done.records.append({**record, "n": self.count, "at": tuple(now)})
        return done

    def snapshot(self) -> bytes | None:
        return str(self.count).encode()

    def restore(self, state: bytes, now: Now) -> None:
        assert self.is_open
        self.count = 99
        self.count = int(state)
        self.restored_at = now


class Plain(Count):
    """The same without a state that is stored."""

    snapshot = Step.snapshot


def stage(kind: type[Step[Any]] = Count) -> Stage:
    made = Stage("count[0]", kind(Settings(), StepContext("count[0]", "main", None, Path())))
    made.open()
    return made


def claimed(one: Stage, sequence: str, state: bytes = b"") -> Tenure:
    tenure = Tenure(sequence)
    tenure.has_own_state = True
    one.own.begin(tenure, state, 7.0, 0)
    return tenure


def ack(tenure: Tenure, wall_s: float | None = 3.0) -> Ack:
    return Ack(lambda _: None, InputPart(tenure, 1, wall_s))


def numbers(done: Processed) -> list[int]:
    return [record["n"] for record in done.records]


async def test_each_input_has_a_state_of_its_own_beside_that_of_all_others() -> None:
    one = stage()
    first, second = claimed(one, "a"), claimed(one, "b", b"40")
    assert numbers(one.process([{}, {}], ack(first), NOW)) == [1, 2]
    assert numbers(one.process([{}], ack(second), NOW)) == [41]
    assert numbers(one.process([{}], None, NOW)) == [1]
    assert numbers(one.process([{}], Ack(lambda _: None), NOW)) == [2]
    assert numbers(one.process([{}], ack(first), NOW)) == [3]
    assert [await one.snapshot_of(tenure) for tenure in (first, second)] == [b"3", b"41"]
    assert await one.snapshot() == b"2"


def test_the_time_of_a_step_is_that_at_which_the_input_was_stored() -> None:
    one = stage()
    tenure = claimed(one, "a", b"1")
    own: Any = one.own.of(tenure)
    assert own.restored_at == Now(7.0, 7.0)
    assert one.process([{}], ack(tenure, 9.0), NOW).records[0]["at"] == (9.0, 9.0)
    assert one.process([{}], ack(tenure, None), NOW).records[0]["at"] == NOW
    assert stage(Plain).process([{}], ack(tenure, 9.0), NOW).records[0]["at"] == (9.0, 9.0)


async def test_records_of_an_input_that_another_process_has_are_filtered() -> None:
    one = stage()
    tenure = claimed(one, "a")
    own: Any = one.own.of(tenure)
    await one.own.end(tenure)
    await one.own.end(tenure)
    assert not own.is_open
    done = one.process([{}, {}], ack(tenure), NOW)
    assert (done.records, done.filtered) == ([], 2)
    assert await one.snapshot_of(tenure) == b""
    assert numbers(one.process([{}], None, NOW)) == [1]


def test_an_input_without_claimed_state_goes_to_the_common_step() -> None:
    one = stage()
    assert numbers(one.process([{}], ack(Tenure("file")), NOW)) == [1]
    assert numbers(one.process([{}], None, NOW)) == [2]


def test_a_state_that_the_step_refuses_leaves_a_new_instance() -> None:
    one = stage()
    tenure = Tenure("a")
    tenure.has_own_state = True
    with pytest.raises(ValueError, match="invalid literal"):
        one.own.begin(tenure, b"what", 7.0, 0)
    assert numbers(one.process([{}], ack(tenure), NOW)) == [1]


async def test_closing_the_stage_closes_all_instances() -> None:
    one = stage()
    owns: list[Any] = [one.own.of(claimed(one, name)) for name in "ab"]
    await one.close()
    assert [own.is_open for own in owns] == [False, False]
