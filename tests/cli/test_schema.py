import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from streamd import registry
from streamd.cli import main
from streamd.config import Config, json_schema, reference
from streamd.config.problems import Problem
from streamd.config.validation import WORDS, class_of, validated
from streamd.core.settings import Settings

ROOT = Path(__file__).parents[2]
SECTIONS = [section.name for section in reference.sections()]
COMPONENTS = [(kind, name) for kind in registry.KINDS for name in registry.names(kind)]


def tables(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            yield from tables(field.annotation)


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_every_key_of_every_component_is_described(kind: str, name: str) -> None:
    cls = class_of(kind, name)

    assert cls.__doc__, "the class says what the component does"
    for model in tables(cls.Config):
        for key, field in model.model_fields.items():
            assert field.description, f"{kind}.{name}: {model.__name__}.{key}"


def test_every_key_of_the_file_is_described() -> None:
    undescribed = [
        f"{section.name}.{row.key}"
        for section in reference.sections()
        for row in section.rows
        if not row.description
    ]

    assert undescribed == []
    assert all(field.description for field in Config.model_fields.values())


def test_the_reference_page_is_the_generated_one() -> None:
    page = (ROOT / "docs/reference/configuration.md").read_text(encoding="utf-8")

    assert page == reference.markdown(), (
        "run: bin/streamd schema --markdown > docs/reference/configuration.md"
    )


def test_a_list_in_a_summary_stays_a_list() -> None:
    page = reference.markdown()
    assert "\n\n- `json`: an object; with `into` any JSON value.\n- `logfmt`: " in page
    assert not re.search(r"(?m)^[^|\n]*[.:,] - `", page)


def test_the_reference_speaks_of_no_part_of_the_code() -> None:
    """A reader of the page knows tables and keys, but no functions, modules or libraries of the daemon."""
    code = "".join(path.read_text() for path in (ROOT / "streamd").rglob("*.py"))
    functions = {name for name in re.findall(r"def (\w+)\(", code) if "_" in name.strip("_")}
    keys = {key for section in reference.sections() for row in section.rows for key in row.key.split(".")}
    page = reference.markdown()

    assert sorted(name for name in functions - keys if f"`{name}`" in page) == []
    assert (
        re.findall(r"\b(?:asyncio|uvloop|coroutine|ctypes|msgspec|pydantic)|`(?:core|streamd)\.\w+", page)
        == []
    )


@pytest.mark.parametrize("name", SECTIONS)
def test_a_sample_is_toml_with_every_key(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", name]) == 0

    text = capsys.readouterr().out
    tomllib.loads(text)
    section = next(section for section in reference.sections() if section.name == name)
    for row in section.rows:
        assert re.search(rf"^(# )?{re.escape(row.key)} (= |is not set)", text, re.MULTILINE)


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_the_defaults_a_sample_shows_are_accepted(kind: str, name: str) -> None:
    section = next(
        section for section in reference.sections() if section.name == f"{WORDS.get(kind, kind)}.{name}"
    )
    known = {row.key for row in section.rows}
    lines = [line.removeprefix("# ") for line in reference.sample(section.name).splitlines()]
    table = tomllib.loads("\n".join(line for line in lines if line.split(" = ")[0] in known))
    model = class_of(kind, name).Config
    if "type" not in model.model_fields:
        del table["type"]
    problems: list[Problem] = []

    settings = validated(model, table, (), problems)

    about_keys = [problem for problem in problems if problem.place]  # else that nothing at all was chosen
    empty = {key for key, value in table.items() if value == []}  # the placeholder of a list of tables
    assert all("…" in problem.text or problem.place[-1] in empty for problem in about_keys), (
        "only a placeholder is refused"
    )
    if settings is not None:
        plain = model.model_validate(
            {row.key: table[row.key] for row in section.rows if row.required and row.key in table}
        )
        assert settings == plain


@pytest.mark.parametrize("name", ["steps.python", "codec.json", "codecs.json"])
def test_components_have_the_words_of_the_configuration(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schema", name]) == 0
    assert f'type = "{name.partition(".")[2]}"' in capsys.readouterr().out
    assert main(["schema", "steps.pythn"]) == 2
    assert 'did you mean "steps.python"?' in capsys.readouterr().err


def test_a_sample_of_nothing_known_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "sources.upd"]) == 2
    assert 'there is no "sources.upd" (did you mean "sources.udp"?)' in capsys.readouterr().err


def test_the_schema_is_json_and_names_every_component(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0

    schema = json.loads(capsys.readouterr().out)
    assert {f"{kind}.{name}" for kind, name in COMPONENTS} <= set(schema["$defs"])
    assert '"type": "null"' not in json.dumps(schema), "TOML has no null"
    references = set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(schema)))
    assert references <= set(schema["$defs"])


TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
}  # fmt: skip


def matches(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """As much of JSON Schema as ours uses."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return (
        ("oneOf" not in schema or sum(matches(value, branch, root) for branch in schema["oneOf"]) == 1)
        and ("anyOf" not in schema or any(matches(value, branch, root) for branch in schema["anyOf"]))
        and value in schema.get("enum", [value])
        and value == schema.get("const", value)
        and ("type" not in schema or isinstance(value, TYPES[schema["type"]]))
        and ("minimum" not in schema or value >= schema["minimum"])
        and (
            not isinstance(value, list) or all(matches(each, schema.get("items", {}), root) for each in value)
        )
        and (not isinstance(value, dict) or matches_table(value, schema, root))
    )


def matches_table(table: dict[str, Any], schema: dict[str, Any], root: dict[str, Any]) -> bool:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    return set(schema.get("required", ())) <= set(table) and all(
        matches(value, known[key], root)
        if key in known
        else others is True or (others is not False and matches(value, others, root))
        for key, value in table.items()
    )


SHIPPED = sorted(path for path in (ROOT / "config").glob("*.toml") if not path.match("*.test.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_shipped_configurations_fit_the_schema(path: Path) -> None:
    schema = json_schema.json_schema()

    assert matches(tomllib.loads(path.read_text(encoding="utf-8")), schema, schema)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[pipelines.main]", "[pipeline.main]"),
        ('type = "tcp"', 'type = "tpc"'),
        ('framing = "auto"', 'framing = "autp"'),
        ('type = "udp"', 'type = "udp"\nframings = "newline"'),
        ('table = "records"', "table = 5"),
        ("[sinks.records]", "[sinks.records]\nbuffer.max_records = 0"),
    ],
)
def test_a_wrong_configuration_does_not_fit_the_schema(old: str, new: str) -> None:
    text = (ROOT / "config" / "streamd.toml").read_text(encoding="utf-8")
    schema = json_schema.json_schema()

    assert matches(tomllib.loads(text), schema, schema)
    assert not matches(tomllib.loads(text.replace(old, new)), schema, schema)
