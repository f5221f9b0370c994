"""Compiles the conditions of all rules into one loop over a batch."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from streamd.core.batch import Record
from streamd.core.columns import Columns
from streamd.rules.checks import Check
from streamd.rules.rule import Rule

Judge = Callable[[Record], Record | None]
"""What becomes of a record that fails a condition: a record, or None if it is rejected."""

Loop = Callable[[list[Record], Judge], list[Record]]
"""The records of a batch that pass. Each record that fails a condition goes through the judge."""

Passing = Callable[[Sequence[Any]], list[Any]]
"""Whether each value of a field passes a condition."""

_NAMES: dict[str, Any] = {
    "__builtins__": {}, "type": type, "float": float, "int": int, "len": len, "str": str, "bool": bool,
}  # fmt: skip
_WORD = re.compile(r"[a-z]+")


class CompiledRules:
    """One function for all rules.

    Its code consists of the conditions of the checks, of generated names, and of the names of fields as
    quoted constants. It contains no other text of the configuration.
    """

    def __init__(self, rules: list[Rule]) -> None:
        self._scope = dict(_NAMES)
        self._variables: dict[str, str] = {}
        """The variable for the value of each field that a condition reads."""
        conditions: list[str] = []
        notes: list[str] = []
        for place, rule in enumerate(rules):
            conditions.append(self._condition(place, rule))
            if rule.memory is not None:
                self._scope[f"note_{place}"] = rule.memory.note
                notes.append(f"note_{place}(record)")
        condition = " and ".join(conditions)
        self.loop: Loop = self._compiled(
            "def made(records, judge):",
            "    passed = []",
            "    keep = passed.append",
            "    for record in records:",
            *(f"        {variable} = record.get({field!a})" for field, variable in self._variables.items()),
            f"        if {condition}:",
            *(f"            {note}" for note in notes),
            "            keep(record)",
            "        elif (judged := judge(record)) is not None:",
            "            keep(judged)",
            "    return passed",
        )
        self.reads_columns = all(rule.check.condition is not None and rule.memory is None for rule in rules)
        """Whether the rules look at nothing but the values of some fields."""
        self._by_column: list[tuple[str, Check, Passing]] = []
        """Of each rule, its field, its check, and which values pass."""
        if self.reads_columns:
            for rule, condition in zip(rules, conditions, strict=True):
                field = rule.settings.field or ""
                code = f"    return [{condition} for {self._variables[field]} in values]"
                self._by_column.append((field, rule.check, self._compiled("def made(values):", code)))

    def failing(self, columns: Columns) -> list[int]:
        """The indexes of the records that fail a condition, for rules that read columns."""
        failing: set[int] = set()
        for field, check, passing in self._by_column:
            facts = columns.facts(field)
            if not check.are_all_good(facts):
                passed = passing(facts.values)
                if not all(passed):
                    failing.update(index for index, good in enumerate(passed) if not good)
        return sorted(failing)

    def _condition(self, place: int, rule: Rule) -> str:
        """The code of a condition, and what it names in the scope."""
        if rule.check.condition is None:
            self._scope[f"fault_{place}"] = rule.fault
            return f"fault_{place}(record) is None"
        variable = self._variables.setdefault(rule.settings.field or "", f"value_{len(self._variables)}")
        words = {name: f"{name}_{place}" for name in rule.check.names}
        self._scope |= {words[name]: value for name, value in rule.check.names.items()}
        return f"({_renamed(rule.check.condition, words | {'value': variable})})"

    def _compiled(self, *lines: str) -> Any:
        exec(compile("\n".join(lines), "<rules>", "exec"), self._scope)  # noqa: S102 - see the docstring
        return self._scope.pop("made")


def _renamed(code: str, names: dict[str, str]) -> str:
    return _WORD.sub(lambda found: names.get(found[0], found[0]), code)
