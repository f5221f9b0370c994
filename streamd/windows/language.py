"""The language of aggregates: `count()`, `mean(value)`, `quantile(value, 0.99)`."""

import difflib
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from streamd.windows.aggregate import Aggregate
from streamd.windows.exact import Count, Deviation, Edge, Extreme, Mean, Total
from streamd.windows.increase import Increase, Rate
from streamd.windows.sketches import Distinct, Quantile, TopK

_CALL = re.compile(r"\s*(\w+)\s*\(\s*(.*?)\s*\)\s*", re.DOTALL)
_QUOTED = re.compile(r""""[^"]*"|'[^']*'""")
_FIELD = re.compile(r"""field\(\s*(?P<quote>["'])(?P<quoted>.+)(?P=quote)\s*\)|(?P<plain>[^\s"'(),]+)""")


class Function(NamedTuple):
    """An aggregate function: its arguments as they are written, and how it is made."""

    arguments: str
    meaning: str
    make: Callable[[str | None, str | None], Aggregate]


def _one(kind: Callable[[str | None], Aggregate]) -> Callable[[str | None, str | None], Aggregate]:
    return lambda field, _: kind(field)


FUNCTIONS: Mapping[str, Function] = {
    "count": Function("[field]", "records, or records in which the field is not null", _one(Count)),
    "sum": Function("field", "sum", _one(Total)),
    "mean": Function("field", "arithmetic mean", _one(Mean)),
    "min": Function("field", "least value", lambda field, _: Extreme(field, min)),
    "max": Function("field", "greatest value", lambda field, _: Extreme(field, max)),
    "stddev": Function("field", "standard deviation of a sample", _one(Deviation)),
    "first": Function("field", "value of the earliest record", lambda f, _: Edge(f, latest=False)),
    "last": Function("field", "value of the latest record", lambda f, _: Edge(f, latest=True)),
    "delta": Function("field", "increase of a counter, also over its resets", _one(Increase)),
    "rate": Function("field", "increase of a counter per second, from first to last record", _one(Rate)),
    "quantile": Function(
        "field, q", "quantile (0 to 1) by a KLL sketch: the rank is within 1.7 %", Quantile.of
    ),
    "distinct": Function(
        "field", "number of different values by a HyperLogLog sketch, within 5 %", _one(Distinct)
    ),
    "top_k": Function("field, k", "the k most frequent values, each with its count", TopK.of),
}
"""By name."""


def parse(text: str) -> Aggregate:
    """The aggregate of a text like `mean(value)`. Raises ValueError, with a suggestion if there is one."""
    found = _CALL.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no aggregate; write one like {_example(text)!r}")
    name, inside = found.groups()
    function = FUNCTIONS.get(name)
    if function is None:
        raise ValueError(f"there is no aggregate {name!r}{_meant(name)}; there are {', '.join(FUNCTIONS)}")
    field, argument = _arguments(name, function, inside)
    if field is not None and field.startswith("@"):
        raise ValueError(f"{field!r} is metadata; an aggregate reads fields")
    return function.make(field, argument)


def _arguments(name: str, function: Function, inside: str) -> tuple[str | None, str | None]:
    written = _split(inside)
    wanted = function.arguments.split(", ")
    least = 0 if wanted == ["[field]"] else len(wanted)
    if not least <= len(written) <= len(wanted) or "" in written:
        raise ValueError(f"{name} is written {name}({function.arguments})")
    if not written:
        return None, None
    field = _FIELD.fullmatch(written[0])
    if field is None:
        raise ValueError(f"{written[0]!r} is no field; a set step before can compute one")
    return field["quoted"] or field["plain"], written[1] if len(written) > 1 else None


def _split(inside: str) -> list[str]:
    """The arguments; a comma inside quotes separates nothing."""
    if not inside:
        return []
    masked = _QUOTED.sub(lambda found: "_" * len(found[0]), inside)
    ends = [*(at for at, character in enumerate(masked) if character == ","), len(inside)]
    starts = [0, *(at + 1 for at in ends)]
    return [inside[start:end].strip() for start, end in zip(starts, ends, strict=False)]


def _example(text: str) -> str:
    word = re.sub(r"\W.*", "", text.strip(), flags=re.DOTALL)
    if word == "count":
        return "count()"
    return f"{word}(value)" if word in FUNCTIONS else "mean(value)"


_OTHER_WORDS = {
    "avg": "mean", "average": "mean", "std": "stddev", "stdev": "stddev", "stddev_samp": "stddev",
    "total": "sum", "n": "count", "increase": "delta", "percentile": "quantile", "p99": "quantile",
    "median": "quantile", "uniq": "distinct", "unique": "distinct", "count_distinct": "distinct",
    "cardinality": "distinct", "topk": "top_k", "top": "top_k", "earliest": "first", "latest": "last",
    "minimum": "min", "maximum": "max",
}  # fmt: skip
"""Names in other systems."""


def _meant(name: str) -> str:
    word = _OTHER_WORDS.get(name.lower()) or next(
        iter(difflib.get_close_matches(name.lower(), FUNCTIONS, 1)), None
    )
    return "" if word is None else f": did you mean {word}({FUNCTIONS[word].arguments})?"
