"""The detectors on the texts of corpus.txt; `docs/how-to/redact.md` has these figures."""

from pathlib import Path

import pytest

from streamd.core.redact_settings import RedactSettings
from streamd.redaction.redactor import Redactor
from tests.redaction.corpus import figures, lines, table

PAGE = (Path(__file__).parents[2] / "docs/how-to/redact.md").read_text(encoding="utf-8")
FIGURES = figures()


def test_the_page_has_the_figures_of_the_corpus() -> None:
    assert table() in PAGE
    texts = lines()
    assert f"a corpus of {len(texts)} texts" in PAGE
    assert f"{sum(not line.places for line in texts)} of them with nothing personal" in PAGE


@pytest.mark.parametrize("kind", FIGURES)
def test_a_detector_is_as_good_as_the_page_says(kind: str) -> None:
    one = FIGURES[kind]
    assert one.marked >= 30
    assert one.recall >= 0.9, one.missed
    assert one.precision >= 0.95, one.false


def test_the_corpus_is_large_and_most_of_it_is_no_personal_data() -> None:
    texts = lines()
    assert len(texts) >= 300
    assert len({line.text for line in texts}) >= len(texts) - 25
    assert sum(not line.places for line in texts) >= 150


def test_what_is_known_to_be_missed() -> None:
    """The limits that the page and the docstrings of the detectors state."""
    assert FIGURES["email"].missed == [
        "ann [at] example.com", "o#brien@example.com", "a/b@example.com", "root@localhost",
    ]  # fmt: skip
    assert FIGURES["ip"].missed == ["192-0-2-17", "192.0.2.1", "c0000201", "fdfe:dcba::abcd"]
    assert FIGURES["card"].missed == []
    assert FIGURES["phone"].missed == [
        "491713920012", "212 555 0123", "555-0123", "01713920012", "2125550123",
    ]  # fmt: skip
    assert FIGURES["iban"].missed == ["DE89370400440532013000"]


def test_nothing_that_was_found_is_left_after_all_detectors() -> None:
    rule = {"detect": list(FIGURES), "action": "mask"}
    redactor = Redactor(RedactSettings.model_validate({"rules": [rule]}))
    missed = {text for one in FIGURES.values() for text in one.missed}
    for text, places in lines():
        redacted = redactor.text(text)
        assert redactor.text(redacted) == redacted, text
        for place in places:
            data = text[place.start : place.end]
            assert data not in redacted or data in missed or text.count(data) > 1, text
