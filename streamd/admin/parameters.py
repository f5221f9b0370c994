"""The parameters of requests, and answers as JSON."""

import json
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from streamd.admin.stack import WrongRequest

MOST_DIGITS = 18
"""Numbers of SQLite have 63 bits."""


def as_json(document: Any) -> Response:
    """The document as an answer."""
    return Response(json.dumps(document, allow_nan=False) + "\n", media_type="application/json")


def known(request: Request, *names: str) -> dict[str, str]:
    """The query's parameters. Raises `WrongRequest` for one that is not in `names`."""
    query = request.scope["query_string"]
    try:
        given = dict(parse_qsl(query.decode(), keep_blank_values=True, strict_parsing=True)) if query else {}
    except ValueError:
        raise WrongRequest(400, "the query must have the form name=value&name=value") from None
    for name in given:
        if name not in names:
            raise WrongRequest(400, f"{name} is no parameter here; there are {', '.join(names) or 'none'}")
    return given


def flag(given: dict[str, str], name: str) -> bool:
    """Whether the parameter is 1. Raises `WrongRequest` if it is neither 0 nor 1."""
    if given.get(name, "0") not in {"0", "1"}:
        raise WrongRequest(400, f"{name} must be 0 or 1")
    return given.get(name) == "1"


def number(text: str) -> int:
    """A whole number of at most `MOST_DIGITS` digits. Raises `WrongRequest`."""
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise WrongRequest(400, f"{text} is no number")
    return int(text)
