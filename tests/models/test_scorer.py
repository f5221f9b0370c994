from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from streamd.core.columns import RecordColumns
from streamd.core.counters import Counters
from streamd.models.budget import Budget
from streamd.models.model_file import LoadedModel, ModelFile
from streamd.models.onnx import Array, ModelFault, Tensors
from streamd.models.plan import Wanted
from streamd.models.scorer import Scorer, TensorRows, rows_of
from tests.models.trained import HERE, of_kinds

LABELS = {"pipeline": "p", "step": "model[0]"}


def scorer_of(budget: Budget | None = None, clock: Callable[[], float] = lambda: 0.0) -> Scorer:
    path: Path = HERE / "above_3.onnx"
    file = ModelFile(path, 10_000, 5.0, Wanted(["n"], None), Counters(), LABELS)
    file.open()
    return Scorer(file, budget, LABELS, clock)


def rows(scorer: Scorer, *values: Any, fill: bool = False) -> tuple[TensorRows, LoadedModel]:
    loaded = scorer.file.open()
    return rows_of(RecordColumns([{"n": value} for value in values]), loaded, fill=fill), loaded


def test_unusable_records_are_left_out_of_the_tensors() -> None:
    found, _ = rows(scorer_of(), 1.0, None, 2.0, "x")
    assert found.tensors["X"].tolist() == [[1.0], [2.0]]
    assert (list(found.places), found.unusable, found.filled) == ([0, 2], {1: "n", 3: "n"}, 0)
    found, _ = rows(scorer_of(), 1.0, None, fill=True)
    assert (len(found.places), found.unusable, found.filled) == (2, {}, 1)
    assert np.isnan(found.tensors["X"][1, 0])


def test_results_belong_to_the_places_of_usable_records() -> None:
    scorer = scorer_of()
    scores = scorer.score(*rows(scorer, 1.0, None, 4.0), 0.0)
    assert scores is not None
    assert list(scores.places) == [0, 2]
    assert scores.values[0].tolist() == [0, 1]
    assert scorer.file.sample is not None
    assert scorer.file.sample["X"].tolist() == [[1.0], [4.0]]
    scores = scorer.score(*rows(scorer, None), 0.0)
    assert scores is not None
    assert (list(scores.places), scores.values, scores.failed) == ([], [], {})


class Failing(LoadedModel):
    """Fails on a batch with a 7 in it."""

    def run(self, tensors: Tensors, count: int) -> list[Array]:
        if 7 in tensors["X"]:
            raise ModelFault("run", "no sevens")
        return super().run(tensors, count)


def test_a_record_on_which_the_model_fails_does_not_take_the_others_with_it() -> None:
    scorer = scorer_of()
    found, loaded = rows(scorer, 1.0, None, 7.0, 4.0)
    failing = Failing(loaded.model, loaded.plan)
    with capture_logs() as events:
        scores = scorer.score(found, failing, 0.0)
        again = scorer.score(found, failing, 0.0)
        nothing = scorer.score(rows(scorer, 7.0, 7.0)[0], failing, 0.0)
    assert scores is not None
    assert (list(scores.places), scores.failed) == ([0, 3], {2: "no sevens"})
    assert scores.values[0].tolist() == [0, 1]
    assert scores.values[1].shape == (2, 2)
    assert again is not None
    assert again.failed == scores.failed
    assert nothing is not None
    assert (list(nothing.places), nothing.values) == ([], [])
    assert list(nothing.failed) == [0, 1]
    assert [(event["event"], event["error"]) for event in events] == [("model_failed", "no sevens")]


def test_after_three_slow_batches_none_runs_until_the_pause_is_over() -> None:
    times = iter([0.0, 0.2, 1.0, 1.2, 2.0, 2.2, 3.0, 3.2, 4.0, 4.1, 5.0, 5.1])
    scorer = scorer_of(Budget(0.1, 10.0), lambda: next(times))
    some = rows(scorer, 1.0)
    with capture_logs() as events:
        ran = [
            scorer.score(*some, now_s) is not None
            for now_s in (0.0, 1.0, 2.0, 2.1, 11.9, 12.0, 13.0, 22.0, 22.0)
        ]
    assert ran == [True, True, True, False, False, True, False, True, True]
    assert [event["event"] for event in events] == ["model_over_budget", "model_within_budget"]
    assert (events[0]["took_s"], events[0]["records"], events[0]["step"]) == (0.2, 1, "model[0]")


@pytest.mark.parametrize("values", [[], [None]])
def test_a_batch_without_usable_records_says_nothing_about_the_budget(values: list[Any]) -> None:
    scorer = scorer_of(Budget(1e-9, 10.0), lambda: pytest.fail("nothing is measured"))
    for _ in range(5):
        assert scorer.score(*rows(scorer, *values), 0.0) is not None


def test_only_numbers_are_filled_and_only_records_that_run_are_counted() -> None:
    loaded = LoadedModel.of(of_kinds()[1], Wanted(None, None))
    good = {"celsius": 20.0, "starts": 3, "site": "roof", "heated": True}
    changes: list[dict[str, Any]] = [{}, {"celsius": None}, {"site": None}, {"celsius": "x", "starts": 0.5}]
    found = rows_of(RecordColumns([good | change for change in changes]), loaded, fill=True)
    assert (list(found.places), found.unusable, found.filled) == ([0, 1], {2: "site", 3: "starts"}, 1)
    assert np.isnan(found.tensors["celsius"]).ravel().tolist() == [False, True]
    found = rows_of(RecordColumns([good | change for change in changes]), loaded, fill=False)
    assert (list(found.places), found.unusable) == ([0], {1: "celsius", 2: "site", 3: "celsius"})
