"""Judges records that fail a condition of a rule, one by one."""

from typing import Any

from streamd.core.batch import SOURCE, Record, peer_of
from streamd.core.contracts import BadRecord
from streamd.core.quality import RuleKey
from streamd.rules.checks import RaisedFault
from streamd.rules.rule import Rule

WAS = "@was"
"""In the field that names failed rules, the key of the value that was there before and is no object."""


def source_of(record: Record) -> str:
    """The source of a record; empty if a step has removed it."""
    source = record.get(SOURCE)
    return source if isinstance(source, str) else ""


class Failures:
    """The records of one source in a batch that failed one rule."""

    __slots__ = ("fixed", "peers")

    def __init__(self) -> None:
        self.peers: list[str | None] = []
        """The sender of each failed record."""
        self.fixed = 0


class Judge:
    """Applies all rules in order to a record, and adds up what they did with the records of one batch.

    A rule sees the value that earlier rules have fixed. Every rule that fails is counted. The worst action
    wins: a record that one rule rejects is rejected as it came, and its other rules have fixed nothing.
    """

    def __init__(self, pipeline: str, rules: list[Rule], note_field: str) -> None:
        self._pipeline = pipeline
        self._rules = rules
        self._note_field = note_field
        self.rejects: list[BadRecord] = []
        self.failures: dict[tuple[int, str], Failures] = {}
        """By the place of the rule and the source."""

    def begin(self) -> None:
        """A new batch begins."""
        self.rejects = []
        self.failures = {}

    def __call__(self, record: Record) -> Record | None:
        current = record
        notes: dict[str, str] = {}
        fixed: list[Failures] = []
        faults: list[tuple[Rule, str]] = []
        good: list[Rule] = []
        source, peer = source_of(record), peer_of(record)
        for place, rule in enumerate(self._rules):
            fault = rule.fault(current)
            if fault is None:
                good.append(rule)
                continue
            failures = self.failures.setdefault((place, source), Failures())
            failures.peers.append(peer)
            found = rule.fix(current) if rule.on_error == "fix" else None
            if found is not None:
                current = {**current, **found[0]}
                notes[rule.name] = found[1]
                fixed.append(failures)
            elif rule.otherwise == "reject":
                faults.append((rule, fault))
            elif rule.otherwise == "flag":
                notes[rule.name] = f"failed: {fault}"
        if faults:
            self.rejects.append(self._reject(record, source, faults))
            return None
        for rule in good:
            rule.note(current)
        for failures in fixed:
            failures.fixed += 1
        if notes:
            return {**current, self._note_field: _with_notes(current.get(self._note_field), notes)}
        return current

    def _reject(self, record: Record, source: str, faults: list[tuple[Rule, str]]) -> BadRecord:
        """The reject of a record that failed these rules. Its reason is the check of the first one."""
        reason = f"rule:{faults[0][0].settings.check}"
        detail = "; ".join(
            f"{rule.name}: {rule.field}: {fault}" if rule.field else f"{rule.name}: {fault}"
            for rule, fault in faults
        )
        rules = tuple(RuleKey(source, self._pipeline, rule.name, rule.field) for rule, _ in faults)
        raised = next((fault for _, fault in faults if isinstance(fault, RaisedFault)), None)
        if raised is not None:
            return BadRecord(record, reason, detail, raised.error, raised.kind, rules=rules)
        return BadRecord(record, reason, detail, rules=rules)


def _with_notes(before: Any, notes: dict[str, str]) -> Record:
    if before is None:
        return notes
    return {**before, **notes} if isinstance(before, dict) else {WAS: before, **notes}
