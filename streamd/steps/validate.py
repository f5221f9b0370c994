from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import compress
from operator import itemgetter
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from streamd.core.arrival_clock import ArrivalClock
from streamd.core.batch import SOURCE, Record
from streamd.core.columns import FlatColumns
from streamd.core.contracts import Processed, Step, StepContext
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.field_names import NewFieldName
from streamd.core.now import Now
from streamd.core.quality import RuleCount
from streamd.core.settings import Settings
from streamd.lookup_tables.table_file import TableFile
from streamd.rules.compiled import CompiledRules
from streamd.rules.judge import Judge, source_of
from streamd.rules.memory import decode, encode
from streamd.rules.model import OfModel
from streamd.rules.reference import Reference
from streamd.rules.rule import Rule
from streamd.rules.settings import RuleSettings, rule_problem

_source_of = itemgetter(SOURCE)


def _check(rules: list[RuleSettings]) -> list[RuleSettings]:
    if (problem := rule_problem(rules)) is not None:
        raise ValueError(problem)
    return rules


class Validate(Step["Validate.Config"]):
    """Checks records by named rules, and counts, flags, fixes or rejects those that fail.

    Each rule looks at each record, in order, and sees what earlier rules have fixed. All rules that fail are
    counted, and the worst action wins: reject, then fix and flag, then count. A rejected record goes to the
    dead letters as it came. A flagged or fixed record gets a field, `quality`, with an entry for each such
    rule: `{"temp_range": "lowered from 900.0"}`.

    The counts of each rule are in the table `quality` beside the ledger, by minute, source and pipeline.

    A record that passes costs 0.1 µs and 0.05 µs for each rule; unique costs 0.6 µs, `fill_last` 0.4 µs,
    reference 0.1 µs (1 µs for two fields) and a model of six fields 2 µs (strict 6 µs, fix 5 to 9 µs). A
    record that fails costs 3 to 5 µs, with a model 7 to 9 µs.
    """

    in_each_process = True

    counters: ClassVar[Mapping[str, str]] = {
        "failed": "records that failed a rule, by rule; also those that were fixed",
        "fixed": "records whose value a rule has fixed, by rule",
        "forgotten": "keys whose state was forgotten because of max_keys or a long silence",
        **TableFile.counters,
    }

    class Config(Settings):
        """The rules."""

        rules: Annotated[list[RuleSettings], Field(min_length=1), AfterValidator(_check)] = Field(
            description="the rules, each a table"
        )
        field: NewFieldName = Field(
            "quality", description="the field that says which rules flagged or fixed a record, and how"
        )

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        rules = [
            Rule(settings, context.fields, index, context.base_dir, context.counters)
            for index, settings in enumerate(config.rules)
        ]
        for index, rule in enumerate(rules):
            if rule.settings.field == config.field and rule.on_error in ("flag", "fix"):
                raise ConfigError(
                    f"{config.field!r} is the field that says what rules have done: choose another `field`",
                    ("rules", index, "field"),
                )
        self._notes = any(rule.on_error in ("flag", "fix") for rule in rules)
        if not self._notes and "field" in config.model_fields_set:
            raise ConfigError("has no effect: no rule flags or fixes a record", ("field",))
        self._rules = rules
        self._judge = Judge(context.pipeline, rules, config.field)
        self._compiled = CompiledRules(rules)
        self._clock = ArrivalClock()
        self._counts: dict[str, list[RuleCount]] = {}
        self._taken = -1
        self._tables = {rule.name: rule.check.table for rule in rules if isinstance(rule.check, Reference)}
        self.reads_columns = self._compiled.reads_columns and not self._tables
        self._models = [rule.check for rule in rules if isinstance(rule.check, OfModel)]
        self._memories = {rule.name: rule.memory for rule in rules if rule.memory is not None}

    def rehearse(self) -> None:
        """Read the tables of rules; `open` uses them. Raises `EnvironmentFault`."""
        for name, table in self._tables.items():
            try:
                table.open()
            except EnvironmentFault as fault:
                raise EnvironmentFault(f"{self.context.place}: {name}: {fault}") from None

    def open(self) -> None:
        """Read the tables that were not rehearsed. Raises `EnvironmentFault`."""
        self.rehearse()

    async def close(self) -> None:
        for table in self._tables.values():
            table.close()

    def is_current(self) -> bool:
        """Whether the files of the models are unchanged."""
        return all(model.is_current() for model in self._models)

    def process(self, records: list[Record], now: Now) -> Processed:
        judge = self._judge
        judge.begin()
        if self._memories:
            at_s = self._clock.read(now)
            for memory in self._memories.values():
                memory.begin(at_s)
        passed = self._with_tables(records, now) if self._tables else self._compiled.loop(records, judge)
        if records:
            self._count(records)
        return Processed(passed, rejects=judge.rejects)

    def process_columns(self, columns: FlatColumns, now: Now) -> Processed:
        judge = self._judge
        judge.begin()
        keep, others = [True] * len(columns), {}
        for index in self._compiled.failing(columns):
            record = columns.record(index)
            judged = judge(record)
            if judged is None:
                keep[index] = False
            elif judged is not record:
                others[index] = judged
        self._count_checked(columns.source, len(columns))
        self._count_failures()
        if others:  # flagged or fixed
            records = [others.get(index, record) for index, record in enumerate(columns.records())]
            return Processed(list(compress(records, keep)), rejects=judge.rejects)
        return Processed([], rejects=judge.rejects, columns=columns.chosen(keep))

    def _with_tables(self, records: list[Record], now: Now) -> list[Record]:
        tables = self._tables.values()
        if any(table.rows is None for table in tables):
            self.open()
        with ExitStack() as held:  # the tables stay the same for the whole batch
            for table in tables:
                held.enter_context(table.lock)
            passed = self._compiled.loop(records, self._judge)
        for table in tables:
            table.look(now.mono_s)
        return passed

    def snapshot_parts(self) -> Iterator[bytes]:
        if any(self._memories.values()):
            yield from encode(self._clock.wall_s, self._memories)

    def restore(self, state: bytes, now: Now) -> None:
        wall_s, kept = decode(state)
        if kept.keys() != self._memories.keys():
            raise ValueError("the state belongs to other rules")
        self._clock.restore(wall_s, now)
        for name, memory in self._memories.items():
            memory.restore(kept[name])

    @property
    def is_stateful(self) -> bool:
        """Whether a rule remembers something."""
        return bool(self._memories)

    def fields_after(self) -> frozenset[str] | None:
        known = self.context.fields
        if known is None or not self._notes:
            return known
        return known.union({self.config.field}, *(model.added for model in self._models))

    def _count(self, records: list[Record]) -> None:
        """Count what the rules have looked at, by source. A batch that a step made may have several."""
        sources: set[Any]
        try:
            sources = set(map(_source_of, records))
        except (KeyError, TypeError):  # a step has removed or replaced the metadata
            sources = set()
        if len(sources) == 1:
            self._count_checked(sources.pop(), len(records))
        else:
            for source, n in Counter(map(source_of, records)).items():
                self._count_checked(source, n)
        self._count_failures()

    def _count_checked(self, source: str, n: int) -> None:
        for count in self._counts_of(source):
            count.checked += n

    def _count_failures(self) -> None:
        for (place, source), failures in self._judge.failures.items():
            name = self._rules[place].name
            count = self._counts_of(source)[place]
            count.failed += len(failures.peers)
            count.fixed += failures.fixed
            count.sent_by(failures.peers)
            self.context.counters.add("failed", len(failures.peers), name)
            if failures.fixed:
                self.context.counters.add("fixed", failures.fixed, name)
        for memory in self._memories.values():
            if memory.forgotten:
                self.context.counters.add("forgotten", memory.forgotten)
                memory.forgotten = 0

    def _counts_of(self, source: str) -> list[RuleCount]:
        """The counts of the rules in order. They are kept until the ledger takes them."""
        quality = self.context.quality
        if self._taken != quality.taken:
            self._taken = quality.taken
            self._counts.clear()
        counts = self._counts.get(source)
        if counts is None:
            pipeline = self.context.pipeline
            counts = [quality.of(source, pipeline, rule.name, rule.field) for rule in self._rules]
            self._counts[source] = counts
        return counts
