"""Counts of the rules that check data: how many records, how many failed, and who sent most of these."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from streamd.core.peer import Peer

MAX_SENDERS = 64
"""Most senders that are counted for a rule in a minute."""
_SENDERS_OF_A_BATCH = 16


class RuleKey(NamedTuple):
    """One rule on one field. `pipeline` is empty for the rules of a schema, which the codec enforces."""

    source: str
    pipeline: str
    rule: str
    field: str


class RuleCount:
    """The counts of one rule since they were last taken."""

    __slots__ = ("checked", "failed", "fixed", "lag_s", "letter", "senders")

    def __init__(self) -> None:
        self.checked = 0
        """Records that the rule has looked at."""
        self.failed = 0
        """Records that were bad when the rule looked at them, also if they were fixed."""
        self.fixed = 0
        """Failed records whose value was corrected."""
        self.letter: int | None = None
        """The id of the newest dead letter with a record that failed."""
        self.lag_s: float | None = None
        """The longest time from the record's own time to its receipt, of one record in each batch."""
        self.senders: Counter[str] = Counter()
        """Failed records by sender: the host, or the whole peer if it has no host."""

    def sent_by(self, peers: Iterable[str | None]) -> None:
        """Count the senders of failed records, those with most failures of a batch only."""
        senders: Counter[str] = Counter()
        for peer, n in Counter(peers).items():
            if peer:
                senders[Peer(peer).host or peer] += n
        self.add_senders(dict(senders.most_common(_SENDERS_OF_A_BATCH)))

    def add_senders(self, senders: Mapping[str, int]) -> None:
        """Add numbers of failed records by sender.

        Beyond `MAX_SENDERS` a new sender takes the place and the number of the one with the fewest (the
        algorithm Space-Saving): a sender with a large share is never lost, its number may be too high.
        """
        known = self.senders
        for sender, n in senders.items():
            if sender not in known and len(known) >= MAX_SENDERS:
                fewest = min(known, key=known.__getitem__)
                n += known.pop(fewest)  # noqa: PLW2901 - the number of the place that the sender takes
            known[sender] += n

    def add(self, other: "RuleCount") -> None:
        """Add the counts of another object for the same rule; its letter is the newer one."""
        self.checked += other.checked
        self.failed += other.failed
        self.fixed += other.fixed
        if other.letter is not None:
            self.letter = other.letter
        self.note_lag(other.lag_s)
        self.add_senders(other.senders)

    def note_lag(self, lag_s: float | None) -> None:
        """Keep the longest lag."""
        if lag_s is not None and (self.lag_s is None or lag_s > self.lag_s):
            self.lag_s = lag_s


class Quality:
    """The counts of all rules, filled for each batch and taken by the ledger."""

    def __init__(self) -> None:
        self._counts: dict[RuleKey, RuleCount] = {}
        self.taken = 0
        """How often the counts were taken. When it changes, objects that `of` has returned are of no use."""

    def __bool__(self) -> bool:
        return bool(self._counts)

    def of(self, source: str, pipeline: str, rule: str, field: str) -> RuleCount:
        """The counts of a rule on a field. Costs about 0.3 µs; get it for each batch."""
        key = RuleKey(source, pipeline, rule, field)
        found = self._counts.get(key)
        if found is None:
            found = self._counts[key] = RuleCount()
        return found

    def take(self) -> dict[RuleKey, RuleCount]:
        """All counts since the last call."""
        taken, self._counts = self._counts, {}
        self.taken += 1
        return taken

    def give_back(self, taken: Mapping[RuleKey, RuleCount]) -> None:
        """Put back counts that could not be written."""
        since, self._counts = self._counts, dict(taken)
        self.taken += 1
        for key, count in since.items():
            self.of(*key).add(count)
