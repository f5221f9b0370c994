"""Words of other systems' configurations, and the words of this one."""

from collections.abc import Iterable

_KEYS = {
    "address": "listen", "addr": "listen", "bind": "listen", "bind_address": "listen", "endpoint": "listen",
    "host": "listen", "hostname": "listen", "ip": "listen", "port": "listen", "url": "listen",
    "input": "sources", "inputs": "sources", "in": "sources", "from": "sources",
    "output": "sinks", "outputs": "sinks", "out": "sinks", "to": "sinks", "destination": "sinks",
    "transforms": "steps", "transform": "steps", "processors": "steps", "filters": "steps",
    "decoder": "codec", "encoding": "codec", "format": "codec", "parser": "codec",
    "delimiter": "framing", "separator": "framing",
    "file": "path", "filename": "path", "database": "path", "db": "path", "dir": "path",
    "script": "function", "func": "function", "callable": "function", "module": "function",
    "condition": "where", "expr": "where", "expression": "where", "when": "where", "if": "where",
    "optional": "required", "nullable": "required",
    "days": "max_age", "age": "max_age", "ttl": "max_age", "size": "max_size",
    "threads": "workers", "data_dir": "state_dir", "enabled": "listen",
    "whitelist": "allow", "allowed": "allow", "acl": "allow",
    "min": "ge", "minimum": "ge", "max": "le", "maximum": "le",
}  # fmt: skip
"""Keys of other systems, and the key suggested instead if the table has it."""

_OF_SINKS = frozenset({"codec", "encoding", "format", "serializer", "encode"})
"""Keys of other systems for the format that a sink writes."""

_VALUES = {
    "integer": "int", "bigint": "int", "long": "int", "number": "float", "double": "float", "real": "float",
    "decimal": "float", "numeric": "float", "string": "str", "text": "str", "varchar": "str", "char": "str",
    "boolean": "bool", "datetime": "timestamp", "date": "timestamp", "time": "timestamp", "blob": "bytes",
    "binary": "bytes", "object": "json", "dict": "json", "list": "json", "array": "json",
    "warn": "warning", "verbose": "debug", "trace": "debug", "critical": "error", "fatal": "error",
    "wait": "block", "backpressure": "block",
    "line": "newline", "lines": "newline", "lf": "newline", "\n": "newline", "crlf": "newline",
    "ndjson": "json", "jsonl": "json", "plain": "text", "utf-8": "text",
    "sqlite3": "sqlite", "db": "sqlite", "socket": "tcp", "console": "stdout",
}  # fmt: skip
"""Values of other systems, and the value suggested instead if it is allowed."""

_SPELT = {
    "listen": 'listen = "127.0.0.1:9999"',
    "function": 'function = "steps.py:NAME"',
    "required": "required = false",
    "max_age": 'max_age = "30d"',
    "max_size": 'max_size = "10GiB"',
}
"""Examples for keys whose values have another form than those of the words they replace."""


def key_meant(word: str, known: Iterable[str]) -> str:
    """` (here it is …)` for a key that is called otherwise in `known`, else an empty text."""
    meant = _KEYS.get(word.lower())
    if "encoder" in known and word.lower() in _OF_SINKS:
        meant = "encoder"
    if meant is None or meant not in known:
        return ""
    return f" (here it is {_SPELT.get(meant, meant)})"


def value_meant(word: object, known: Iterable[str]) -> str | None:
    """The value in `known` that other systems call `word`, or None."""
    meant = _VALUES.get(word.lower()) if isinstance(word, str) else None
    return meant if meant is not None and meant in known else None
