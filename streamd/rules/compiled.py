"""Compiles the conditions of all rules into one loop over a batch."""

import re
from collections.abc import Callable
from typing import Any

from streamd.core.batch import Record
from streamd.rules.rule import Rule

Judge = Callable[[Record], Record | None]
"""What becomes of a record that fails a condition: a record, or None if it is rejected."""

Loop = Callable[[list[Record], Judge], list[Record]]
"""The records of a batch that pass. Each record that fails a condition goes through the judge."""

_NAMES: dict[str, Any] = {
    "__builtins__": {}, "type": type, "float": float, "int": int, "len": len, "str": str, "bool": bool,
}  # fmt: skip
_WORD = re.compile(r"[a-z]+")


def compile_rules(rules: list[Rule]) -> Loop:
    """One function for all rules.

    Its code consists of the conditions of the checks, of generated names, and of the names of fields as
    quoted constants. It contains no other text of the configuration.
    """
    scope = dict(_NAMES)
    variables: dict[str, str] = {}
    reads: list[str] = []
    conditions: list[str] = []
    notes: list[str] = []
    for place, rule in enumerate(rules):
        if rule.check.condition is None:
            scope[f"fault_{place}"] = rule.fault
            conditions.append(f"fault_{place}(record) is None")
        else:
            field = rule.settings.field or ""
            if field not in variables:
                variables[field] = f"value_{len(variables)}"
                reads.append(f"{variables[field]} = record.get({field!a})")
            words = {name: f"{name}_{place}" for name in rule.check.names}
            scope |= {words[name]: value for name, value in rule.check.names.items()}
            words["value"] = variables[field]
            conditions.append(f"({_renamed(rule.check.condition, words)})")
        if rule.memory is not None:
            scope[f"note_{place}"] = rule.memory.note
            notes.append(f"note_{place}(record)")
    lines = [
        "def loop(records, judge):",
        "    passed = []",
        "    keep = passed.append",
        "    for record in records:",
        *(f"        {read}" for read in reads),
        f"        if {' and '.join(conditions)}:",
        *(f"            {note}" for note in notes),
        "            keep(record)",
        "        elif (judged := judge(record)) is not None:",
        "            keep(judged)",
        "    return passed",
    ]
    exec(compile("\n".join(lines), "<rules>", "exec"), scope)  # noqa: S102 - see the docstring
    loop: Loop = scope["loop"]
    return loop


def _renamed(code: str, names: dict[str, str]) -> str:
    return _WORD.sub(lambda found: names.get(found[0], found[0]), code)
