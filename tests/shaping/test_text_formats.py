from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.errors import BadData
from streamd.shaping.pattern import Pattern
from streamd.shaping.text_formats import csv_row, json_object, json_value, logfmt, pattern, value_of

TEXT, AUTO = value_of("text"), value_of("auto")


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("a=1", {"a": "1"}),
        (
            ' level=warn msg="disk full" retry \t',
            {"level": "warn", "msg": "disk full", "retry": True},
        ),
        ("a= b=", {"a": "", "b": ""}),
        ('a="" b="x=\\"y\\" \\\\ \\n\\t\\u00e9\\q"', {"a": "", "b": 'x="y" \\ \n\téq'}),
        ("a=b=c a=2", {"a": "2"}),
        ("url=http://x/?q=1 [x]", {"url": "http://x/?q=1", "[x]": True}),
        ('a="two\nlines"\nb=1', {"a": "two\nlines", "b": "1"}),
        ('a="\\ud83d\\ude00\\u0041"', {"a": "😀A"}),
        ('a="x"y b="1"c=2', {"a": "x", "y": True, "b": "1", "c": "2"}),
        ("a=x\xa0y\x01b=1\x1e", {"a": "x\xa0y", "b": "1"}),
    ],
)
def test_logfmt(text: str, fields: dict[str, Any]) -> None:
    assert logfmt(TEXT)(text) == fields


def test_bare_values_get_types_and_quoted_ones_stay_texts() -> None:
    assert logfmt(AUTO)('a=1 b="1" c=true d= e=1e3 f=x') == {
        "a": 1, "b": "1", "c": True, "d": None, "e": 1000.0, "f": "x",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "no key=value"),
        ("connection refused", "no key=value"),
        ("=1", "character 1"),
        ('a="open', "character 1"),
        ('a="he said "no" twice"', "character 13"),
        ('a=1 b=x"y', "character 5"),
        ('a="\\ude00\\ud83d"', "surrogate"),
    ],
)
def test_what_is_no_logfmt(text: str, detail: str) -> None:
    with pytest.raises(BadData, match="parse:logfmt") as bad:
        logfmt(TEXT)(text)
    assert detail in bad.value.detail


def test_a_long_text_takes_linear_time() -> None:
    for text in ('a="' + "\\" * 400_000, "a" * 400_000 + '"', "a=1 " * 50_000 + '"'):
        with pytest.raises(BadData):
            logfmt(TEXT)(text)


@given(
    fields=st.dictionaries(
        st.text(st.sampled_from("abc.-é"), min_size=1), st.text(st.sampled_from('a "\\\n\té=')), min_size=1
    )
)
def test_what_is_written_as_logfmt_is_read_again(fields: dict[str, str]) -> None:
    def quoted(value: str) -> str:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    text = " ".join(f'{key}="{quoted(value)}"' for key, value in fields.items())
    assert logfmt(TEXT)(text) == fields


def test_a_row_of_csv() -> None:
    read = csv_row(["a", "b", "c"], ",", '"', TEXT)
    assert read('1,"x, ""y""",\r\n') == {"a": "1", "b": 'x, "y"', "c": ""}
    assert read('1,"two\nlines",3') == {"a": "1", "b": "two\nlines", "c": "3"}
    assert csv_row(["a", "b"], ";", "", AUTO)('7;"x"') == {"a": 7, "b": '"x"'}
    assert len(read(f"1,{'x' * 200_000},3")["b"]) == 200_000


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("1,2", "2 values for 3 columns"),
        ("1,2,3,4", "4 values for 3 columns"),
        ("", "0 rows"),
        ("1,2,3\n4,5,6", "2 rows"),
        ('1,"2"x,3', "expected after"),
        ('1,"open,3', "end of data"),
    ],
)
def test_what_is_no_row_of_these_columns(text: str, detail: str) -> None:
    with pytest.raises(BadData, match="parse:csv") as bad:
        csv_row(["a", "b", "c"], ",", '"', TEXT)(text)
    assert detail in bad.value.detail


def test_json() -> None:
    assert json_object('{"a": {"b": [1, null]}}') == {"a": {"b": [1, None]}}
    assert json_value(" [1, 2.5] ") == [1, 2.5]
    assert json_value("7") == 7
    assert json_value("null") is None


@pytest.mark.parametrize(
    "text", ["", " ", "{", "[1]", "7", '{"a": 1e999}', f'{{"a": {2**70}}}', '{"a": "\ud800"}', '{"@peer": 1}']
)
def test_what_is_no_json_object(text: str) -> None:
    with pytest.raises(BadData, match="parse:json"):
        json_object(text)


@pytest.mark.parametrize("text", ["", " ", "{", "7,", '1} , "x": {"y": 2', '1, "b": 2', str(2**70), "[" * 70])
def test_what_is_no_json_value(text: str) -> None:
    with pytest.raises(BadData, match="parse:json"):
        json_value(text)


def test_a_pattern() -> None:
    read = pattern(Pattern(r"(?P<user>\w+)(?:@(?P<host>\w+))? (?P<n>\d+)"), AUTO)
    assert read("ada@lab 7 more") == {"user": "ada", "host": "lab", "n": 7}
    assert read("ada 7") == {"user": "ada", "n": 7}
    with pytest.raises(BadData, match="parse:pattern"):
        read(" ada 7")  # it matches from the beginning
    short = pattern(Pattern(r"(?P<a>.*),(?P<b>.*)"), TEXT)
    with pytest.raises(BadData, match="parse:length"):
        short("x" * 100_000)
