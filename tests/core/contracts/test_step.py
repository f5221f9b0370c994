from abc import ABC
from pathlib import Path
from typing import Any

import pytest

from streamd.core.batch import Record
from streamd.core.contracts import DROP, BadRecord, Processed, Step, StepContext
from streamd.core.errors import BadData
from streamd.core.now import Now
from streamd.core.settings import Settings

NOW = Now(1e9, 1.0)


class Whole(Step["Whole.Config"]):
    """Makes `n` records of a record; rejects or absorbs one with a negative number."""

    class Config(Settings):
        """No options."""

    def process(self, records: list[Record], now: Now) -> Processed:
        done = Processed([])
        for record in records:
            n = record["n"]
            if n == -1:
                done.rejects.append(BadRecord(record, "whole:negative", "-1", ZeroDivisionError("cause")))
            elif n == -2:
                done.absorbed += 1
            else:
                done.records += [record] * n
                done.filtered += not n
        return done


def made(cls: Any) -> Any:
    return cls(cls.Config(), StepContext("step", "pipeline", None, Path()))


def test_a_step_for_batches_also_processes_one_record() -> None:
    step = made(Whole)
    assert step.process_one({"n": 1}, NOW) == {"n": 1}
    assert step.process_one({"n": 2}, NOW) == [{"n": 2}, {"n": 2}]
    assert step.process_one({"n": 0}, NOW) is DROP
    assert step.process_one({"n": -2}, NOW) is DROP
    with pytest.raises(BadData, match="whole:negative: -1") as caught:
        step.process_one({"n": -1}, NOW)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_step_for_one_record_also_processes_batches() -> None:
    class One(Step[Settings]):
        def process_one(self, record: Record, now: Now) -> Any:
            if record["n"] < 0:
                raise BadData("one:negative")
            return record["result"]

    records: list[Record] = [{"n": n, "result": r} for n, r in ((1, {"a": 1}), (2, [{}, {}]), (3, DROP))]
    bad: list[Record] = [{"n": -1}, {"n": 4, "result": None}]
    done = made(One).process(records + bad, NOW)
    assert (done.records, done.filtered, done.emitted) == ([{"a": 1}, {}, {}], 1, 1)
    assert [(its.record, its.reason) for its in done.rejects] == [
        (bad[0], "one:negative"),
        (bad[1], "no_result"),
    ]


def test_a_class_with_neither_is_refused_where_it_is_defined() -> None:
    with pytest.raises(TypeError, match="the step Neither defines neither process_one nor process"):

        class Neither(Step[Settings]):
            def tick(self, now: Now) -> Processed:
                return Processed([])


def test_an_abstract_class_may_leave_both_to_its_subclasses() -> None:
    class Base(Step[Settings], ABC):
        pass

    class Below(Base):
        def process(self, records: list[Record], now: Now) -> Processed:
            return Processed(records)

    class Inheriting(Below):
        pass

    assert made(Inheriting).process_one({"a": 1}, NOW) == {"a": 1}
    with pytest.raises(TypeError, match="the step Empty defines neither"):

        class Empty(Base):
            pass
