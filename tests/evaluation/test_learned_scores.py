import random

import pytest

from tests.evaluation.learned_scores import MODELS, limit_of, with_scores
from tests.evaluation.rows import all_rows, of_model
from tests.evaluation.series import Series

ODD = (300, 350, 400, 700, 750, 800)


def two_fields(count: int = 900) -> Series:
    """Two fields, one of them always twice the other one, except in the odd records."""
    draw = random.Random("fields")  # noqa: S311 - values are no secrets
    records = []
    for place in range(count):
        a = draw.random()
        b = 2 * a
        if place in ODD:
            a, b = (0.8, 0.4) if a > 0.5 else (0.2, 1.6)
        records.append({"a": a, "b": b, "at": 1e9 + place})
    labels = [place in ODD for place in range(count)]
    return Series("two", records, labels, ("a", "b"), 1.0, has_time=True, span=1)


@pytest.mark.parametrize("model", MODELS)
def test_a_model_scores_all_fields_together(model: str) -> None:
    series = two_fields()
    scored = with_scores(series, model)
    assert scored.fields == ("score",)
    assert [record["a"] for record in scored.records] == [record["a"] for record in series.records]
    assert "score" not in series.records[0]
    assert scored.labels == series.labels


def test_the_limit_is_of_the_first_half() -> None:
    series = two_fields()
    scored = with_scores(series, "half-space trees")
    limit = limit_of(scored)
    for record in scored.records[scored.half :]:
        record["score"] = -1.0
    assert limit_of(scored) == limit


def test_odd_pairs_of_usual_values_are_found_by_a_model_over_both_fields() -> None:
    rows = {row.detector: row for row in all_rows(two_fields())}
    assert rows["fixed limits"].outcome.found == 0
    assert rows["`ewma`, chosen"].outcome.found == 0
    trees = rows["`river`, half-space trees"]
    assert trees.outcome.events == 3
    assert trees.outcome.found > 0
    assert trees.options["where"].startswith("score > 0.")
    assert trees == of_model(two_fields(), "half-space trees")
