from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, Field, ValidationError

from streamd.config.problems import dotted, in_plain_words
from streamd.core.settings import Settings


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError("a name is not empty")
    return text


def _once(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("a name occurs twice")
    return names


Name = Annotated[str, AfterValidator(_not_empty)]
Names = Annotated[list[Name], AfterValidator(_once)]


class Inner(Settings):
    size: int
    depth: int = 0


class Outer(Settings):
    names: Names | dict[str, Name | Names] | None = None
    either: int | Inner | list[Inner] | None = None
    rows: list[Name | list[Name]] | None = None


class OfAnotherPackage(Outer):
    secret: int = 0
    choice: Literal["fast", "exact"] = "fast"
    several: list[int] = Field([])
    params: dict[str, Any] = Field({})


class Step(Settings):
    params: dict[str, Any] = Field({})
    where: str = ""


for ours in (Inner, Outer, Step):
    ours.__module__ = "streamd.steps.outer"


def problems(table: dict[str, Any], model: type[Settings] = Outer) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(table, strict=True)
    found = in_plain_words(caught.value, model, ("steps", 0), table)
    return [f"{dotted(problem.place)}: {problem.text}" for problem in found]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"names": ["a", "a"]}, ['names: a name occurs twice; this is ["a", "a"]']),
        ({"names": ["a", ""]}, ['names[1]: a name is not empty; this is ""']),
        ({"names": ["a", 1]}, ["names[1]: should be a text in quotes, and is 1"]),
        ({"names": [["a"]]}, ['names[0]: should be a text in quotes, and is ["a"]']),
        ({"names": 5}, ["names: should be a list in [brackets], and is 5: write [5]"]),
        ({"names": {"x": 1}}, ["names.x: should be a text in quotes, and is 1"]),
        ({"names": {"x": {"a": 1}}}, ['names.x: should be a text in quotes, and is {"a": 1}']),
        ({"names": {"x": ["a", "a"]}}, ['names.x: a name occurs twice; this is ["a", "a"]']),
        ({"names": {"x": ["a", 1]}}, ["names.x[1]: should be a text in quotes, and is 1"]),
        ({"names": {"x": "a", "y": ""}}, ['names.y: a name is not empty; this is ""']),
        ({"either": "a"}, ['either: should be a whole number, and is "a"']),
        ({"either": {"depth": 1}}, ["either.size: is missing"]),
        ({"either": {"siez": 1}}, ['either.siez: unknown key (did you mean "size"?)']),
        ({"either": {"size": "a"}}, ['either.size: should be a whole number, and is "a"']),
        ({"either": [{"size": 1}, {}]}, ["either[1].size: is missing"]),
        ({"rows": ["a", ["b", 1]]}, ["rows[1][1]: should be a text in quotes, and is 1"]),
        ({"rows": [[], {}]}, ["rows[1]: should be a text in quotes, and is {}"]),
    ],
)
def test_a_mistake_in_a_union_is_said_once_at_its_place(table: dict[str, Any], expected: list[str]) -> None:
    assert problems(table) == [f"steps[0].{text}" for text in expected]


def test_mistakes_at_several_places_of_a_union_are_all_said() -> None:
    assert problems({"names": {"x": 1, "y": ["", 2]}, "either": {"size": "a", "depth": "b"}}) == [
        "steps[0].names.x: should be a text in quotes, and is 1",
        'steps[0].names.y[0]: a name is not empty; this is ""',
        "steps[0].names.y[1]: should be a text in quotes, and is 2",
        'steps[0].either.size: should be a whole number, and is "a"',
        'steps[0].either.depth: should be a whole number, and is "b"',
    ]


@pytest.mark.parametrize(
    ("model", "table", "expected"),
    [
        (
            OfAnotherPackage,
            {"secret": "s3cret"},
            "secret: should be a whole number, and is a text of 6 characters",
        ),
        (
            OfAnotherPackage,
            {"secret": "4711"},
            "secret: should be a whole number, and is a text of 4 characters",
        ),
        (OfAnotherPackage, {"secret": 1.5}, "secret: should be a whole number, and is 1.5"),
        (
            OfAnotherPackage,
            {"secret": {"s3cret": 1}},
            "secret: should be a whole number, and is a table of 1 key",
        ),
        (
            OfAnotherPackage,
            {"several": "s3cret"},
            "several: should be a list in [brackets], and is a text of 6 characters",
        ),
        (
            OfAnotherPackage,
            {"several": ["s3cret"]},
            "several[0]: should be a whole number, and is a text of 6 characters",
        ),
        (
            OfAnotherPackage,
            {"choice": "fsat"},
            'choice: should be "fast" or "exact", and is a text of 4 characters (did you mean "fast"?)',
        ),
        (
            OfAnotherPackage,
            {"rows": "mine"},
            'rows: should be a list in [brackets], and is "mine": write ["mine"]',
        ),
        (Step, {"params": "s3cret"}, "params: should be a table, and is a text of 6 characters"),
        (Step, {"params": ["s3cret", 5]}, 'params: should be a table, and is ["(text of 6 characters)", 5]'),
        (
            Step,
            {"where": {"params": {"x": "s3cret"}}},
            'where: should be a text in quotes, and is {"params": "(table of 1 key)"}',
        ),
        (
            Step,
            {"where": [{"password": "s3cret"}]},
            'where: should be a text in quotes, and is [{"password": "(text of 6 characters)"}]',
        ),
    ],
)
def test_a_message_quotes_no_text_whose_meaning_streamd_does_not_know(
    model: type[Settings], table: dict[str, Any], expected: str
) -> None:
    assert problems(table, model) == [f"steps[0].{expected}"]
