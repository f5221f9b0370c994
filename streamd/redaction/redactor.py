"""All rules of a step or source, on records, texts and the bytes of frames."""

from collections.abc import Iterable
from pathlib import Path

from streamd.core.batch import Record
from streamd.core.credential import File
from streamd.core.errors import EnvironmentFault
from streamd.core.redact_settings import RedactSettings
from streamd.redaction.key import fingerprint, read_key
from streamd.redaction.payload import redacted_payload
from streamd.redaction.rule import RedactionRule


class Redactor:
    """Redacts by rules, one after the other; each sees what earlier ones have made.

    What a rule has made stays as it is if it is redacted again with the same settings and key.
    """

    def __init__(self, settings: RedactSettings, key: bytes | None = None) -> None:
        self._rules = [RedactionRule(rule, key) for rule in settings.rules]
        self._file: File | None = settings.key
        self._fingerprint = fingerprint(key)
        self.names_fields = any(rule.fields is not None and not rule.detects for rule in self._rules)
        """Whether a rule redacts whole values by the names of their fields. Then a text that quotes a value,
        such as the detail of a dead letter, cannot be redacted by `text`."""
        self.withheld = 0
        """Number of payloads that were withheld."""

    @classmethod
    def read(cls, settings: RedactSettings, base_dir: Path) -> "Redactor":
        """A redactor with the key of its file. Raises `EnvironmentFault`."""
        return cls(settings, None if settings.key is None else read_key(settings.key, base_dir))

    def is_current(self, base_dir: Path) -> bool:
        """Whether the file of the key still has the same key."""
        if self._file is None:
            return True
        try:
            return fingerprint(read_key(self._file, base_dir)) == self._fingerprint
        except EnvironmentFault:
            return False

    def record(self, record: Record) -> Record:
        """The redacted record: a copy, or the same one if nothing is redacted. Metadata stays as it is."""
        for rule in self._rules:
            record = rule.record(record)
        return record

    def uncounted(self, record: Record) -> Record:
        """As `record`, without a change of the counts."""
        counts = [rule.count for rule in self._rules]
        try:
            return self.record(record)
        finally:
            for rule, count in zip(self._rules, counts, strict=True):
                rule.count = count

    def records(self, records: Iterable[Record]) -> list[Record]:
        """Each record redacted."""
        done = list(records)
        for rule in self._rules:
            done = list(map(rule.record, done))
        return done

    def text(self, text: str) -> str:
        """A text that belongs to no field, searched by all detectors of all rules."""
        for rule in self._rules:
            text = rule.text(text)
        return text

    def value(self, value: object) -> object:
        """A value of JSON, which may be a list of records."""
        for rule in self._rules:
            value = rule.value(value)
        return value

    def payload(self, data: bytes) -> bytes:
        """The redacted bytes of a frame.

        JSON is redacted as a record is; an array, and lines, as several. Other bytes are searched by all
        detectors. They are withheld if a rule names fields, because nobody knows where the fields are, or if
        they are no text.
        """
        redacted, is_withheld = redacted_payload(data, self.value, self.text, self._has_fields)
        self.withheld += is_withheld
        return redacted

    @property
    def _has_fields(self) -> bool:
        return any(rule.fields is not None for rule in self._rules)

    @property
    def counts(self) -> dict[str, int]:
        """By rule: the number of values and texts that it has changed."""
        return {rule.label: rule.count for rule in self._rules}

    def take_counts(self) -> dict[str, int]:
        """The counts since the last call, without zeros."""
        counts = {rule.label: rule.count for rule in self._rules if rule.count}
        for rule in self._rules:
            rule.count = 0
        return counts
