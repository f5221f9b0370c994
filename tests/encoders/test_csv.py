import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streamd.codecs.csv import Csv as CsvCodec
from streamd.core.contracts import RecordOrigin
from streamd.core.errors import BadData
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.encoders.csv import Csv

ORIGIN = RecordOrigin(1e9, "10.0.0.1:1", "lab")
NOW = Now(1e9, 1.0)
OPTIONS = [{"columns": ["message", "b.c"]}, {"columns": ["n"], "header": False}]


def encoder(**options: Any) -> Csv:
    return Csv(Csv.Config(**options))


def row(record: dict[str, Any], **options: Any) -> bytes:
    return encoder(**options).encode_one(record, ORIGIN)


def test_a_row_has_the_columns_in_their_order() -> None:
    record = {"b": {"c": 1.5}, "a": "x, y", "d": True, "e": None, "f": b"\0", "left": "out"}
    assert row(record, columns=["a", "b.c", "d", "e", "f", "g"]) == b'"x, y",1.5,true,,AA==,'
    assert row({"b.c": "exact"}, columns=["b.c"]) == b"exact"


def test_a_header_names_the_columns_and_those_that_the_sink_adds() -> None:
    made = encoder(columns=["a", "_peer"])
    made.expect(("_source", "_peer"))
    assert made.header == b"a,_peer,_source"
    assert made.encode_one({"a": 1, "_source": "lab", "_peer": "p"}, ORIGIN) == b"1,p,lab"
    assert encoder(columns=["a"], header=False).header == b""


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "row:not_finite"),
        ([float("inf")], "row:not_finite"),
        ("\ud800", "row:json"),
        (object(), "row:json"),
    ],
)
def test_what_no_text_expresses_is_refused(value: Any, reason: str) -> None:
    with pytest.raises(BadData) as refused:
        row({"a": value}, columns=["a"])
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "options", [{}, {"columns": []}, {"columns": ["a", "a"]}, {"columns": ["a"], "x": 1}]
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        encoder(**options)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(st.lists(TEXTS, min_size=2, max_size=2))
def test_any_texts_come_back_from_the_codec_and_from_python(texts: list[str]) -> None:
    record = dict(zip(["a", "b"], texts, strict=True))
    message = row(record, columns=["a", "b"])
    assert next(csv.reader(io.StringIO(message.decode(), newline=""), strict=True)) == texts
    codec = CsvCodec(CsvCodec.Config(columns=["a", "b"]), None)
    decoded = codec.decode(Frames.of([message], "p", 1e9), NOW)
    if texts != ["a", "b"]:  # a row that repeats the names is taken for a header
        assert [decoded.records, decoded.rejects] == [[record], []]
