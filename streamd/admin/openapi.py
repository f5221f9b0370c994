"""The description of all requests in OpenAPI 3.1, for `/openapi.json`."""

from typing import Any

from streamd import __version__
from streamd.admin.parameters import MOST_DIGITS

_TEXT = {"text/plain": {"schema": {"type": "string"}}}
_STREAM = {"text/event-stream": {"schema": {"type": "string"}}}
_OBJECT = {"application/json": {"schema": {"type": "object"}}}
_LIST = {"application/json": {"schema": {"type": "array", "items": {"type": "object"}}}}
_ROWS: dict[str, Any] = {
    "type": "object",
    "required": ["columns", "rows"],
    "properties": {
        "columns": {"type": "array", "items": {"type": "string"}},
        "rows": {"type": "array", "items": {"type": "array"}},
        "truncated": {"type": "boolean"},
    },
}
_SENDERS = {
    "type": "object",
    "required": ["columns", "rows", "left_out"],
    "properties": {**_ROWS["properties"], "left_out": {"type": "integer"}},
}
_FILTERS = ("reason", "source", "stage", "pipeline", "since")
_NAMED = {"type": "string", "maxLength": 4096}
_NUMBER = {"type": "integer", "minimum": 0, "maximum": 10**MOST_DIGITS - 1}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 1_000_000}
_FLAG = {"type": "integer", "enum": [0, 1]}

_WRONG = {
    "400": "a wrong parameter, with the reason",
    "431": "the request line and the headers exceed 16 KiB",
}
_BUSY = {"503": "too many at once, or the daemon cannot; with the reason"}


def _operation(
    summary: str,
    content: dict[str, Any],
    *,
    parameters: dict[str, dict[str, Any]] | None = None,
    required: tuple[str, ...] = (),
    others: dict[str, str] | None = None,
    protected: bool = False,
) -> dict[str, Any]:
    texts = {**_WRONG, **(others or {}), "401": "without the token, where it is needed"}
    return {
        "summary": summary,
        "security": [{"token": []}] if protected else [{}, {"token": []}],
        "parameters": [
            {"name": name, "in": "query", "required": name in required, "schema": schema}
            for name, schema in (parameters or {}).items()
        ],
        "responses": {
            "200": {"description": summary, "content": content},
            **{code: {"description": text, "content": _TEXT} for code, text in sorted(texts.items())},
        },
    }


def _named(name: str, schema: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    operation["parameters"].append({"name": name, "in": "path", "required": True, "schema": schema})
    return operation


def _letters(summary: str, content: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    filters = dict.fromkeys(_FILTERS, _NAMED)
    return _operation(summary, content, parameters={**filters, **parameters}, others=_BUSY, protected=True)


def _paths() -> dict[str, dict[str, Any]]:
    missing = {"404": "there is none"}
    json_rows = {"application/json": {"schema": _ROWS}}
    json_senders = {"application/json": {"schema": _SENDERS}}
    get = {
        "/": _operation("the page", {"text/html": {"schema": {"type": "string"}}}),
        "/page/{name}": _named(
            "name", _NAMED, _operation("a file of the page", {"*/*": {}}, others=missing)
        ),
        "/healthz": _operation("the process is alive", _TEXT),
        "/readyz": _operation(
            "data flows", {**_TEXT, **_STREAM}, parameters={"watch": _FLAG}, others={"503": "why it does not"}
        ),
        "/metrics": _operation("metrics for Prometheus", {**_TEXT, "application/openmetrics-text": {}}),
        "/status": _operation(
            "books, queues and faults", {**_OBJECT, **_STREAM}, parameters={"watch": _FLAG}, others=_BUSY
        ),
        "/events": _operation("the status, each second", _STREAM, others=_BUSY),
        "/history": _operation(
            "the last ten minutes; s and since exclude each other", _OBJECT,
            parameters={"s": _COUNT, "since": _NUMBER},
        ),
        "/openapi.json": _operation("this description", _OBJECT),
        "/points": _operation("where taps may look", _OBJECT, protected=True),
        "/tap": _operation(
            "records that pass a point", _STREAM,
            parameters={
                "point": _NAMED, "where": _NAMED, "fields": _NAMED,
                "rate": {"type": "number", "exclusiveMinimum": 0, "maximum": 1000},
                "once": {"type": "integer", "minimum": 1, "maximum": 1000},
            },
            required=("point",), others={**missing, **_BUSY}, protected=True,
        ),
        "/query": _operation(
            "the rows of one SELECT", json_rows,
            parameters={"sql": _NAMED, "sink": _NAMED, "limit": _COUNT},
            required=("sql",), others=_BUSY, protected=True,
        ),
        "/quality": _operation("the view quality_now", _LIST, others=_BUSY, protected=True),
        "/senders": _operation("findings by sender", json_senders, others=_BUSY, protected=True),
        "/dead-letters": _letters("the newest dead letters", _OBJECT, limit=_COUNT),
        "/dead-letters/count": _letters("dead letters by source, stage and reason", _OBJECT),
        "/dead-letters/{name}": _named(
            "name", _NUMBER,
            _operation("one dead letter", _OBJECT, others={**missing, **_BUSY}, protected=True),
        ),
        "/configuration": _operation("the configuration, without secrets", _OBJECT, protected=True),
    }  # fmt: skip
    post = {
        "/dead-letters/replay": _operation(
            "replays dead letters", _OBJECT,
            parameters={"ids": {"type": "string", "pattern": "^[1-9][0-9]{0,17}(,[1-9][0-9]{0,17})*$"}},
            required=("ids",), others={**_BUSY, "422": "the configuration is wrong"}, protected=True,
        ),
        "/tests": _operation(
            "runs the tests of the configuration", _OBJECT,
            others={**_BUSY, "422": "a test is wrong, or there is none"}, protected=True,
        ),
    }  # fmt: skip
    found: dict[str, dict[str, Any]] = {}
    for method, operations in (("get", get), ("post", post)):
        for path, operation in operations.items():
            found.setdefault(path, {})[method] = operation
    return found


def document() -> dict[str, Any]:
    """The whole description. The requests that only the control socket answers are not in it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "streamd",
            "version": __version__,
            "description": "The admin address of a running daemon. Every refusal is one line of text.",
        },
        "servers": [{"url": "/"}],
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "paths": _paths(),
    }
