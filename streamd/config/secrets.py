"""Hides what looks like a secret in the options of streamd itself.

These options name files of secrets and hold none, but a user may write one into an expression or a pattern.
So values are hidden by the name of their key and by their form. Values of other options are not shown at all
(`config.shown`), because no list of names and forms is complete.
"""

import itertools
import re
from typing import Any

HIDDEN = "(hidden)"

_PARTS = frozenset({
    "auth", "authorization", "bearer", "cookie", "credential", "credentials", "dsn", "pass", "passcode",
    "passphrase", "passwd", "password", "passwords", "pin", "psk", "pwd", "salt", "secret", "secrets",
    "signature", "token", "tokens",
})  # fmt: skip
"""Words that make a name secret, as in `db_password`."""
_PAIRS = frozenset({
    ("access", "key"), ("account", "key"), ("api", "key"), ("auth", "key"), ("connection", "string"),
    ("encryption", "key"), ("master", "key"), ("private", "key"), ("secret", "key"), ("shared", "key"),
    ("signing", "key"),
})  # fmt: skip
"""Two words in a row that make a name secret."""
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_RUN_TOGETHER = re.compile(
    r"(?:api|access|private|secret|account|auth)key|password|passwd|passphrase|secret|token|credential"
    r"|connectionstring"
)
_RANDOM = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[\w+/=-]{16,}")
_USER = re.compile(r"(?<=://)[^/\s@]*(?=@)")
_ASSIGNED = re.compile(
    r"(?i)((?:password|passwd|pwd|secret|token|accountkey|sharedaccesskey|api_?key|sig|signature)[\"']?"
    r"\s*(?:[=!]=|[=:])\s*[\"']?)[^\s;&\"']+"
)
_SCHEME = re.compile(r"(?i)\b(bearer|basic|token)\s+[\w.~+/=-]{8,}")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*", re.DOTALL)
_TOKENS = re.compile(
    r"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_\w{20,}|xox[abprs]-[\w-]{10,}|eyJ[\w-]{8,}\.[\w-]+\.[\w-]*|sk-[\w-]{20,})"
)

_OF_FILES = frozenset({"ca", "cert", "client_ca", "crl", "key", "token"})
"""Options of streamd that may be `{ credential = "NAME" }`."""
_FILES = frozenset({("admin", "token")})
"""Options of streamd whose names look secret, but which hold the path of a file."""


def hidden(config: dict[str, Any]) -> dict[str, Any]:
    """The same tables, in which no value is a secret. A hidden value is `(hidden)`, whatever it was."""
    return {
        table: content
        if table == "schemas"
        else {key: _hidden(value, table, key) for key, value in content.items()}
        for table, content in config.items()
    }


def in_options(options: dict[str, Any]) -> dict[str, Any]:
    """As `hidden`, for the options of one component."""
    return {name: _value(value, name) for name, value in options.items()}


def _hidden(value: Any, table: str, key: str) -> Any:
    """The value of a key of a table. A table directly below `table`, as a source, is named by the user."""
    if (table, key) in _FILES:
        return value
    return (
        {name: _value(inner, name) for name, inner in value.items()}
        if isinstance(value, dict)
        else _value(value, key)
    )


def _value(value: Any, name: str) -> Any:
    if isinstance(value, bool) or (
        name in _OF_FILES and isinstance(value, dict) and [*value] == ["credential"]
    ):
        return value  # the name of a credential is none
    if is_secret(name) or (name.lower() == "key" and isinstance(value, str) and _RANDOM.fullmatch(value)):
        return HIDDEN
    if isinstance(value, dict):
        return {key: _value(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_value(inner, "") for inner in value]
    return in_text(value) if isinstance(value, str) else value


def is_secret(name: str) -> bool:
    """Whether a value of this name is likely to be a secret."""
    words = [word.lower() for word in _WORDS.findall(name)]
    return (
        not _PARTS.isdisjoint(words)
        or not _PAIRS.isdisjoint(itertools.pairwise(words))
        or _RUN_TOGETHER.search(name.lower()) is not None
    )


def in_text(text: str) -> str:
    """The text without what looks like a secret: users of URLs, assigned passwords, private keys, tokens."""
    text = _USER.sub(HIDDEN, text)
    text = _ASSIGNED.sub(rf"\1{HIDDEN}", text)
    text = _SCHEME.sub(rf"\1 {HIDDEN}", text)
    return _TOKENS.sub(HIDDEN, _PEM.sub(HIDDEN, text))
