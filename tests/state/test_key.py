from pathlib import Path

import pytest

from streamd.core.batch import Record
from streamd.core.contracts import Step, StepContext
from streamd.core.now import Now
from streamd.core.settings import Settings
from streamd.state.key import FORMAT, StateKey, key_of, why_not


class Counting(Step["Counting.Config"]):
    class Config(Settings):
        """Its settings."""

        by: str = "n"
        start: int = 0

    digest = ""

    def process_one(self, record: Record, now: Now) -> Record:
        return record

    def code_digest(self) -> str:
        return self.digest


def step(name: str = "counting[0]", pipeline: str = "main", **config: object) -> Counting:
    made = Counting.Config.model_validate(config)
    return Counting(made, StepContext(name, pipeline, None, Path()))


def test_the_place_of_a_step_may_change_and_nothing_else() -> None:
    key = key_of(step())
    assert key == key_of(step("counting[3]"))
    assert key == key_of(step(by="n", start=0))
    others = [step(pipeline="other"), step("other[0]"), step(by="m"), step(start=1)]
    newer, changed = step(), step()
    newer.state_version = 2
    changed.digest = "another"
    keys = [key_of(one) for one in [*others, newer, changed]]
    assert key not in keys
    assert len(set(keys)) == len(keys)


KEY = StateKey("main", "counting", "abc", 1)


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([], "pipeline main has no step with state"),
        ([KEY._replace(pipeline="other")], "pipeline main has no step with state"),
        ([KEY._replace(type="sum")], "pipeline main has no step of type counting that keeps state"),
        ([KEY._replace(config_hash="def")], "the settings or the code of the step have changed"),
        ([KEY._replace(format=FORMAT + 1)], f"another version of streamd stored it (format {FORMAT})"),
        ([KEY._replace(version=2)], "the step has changed the version of its state (stored version 1)"),
        ([KEY], "there are fewer such steps than states"),
    ],
)
def test_a_state_that_fits_nowhere_says_why(steps: list[StateKey], why: str) -> None:
    assert why_not(KEY, steps) == why
