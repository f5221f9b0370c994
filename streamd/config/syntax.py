"""Hints for TOML syntax errors: what to write instead."""

import json
import re
import tomllib

from streamd.config.secrets import in_text, is_secret

_WORDS = {
    "true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false",
}  # fmt: skip
_NULLS = frozenset({"none", "null", "nil", "~", "undefined"})
_PAIR = re.compile(r"""\s*((?:[\w.-]|"[^"]*"|'[^']*')+)\s*=\s*(.*?)\s*(?:\#.*)?$""")
_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]*?)\s*\]\]?\s*(?:#.*)?$")
_YAML = re.compile(r"""\s*(?:-\s+)?["']?[\w.-]+["']?:(?:\s+\S.*)?$""")
_INNER_WORD = re.compile(r"(?<![\w\"'.-])(True|False|None|null|TRUE|FALSE)(?![\w\"'.-])")
_INNER_TEXT = re.compile(r"[=\[,{]\s*([A-Za-z][\w:./-]*|\d+[.:][\d.]*[.:/][\w:./]*)\s*(?=[,\]}])")
_COMMENT = re.compile(r"\s*(?://|;|/\*|--\s)")
_ASSIGNMENT = re.compile(r"\s*([\w.-]+)\s*(?:==+|:=|=>|->|\+=)(.+)")
_OPEN_HEADER = re.compile(r"\s*\[+([^\]#=\"']+)")
_QUOTES_WITHIN = re.compile(r"=\s*\"[^\"]*\"[^\s,}\]]")
_NUMBER_WITH_ZEROS = re.compile(r"0+\d+")
_INNER_PARAMS = re.compile(r"(\bparams\s*=\s*)(?:\{[^}]*\}?|[^\s{}]+)")
_OF_PARAMS = re.compile(r"\bparams(\.|\s*=|\s*\])")
_CURLY = str.maketrans({"“": '"', "”": '"', "„": '"', "\u2018": "'", "\u2019": "'"})


def hint(text: str, line_number: int, error: str) -> str:
    """The text to add to a parser's error at a line (from 1), with what to write instead. May be empty.

    It repeats no value of `params` and none whose key looks like that of a secret.
    """
    lines = text.split("\n")
    line = lines[line_number - 1].rstrip("\r") if 0 < line_number <= len(lines) else ""
    if not line:  # at the end of the text: an earlier line may have an unclosed quote
        line = next((other for other in lines if _is_open(other)), "")
    header = next((one for one in reversed(lines[:line_number]) if _HEADER.match(one)), "")
    line = _without_values(line) if _OF_PARAMS.search(header) else _without_secrets(line)
    found = _another_language(text, line) or _twice(lines, line_number, error) or _of_line(line, error)
    return f": {in_text(found)}" if found else ""


def _without_secrets(line: str) -> str:
    """The line without the params in braces, and without a value whose key is that of a secret."""
    if _COMMENT.match(line):
        return f"{line[:2]} …" if any(map(is_secret, line.split())) else line
    key = re.match(r"[\s\"']*(?:[\w-]+[\"']?\.)*([\w-]+)", line)
    if key is not None and (is_secret(key[1]) or ".params." in f".{key[0].strip()}"):
        return _without_values(line)
    return _INNER_PARAMS.sub(r"\1{}", line)


def _without_values(line: str) -> str:
    """The line with an ellipsis for all behind the key and its sign."""
    found = re.match(r"(\s*[^\s=:]*\s*[=:]*\s*)([\"']?)(.*)", line)
    if found is None or not found[3]:
        return line
    is_closed = bool(found[2]) and found[2] in found[3]
    return f"{found[1]}{found[2]}…{found[2] * is_closed}"


def _is_open(line: str) -> bool:
    pair = _PAIR.match(line)
    value = pair[2] if pair is not None else ""
    return value[:1] in ("'", '"') and value.count(value[0]) == 1


def _another_language(text: str, line: str) -> str:
    start = text.lstrip()[:1]
    if start == "{":
        return "this looks like JSON, and the configuration is TOML: key = value"
    if start == "<":
        return "this looks like XML, and the configuration is TOML: key = value"
    if text.lstrip().startswith("---") or ("=" not in line and _YAML.match(line)):
        return "this looks like YAML, and the configuration is TOML: [table] and key = value"
    return ""


def _twice(lines: list[str], line_number: int, error: str) -> str:
    """For a repeated table or key: the line of the first."""
    if line_number > len(lines) or not any(word in error for word in ("twice", "overwrite", "mutate")):
        return ""
    header, pair = _HEADER.match(lines[line_number - 1]), _PAIR.match(lines[line_number - 1])
    if header is not None:
        for number, line in enumerate(lines[: line_number - 1], 1):
            other = _HEADER.match(line)
            if other is not None and _key(other[2]) == _key(header[2]):
                return f"[{header[2]}] is in line {number} already: join them, or rename one"
    elif pair is not None:
        for number in range(line_number - 1, 0, -1):
            other = _PAIR.match(lines[number - 1])
            if other is not None and _key(other[1]) == _key(pair[1]):
                return f"{pair[1]} is in line {number} already"
            if _HEADER.match(lines[number - 1]):
                break
    return ""


def _key(written: str) -> object:
    """A comparable form of the keys of a header or pair, independent of their quotes."""
    try:
        return json.dumps(tomllib.loads(f"{written} = 0"), sort_keys=True)
    except tomllib.TOMLDecodeError:
        return written


def _sign(line: str, error: str) -> str:
    """For signs of other languages, or at a wrong place."""
    assigned, header = _ASSIGNMENT.match(line), _OPEN_HEADER.match(line)
    found = ""
    if _COMMENT.match(line):
        found = f"a comment begins with #: write # {line.strip(' /;*-')}"
    elif assigned is not None:
        found = f"one = separates a key and its value: write {assigned[1]} = {assigned[2].strip()}"
    elif "immutable namespace" in error:
        found = "a table in {braces} cannot be extended: add the key inside them"
    elif "Unclosed" in error and _QUOTES_WITHIN.search(line):
        found = 'a text in "…" cannot hold ": write \'…\' within it'
    elif header is not None and "table declaration" in error:
        words = re.sub(r"[^A-Za-z0-9_.-]+", "_", header[1].strip())
        found = f"the name of a table has letters, digits, _ and -, and ends with ]: write [{words}]"
    return found


def _of_line(line: str, error: str) -> str:
    if found := _sign(line, error):
        return found
    straight = line.translate(_CURLY)
    if straight != line and "=" in line:
        return f"the quotes are typographic: write {straight.strip()}"
    pair = _PAIR.match(line)
    if pair is not None:
        return _of_value(pair[1], pair[2], error)
    words = line.split(None, 1)
    if "=" not in line and words[1:] and words[0][0] != "[":
        return f"= separates a key and its value: write {words[0]} = {_quoted(words[1])}"
    return ""


def _of_value(key: str, value: str, error: str) -> str:
    bare = value.rstrip(",")
    if not value:
        found = f"{key} has no value: a text is written in quotes"
    elif bare.lower() in _WORDS:
        found = f"TOML has true and false, in lower case: write {key} = {_WORDS[bare.lower()]}"
    elif bare.lower() in _NULLS:
        found = f"TOML has no null: leave {key} out"
    elif value[0] in "\"'":
        found = _of_text(key, value, error)
    elif value[0] == "{" and re.search(r",\s*\}$", value):
        found = "a table in {braces} has no comma after its last value: remove it"
    elif _NUMBER_WITH_ZEROS.fullmatch(bare):
        found = f"a number has no leading zeros: write {key} = {int(bare)}, or a text in quotes"
    elif value[0] == "{" and "}" not in value:
        found = f"a table in {{braces}} must be on one line: write a table [….{key}] instead"
    elif not re.search(r"^[\[{+-]|[\"']", value):
        found = f"a text is written in quotes: {key} = {_quoted(bare)}"
    elif inner := _INNER_WORD.search(value):
        word = _WORDS.get(inner[1].lower())
        found = f"write {word} for {inner[1]}" if word else f"TOML has no null: {inner[1]}"
    else:
        words = _INNER_TEXT.search(f"={value}")
        found = f"a text is written in quotes: {_quoted(words[1])}" if words else ""
    return found


def _of_text(key: str, value: str, error: str) -> str:
    if value.count(value[0]) == 1:
        return f"the quote is not closed: write {key} = {value}{value[0]}"
    if "\\" in value and value[0] == '"':
        return "a backslash begins an escape in \"…\": write it twice, or use '…'"
    rest = value[value.index(value[0], 1) + 1 :].strip()
    return f"remove {rest} after the text in quotes" if rest and "Expected newline" in error else ""


def _quoted(value: str) -> str:
    return json.dumps(value.strip().strip("\"'"), ensure_ascii=False)
