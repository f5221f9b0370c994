"""The configuration language as JSON Schema, for completion and checks in an editor."""

from typing import Any

from streamd import registry
from streamd.config.cases import Case
from streamd.config.tables import Config
from streamd.config.validation import NESTED, class_of
from streamd.core.schema import FieldSettings


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the whole file with all components."""
    schema = Config.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    definitions["FieldSettings"] = FieldSettings.model_json_schema()
    case = Case.model_json_schema(by_alias=True)
    definitions |= case.pop("$defs")
    definitions["Case"] = case
    description = "what inputs lead to, for `streamd test`"
    schema["properties"]["tests"] = {
        "type": "array", "items": {"$ref": "#/$defs/Case"}, "description": description,
    }  # fmt: skip
    for kind in registry.KINDS:
        references = []
        for name in registry.names(kind):
            component = class_of(kind, name).Config.model_json_schema(by_alias=True)
            definitions |= component.pop("$defs", {})
            component.setdefault("properties", {})["type"] = {"const": name}
            component["required"] = sorted({*component.get("required", ()), "type"})
            definitions[f"{kind}.{name}"] = component
            references.append({"$ref": f"#/$defs/{kind}.{name}"})
        definitions[kind] = {"oneOf": references}
        if kind not in ("sources", "sinks"):  # the type alone, as a text, is enough if no key is required
            short = [
                name for name in registry.names(kind) if definitions[f"{kind}.{name}"]["required"] == ["type"]
            ]
            definitions[kind]["oneOf"].append({"enum": short})
    for kind in ("sources", "sinks"):
        schema["properties"][kind]["additionalProperties"] = {"$ref": f"#/$defs/{kind}"}
    field = schema["properties"]["schemas"]["additionalProperties"]["additionalProperties"]
    field["anyOf"] = [field["anyOf"][0], {"$ref": "#/$defs/FieldSettings"}]
    definitions["PipelineSettings"]["properties"]["steps"]["items"] = {"$ref": "#/$defs/steps"}
    nested = NESTED["sources"] | NESTED["sinks"]
    for table in definitions.values():
        for key, kind in nested.items():
            if "anyOf" in table.get("properties", {}).get(key, ()):  # and no choice of words
                kept = {k: v for k, v in table["properties"][key].items() if k in ("default", "description")}
                table["properties"][key] = {**kept, "$ref": f"#/$defs/{kind}"}
    for unused in ("SourceSettings", "SinkSettings", "ComponentSettings"):
        definitions.pop(unused, None)
    tidy: dict[str, Any] = _tidied(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "streamd", **tidy}


def _tidied(part: Any) -> Any:
    """The schema without null, which TOML lacks, and without pydantic's titles and parsed defaults."""
    if isinstance(part, list):
        return [_tidied(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    kept = {
        key: _tidied(inner)
        for key, inner in part.items()
        if not (key == "title" and isinstance(inner, str))
        and not (key == "default" and (inner is None or isinstance(inner, dict)))
    }
    branches = [branch for branch in kept.get("anyOf", ()) if branch != {"type": "null"}]
    if "anyOf" in kept:
        kept["anyOf"] = branches
    if len(branches) == 1:
        del kept["anyOf"]
        kept |= branches[0]
    return kept
