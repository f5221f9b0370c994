"""The options of redaction, for the step `redact` and for sources."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from streamd.core.base_settings import Settings
from streamd.core.credential import File
from streamd.core.field_names import FieldNames

DetectorName = Literal["email", "ip", "card", "phone", "iban"]
Action = Literal["mask", "hash", "truncate", "drop"]

_OPTIONS: dict[str, tuple[Action, ...]] = {
    "mask": ("mask", "truncate"),
    "keep_last": ("mask",),
    "hash_length": ("hash",),
    "ipv4_prefix": ("truncate",),
    "ipv6_prefix": ("truncate",),
}
"""The actions for which an option has an effect."""


def _once(names: list[DetectorName]) -> list[DetectorName]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} occurs twice")
    return names


class RedactRule(Settings):
    """What is redacted, and how."""

    name: str | None = Field(
        None,
        pattern="^[a-z][a-z0-9_]{0,63}$",
        description="name of the rule in counters: a to z, digits and underscores. Default: the action and"
        " the detectors, or the first field, like mask_email_ip or hash_user",
    )
    fields: FieldNames | None = Field(
        None,
        description="names of fields whose values are redacted; with `detect`, the fields that are searched. "
        "A name with dots is one key, not a path",
    )
    nested: bool = Field(
        True,
        description="fields: whether the names are also found inside of objects and lists, at any depth."
        " Write true to name a field that only such an object has",
    )
    detect: Annotated[list[DetectorName], Field(min_length=1), AfterValidator(_once)] | None = Field(
        None,
        description="kinds of personal data that are found in texts, and redacted there: email, ip, card"
        " (payment cards), phone, iban",
    )
    action: Action = Field(
        description="mask (replace by a text), hash (by a keyed hash: equal values stay equal), truncate (IP"
        " addresses: keep the network) or drop (remove the field, or the text that was found)"
    )
    mask: str = Field(
        "***",
        min_length=1,
        max_length=64,
        description="mask: the text that replaces the value; truncate: that replaces a value of a named field"
        " that is no address",
    )
    keep_last: int = Field(
        0,
        ge=0,
        le=16,
        description="mask: number of last characters, without spaces, that are kept behind the mask, if the"
        " text is at least twice as long",
    )
    hash_length: int = Field(
        32, ge=32, le=64, description="hash: number of hexadecimal digits; 8 of them are a check"
    )
    ipv4_prefix: int = Field(24, ge=0, le=31, description="truncate: bits of an IPv4 address that are kept")
    ipv6_prefix: int = Field(48, ge=0, le=127, description="truncate: bits of an IPv6 address that are kept")

    @property
    def label(self) -> str:
        """The name of the rule in counters."""
        if self.name is not None:
            return self.name
        target = "_".join(self.detect or self.fields or ())
        plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in target.lower())
        return f"{self.action}_{plain}"[:64]

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        if self.fields is None and self.detect is None:
            raise ValueError("a rule needs fields, detect or both")
        if self.fields is None and "nested" in self.model_fields_set:
            raise ValueError("'nested' has no effect without fields: detectors search at any depth")
        for option, actions in _OPTIONS.items():
            if option in self.model_fields_set and self.action not in actions:
                raise ValueError(f"{option!r} is for action = {actions[0]!r}, not for {self.action!r}")
        if self.action == "truncate" and self.detect is not None:
            if self.detect != ["ip"]:
                raise ValueError('only addresses can be truncated: write detect = ["ip"]')
            if "mask" in self.model_fields_set:
                raise ValueError("'mask' has no effect: all that the detector finds are addresses")
        return self


class RedactSettings(Settings):
    """Rules of redaction, and the key of their hashes."""

    rules: Annotated[list[RedactRule], Field(min_length=1)] = Field(
        description="the rules, each a table, in their order"
    )
    key: File | None = Field(
        None,
        description="hash: file with the secret key, relative to the configuration file, or { credential = "
        '"name" }: 16 bytes or more, readable for its owner and group only, like one that `openssl rand -hex'
        " 32` writes",
    )

    @property
    def needs_key(self) -> bool:
        """Whether anything is hashed."""
        return any(rule.action == "hash" for rule in self.rules)

    @model_validator(mode="after")
    def _rules_fit(self) -> Self:
        labels = [rule.label for rule in self.rules]
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(f"two rules have the name {label!r}: give one of them another `name`")
        if self.needs_key and self.key is None:
            raise ValueError('a hash needs a key: write key = "redact.key"')
        if self.key is not None and not self.needs_key:
            raise ValueError("'key' has no effect: no rule has action = \"hash\"")
        return self
