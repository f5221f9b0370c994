import os
from pathlib import Path
from typing import Any

import pytest

from streamd.core.columns import RecordColumns
from streamd.core.counters import Counters
from streamd.core.errors import ConfigError
from streamd.models.scoring import Scored, Scoring, ScoringSettings
from tests.models.test_scorer import Failing
from tests.models.trained import HERE

LABELS = {"pipeline": "p", "step": "model[0]"}


def scoring(**options: Any) -> Scoring:
    settings: dict[str, Any] = {"file": HERE / "above_3.onnx", "inputs": ["n"], "outputs": {"label": "label"}}
    return Scoring(ScoringSettings(**settings | options), Counters(), LABELS)


def score(one: Scoring, *values: Any, now_s: float = 0.0) -> Scored:
    return one.score(RecordColumns([{"n": value} for value in values]), now_s)


def numbers(one: Scoring) -> dict[str, Any]:
    return one._counters.numbers()


def fail_on_sevens(one: Scoring, *, shadow: bool = False) -> None:
    file = (one._shadow if shadow else one._model).file  # type: ignore[union-attr]
    loaded = file.open()
    file.loaded = Failing(loaded.model, loaded.plan)


def test_a_record_on_which_the_model_fails_is_null_or_rejected() -> None:
    one = scoring(reason_field="why", version_field="model")
    fail_on_sevens(one)
    found = score(one, 1, 7, None)
    assert found.fields["label"] == [0, None, None]
    assert found.fields["why"] == [None, "failed", "missing"]
    assert found.fields["model"][1:] == [None, None]
    assert found.rejected == {}
    assert numbers(one)["not_scored"] == {"failed": 1, "missing": 1}
    one = scoring(on_missing="reject")
    fail_on_sevens(one)
    assert score(one, 7, "x", 4).rejected == {
        0: ("model:failed", "no sevens"),
        1: ("model:invalid", "n: 'x'"),
    }


def test_over_the_budget_records_pass_unscored_and_are_counted() -> None:
    one = scoring(budget_s=1e-9, reason_field="why", on_missing="reject")
    for _ in range(3):
        assert score(one, 4).fields["label"] == [1]
    found = score(one, 4, None, 4)
    assert found.fields == {"label": [None] * 3, "why": ["over_budget", "missing", "over_budget"]}
    assert list(found.rejected) == [1]
    assert numbers(one)["not_scored"] == {"over_budget": 2}
    assert score(one, 4, now_s=10.0).fields["label"] == [1]
    assert score(one, 4, now_s=10.0).fields["label"] == [None]


def test_a_shadow_that_fails_or_is_slow_changes_nothing() -> None:
    one = scoring(shadow=HERE / "above_5.onnx")
    fail_on_sevens(one, shadow=True)
    assert score(one, 1, 7, 4).fields == {"label": [0, 1, 1]}
    counts = numbers(one)
    assert (counts["shadow_agreed"], counts["shadow_differed"]) == (1, 1)
    assert counts["shadow_unscored"] == {"failed": 1}
    assert "not_scored" not in counts
    assert one._shadow is not None
    one._shadow.score = lambda *_: None  # type: ignore[method-assign]
    assert score(one, 1, None).fields == {"label": [0, None]}
    assert numbers(one)["shadow_unscored"] == {"failed": 1, "over_budget": 1}


def test_a_pausing_model_is_not_compared() -> None:
    one = scoring(shadow=HERE / "above_5.onnx", budget_s=1e-9)
    for _ in range(3):
        score(one, 1)
    before = numbers(one)["shadow_agreed"]
    score(one, 1)
    assert (numbers(one)["shadow_agreed"], before) == (3, 3)


def test_both_files_are_read_again(tmp_path: Path) -> None:
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path in paths:
        path.write_bytes((HERE / "above_3.onnx").read_bytes())
        os.utime(path, (0, 0))  # see test_model_file.py
    one = scoring(file=paths[0], shadow=paths[1], check_every_s=1.0)
    assert score(one, 4).fields["label"] == [1]
    for path in paths:
        path.write_bytes((HERE / "above_5.onnx").read_bytes())
    for now_s in (1.0, 2.0):
        score(one, 4, now_s=now_s)
        for scorer in one._scorers:
            assert scorer.file._checking is not None
            scorer.file._checking.join(20.0)
    assert score(one, 4, now_s=2.0).fields["label"] == [0]
    counts = numbers(one)
    assert (counts["loads"], counts["shadow_loads"], counts["shadow_agreed"]) == (2, 2, 4)
    assert not one.is_refused
    paths[1].write_bytes((HERE / "text.onnx").read_bytes())
    for _ in range(2):
        one._scorers[1].file.check()
    assert one.is_refused
    assert numbers(one)["shadow_failed_loads"] == {"signature": 1}


def test_a_closed_one_does_not_score() -> None:
    one = scoring()
    assert one.is_open
    one.close()
    assert not one.is_open
    with pytest.raises(RuntimeError, match="closed"):
        score(one, 1)
    one.open()
    assert score(one, 1).fields["label"] == [0]


def test_a_shadow_needs_the_same_outputs() -> None:
    with pytest.raises(ConfigError, match=r"text.onnx: its inputs or outputs have other types") as error:
        scoring(shadow=HERE / "text.onnx")
    assert error.value.keys == ("shadow",)
