"""Wrong TOML, and a configuration that another program's habits have made, say what to write instead."""

import re
from pathlib import Path

import pytest

from streamd.config import load
from streamd.config.written import parse
from streamd.core.errors import ConfigError
from streamd.core.expression import Expression

SYNTAX = {
    "a capital True": ("[a]\nmetadata = True\n", "f.toml:2:", "write metadata = true"),
    "yes": ("x = yes\n", "f.toml:1:", "write x = true"),
    "True in braces": ("a = { enabled = True }\n", "f.toml:1:", "write true for True"),
    "None": ("x = None\n", "f.toml:1:", "leave x out"),
    "no value": ("x =\n", "f.toml:1:", "x has no value"),
    "a word without quotes": ("[a]\ntype = udp  # x\n", "f.toml:2:", 'quotes: type = "udp"'),
    "an address without quotes": ("x = 127.0.0.1:9999\n", "f.toml:1:", 'x = "127.0.0.1:9999"'),
    "a duration without quotes": ("max_wait = 200ms\n", "f.toml:1:", 'max_wait = "200ms"'),
    "a path without quotes": ("path = /tmp/x\n", "f.toml:1:", 'path = "/tmp/x"'),
    "a word in a list": ('sinks = ["a", records]\n', "f.toml:1:", 'quotes: "records"'),
    "a word in braces": ("buffer = { when_full = block }\n", "f.toml:1:", 'quotes: "block"'),
    "typographic quotes": ("a = “udp”\n", "f.toml:1:", 'write a = "udp"'),
    "an open quote": ('a = "udp\nb = 1\n', "f.toml:1:", 'not closed: write a = "udp"'),
    "an open apostrophe": ("a = 'udp\nb = 1\n", "f.toml:", "write a = 'udp'"),
    "a backslash": ('a = "C:\\data"\n', "f.toml:1:", "write it twice"),
    "more behind a text": ('a = "x" y\n', "f.toml:1:", "remove y after the text"),
    "braces over lines": ("x = { a = 1,\n b = 2 }\n", "f.toml:1:", "must be on one line"),
    "no equals sign": ("type udp\n", "f.toml:1:", 'type = "udp"'),
    "a table twice": ("[sources.lab]\nx = 1\n\n[sources.'lab']\n", "f.toml:4:", "is in line 1 already"),
    "a key twice": ("[a]\nx = 1\ny = 2\nx = 3\n", "f.toml:4:", "x is in line 2 already"),
    "JSON": ('{"sources": {}}\n', "f.toml:1:", "looks like JSON"),
    "YAML": ("sources:\n  lab:\n    type: udp\n", "f.toml:1:", "looks like YAML"),
    "a trailing comma in braces": (
        "x = { a = 1, }\n",
        "f.toml:1:",
        "no comma after its last value: remove it",
    ),
    "quotes within quotes": ('x = { w = "a == "b"" }\n', "f.toml:1:", "write '…' within it"),
    "a key beside braces": ("x = { a = 1 }\nx.b = 2\n", "f.toml:2:", "add the key inside them"),
    "two equals signs": ('x == "a"\n', "f.toml:1:", 'one = separates a key and its value: write x = "a"'),
    "a colon and an equals sign": (
        'x := "a"\n',
        "f.toml:1:",
        'one = separates a key and its value: write x = "a"',
    ),
    "a comment of C": ("// here\nx = 1\n", "f.toml:1:", "a comment begins with #: write # here"),
    "a comment of INI": ("; here\nx = 1\n", "f.toml:1:", "a comment begins with #: write # here"),
    "a number with zeros": ("workers = 05\n", "f.toml:1:", "write workers = 5"),
    "a blank in a header": ("[sources.my lab]\n", "f.toml:1:", "write [sources.my_lab]"),
    "an open header": ("[sources.lab\nx = 1\n", "f.toml:1:", "write [sources.lab]"),
    "a table twice by its keys": ("[a.b]\n[a.b]\n", "f.toml:2:", "Cannot declare [a.b] twice"),
    "lines that end in CR LF": ("x = 1\r\ny = True\r\n", "f.toml:2:", "write y = true"),
}


SECRETS = [
    "api_key = S3CRET",
    'api_key = "S3CRET',
    "password S3CRET",
    'password == "S3CRET"',
    "; password = S3CRET",
    "// the password is S3CRET",
    "[a.params]\nx = S3CRET",
    '[a.params]\nx = "S3CRET',
    "params = { x = S3CRET }",
    "params = S3CRET",
    'steps = [{ type = "python", params = { x = S3CRET }, y = 5s }]',
    "params.x = S3CRET",
    "a.params.x = S3CRET",
    "url = postgres://u:S3CRET@h/x",
    "password = “S3CRET”",
    'password = "S3" S3CRET',
    "password: S3CRET",
    '"api-key" = S3CRET',
    "[pipelines.main.steps.params]\npath = /S3CRET/x",
    'x.password = "S3 \\d CRET"',
]


@pytest.mark.parametrize("text", SECRETS)
def test_an_error_of_syntax_repeats_no_secret(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(Path("f.toml"), f"{text}\n")
    assert not re.search("S3|CRET", str(refused.value))


@pytest.mark.parametrize(("text", "place", "words"), SYNTAX.values(), ids=SYNTAX.keys())
def test_an_error_of_syntax_says_what_to_write(text: str, place: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(Path("f.toml"), text)
    error = str(refused.value)
    assert error.startswith(place), error
    assert words in error, error
    assert "\n" not in error


GOOD = """\
[sources.lab]
type = "udp"
listen = "127.0.0.1:9999"
[pipelines.main]
sources = ["lab"]
sinks = ["rows"]
steps = []
[sinks.rows]
type = "sqlite"
path = "rows.db"
"""

STEP = 'steps = [{ type = "python", function = "%s" }]'
MEANT = {
    "when_full of the source": ('"udp"', '"udp"\nwhen_full = "block"', "belongs to buffer.when_full"),
    "max_wait of a sink": ('"sqlite"', '"sqlite"\nmax_wait = "1s"', "belongs to batch.max_wait"),
    "a key of the source in its buffer": (
        '"udp"',
        '"udp"\nbuffer = { receive_buffer = "1MiB" }',
        "belongs to receive_buffer",
    ),
    "max_records of a sink": (
        '"sqlite"',
        '"sqlite"\nmax_records = 5',
        "belongs to buffer.max_records or batch.max_records",
    ),
    "a key above all tables": ("[sources.lab]", 'state_dir = "/x"\n[sources.lab]', "belongs below [daemon]"),
    "source for sources": ("[sources.lab]", "[source.lab]", 'did you mean "sources"'),
    "a type as a table": ("[sources.lab]", "[tcp.lab]\n[sources.lab]", '[sources.NAME] with type = "tcp"'),
    "an array of tables": ("[sources.lab]", "[[sources]]", "should be tables with a name, [sources.name]"),
    "a type in capitals": ('"udp"', '"UDP"', 'did you mean "udp"'),
    "a text for a list": ('["rows"]', '"rows"', 'write ["rows"]'),
    "a port for an address": ('"127.0.0.1:9999"', "9999", 'write "127.0.0.1:9999"'),
    "an address without a host": ('"127.0.0.1:9999"', '":9999"', 'write "127.0.0.1:9999"'),
    "IPv6 without brackets": ('"127.0.0.1:9999"', '"::1:9999"', 'write "[::1]:9999"'),
    "a URL for an address": ('"127.0.0.1:9999"', '"udp://127.0.0.1:9999"', 'write "127.0.0.1:9999"'),
    "a duration without a unit": ('"rows.db"', '"rows.db"\nbatch = { max_wait = 200 }', 'write "200s"'),
    "a unit in full": ('"rows.db"', '"rows.db"\nbatch = { max_wait = "2 seconds" }', 'write "2s"'),
    "a text for a bool": ('"rows.db"', '"rows.db"\nmetadata = "true"', "write true"),
    "a text for a number": ('"rows.db"', '"rows.db"\nbatch = { max_records = "5" }', "write 5"),
    "a home": ('"rows.db"', '"~/rows.db"', "~ is not expanded: write /home/lab/rows.db"),
    "a variable": ('"rows.db"', '"$HOME/rows.db"', "write /home/lab/rows.db"),
    "a variable in braces": ('"rows.db"', '"var/${NOWHERE}/rows.db"', "write the whole path"),
    "a bool of a short word": ('"rows.db"', '"rows.db"\nmetadata = "off"', "write false"),
    "host for listen": (
        "listen =",
        'host = "x"\nlisten =',
        'unknown key (here it is listen = "127.0.0.1:9999")',
    ),
    "codec for encoder": (
        "[sinks",
        '[sinks.out]\ntype = "stdout"\ncodec = "syslog"\n[sinks',
        "sinks.out.codec: unknown key (here it is encoder)",
    ),
    "inputs for sources": ("sources = [", "inputs = [", "unknown key (here it is sources)"),
    "a port that is none": ("127.0.0.1:9999", "127.0.0.1:99999", "a port is at most 65535"),
    "two durations": ('"rows.db"', '"rows.db"\nbatch = { max_wait = "1m30s" }', 'write "90s"'),
    "a text for a table": ('"rows.db"', '"rows.db"\nretention = "30d"', "write { max_age = … } (there are"),
    "a number for a table": ('"rows.db"', '"rows.db"\nbatch = 100', "write { max_records = … } (there are"),
    "the beginning of one key": ('"udp"', '"udp"\nmax_rate = 5', 'did you mean "max_rate_per_sender"'),
    "the beginning of several keys": ('"udp"', '"udp"\nmax = 5', "lab.max: unknown key"),
    "an unknown key of few": ('"rows.db"', '"rows.db"\nbatch = { x = 1 }', "there are max_records, max_wait"),
    "days for max_age": ('"rows.db"', '"rows.db"\nretention = { days = 3 }', 'here it is max_age = "30d"'),
    "optional for required": (
        "[sinks",
        '[schemas.r]\na = { type = "int", optional = true }\n[sinks',
        "here it is required = false",
    ),
    "a type of SQL": ('"rows.db"', '"rows.db"\ncolumns = { a = "DOUBLE" }', 'did you mean "float"'),
    "a time of SQL": ('"rows.db"', '"rows.db"\ncolumns = { a = "datetime" }', 'did you mean "timestamp"'),
    "lines for newline": ('"udp"', '"udp"\nframing = "lines"', 'did you mean "newline"'),
    "a table for a list": ("steps = []", 'steps = { type = "filter", where = "a" }', "write [{ … }]"),
    "a step without its type": ("steps = []", 'steps = [{ where = "a" }]', 'such as type = "filter"'),
    "a dotted name of a source": ('["lab"]', '["sources.lab"]', 'did you mean "lab"'),
    "an array of one table": ("[sources.lab]", "[[sources.lab]]", "write [sources.lab] in single brackets"),
    "a database in memory": ('"rows.db"', '":memory:"', "write the path of a file"),
    "a URL of SQLite": ('"rows.db"', '"sqlite:///rows.db"', "write rows.db"),
    "a URL of a file": ('"rows.db"', '"file:///var/rows.db"', "write /var/rows.db"),
    "one network": ('"udp"', '"udp"\nallow = "10.0.0.0/8"', 'write ["10.0.0.0/8"]'),
    "an address in a network": (
        '"udp"',
        '"udp"\nallow = ["10.0.0.1/8"]',
        'write "10.0.0.0/8", or "10.0.0.1"',
    ),
    "a name for a network": ('"udp"', '"udp"\nallow = ["localhost"]', '"localhost" is no network'),
    "a function without a name": (
        "steps = []",
        STEP % "steps.py",
        '"steps.py"; in that file there are "steps.py:calibrate", "steps.py:Model"',
    ),
    "a function with a dot": ("steps = []", STEP % "steps.calibrate", '"steps.py:calibrate"'),
    "an unknown step": ("steps = []", 'steps = [{ type = "pyton" }]', "among the steps"),
}


@pytest.mark.parametrize(("old", "new", "words"), MEANT.values(), ids=MEANT.keys())
def test_a_wrong_key_or_value_says_what_to_write(
    old: str, new: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/lab")
    (tmp_path / "steps.py").write_text("def calibrate(record): ...\nclass Model: ...\ndef _hidden(): ...\n")
    path = tmp_path / "c.toml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError) as refused:
        load(path)
    error = str(refused.value)
    assert words in error, error
    assert "^" not in error, "a regular expression is shown to nobody"


def test_a_byte_order_mark_and_lines_that_end_in_cr_lf_are_read(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load(path).config.sources["lab"].type == "udp"
    path.write_bytes(GOOD.encode("utf-16"))
    with pytest.raises(ConfigError, match="UTF-16: save it as UTF-8"):
        load(path)


EXPRESSIONS = {
    "value = 0": "written ==",
    "a.startswith('x')": "write startswith(x, …) for x.startswith(…)",
    "a && b": "write and",
    "a || b": "write or",
    "a AND b": "write and",
    "NOT a": "write not",
    "!a": "write not",
    "a <> 1": "write !=",
    "a === 1": "write ==",
    "a => 1": "write >=",
    "sensor like 's%'": "startswith(x, …)",
    "sensor LIKE 's%'": "contains(x, …)",
    "a IS NULL": "write x is None",
    "a IS NOT NULL": "write x is not None",
    "a BETWEEN 1 AND 2": "1 <= x <= 9",
    "a == null": "write None",
    "a == TRUE": "write True",
    "a ? 1 : 2": "if condition else",
    "a == “x”": "typographic",
    "sensor == test": 'as a text, "test"',
    "sensor in [test, b]": 'or, as a text, "test"',
}


@pytest.mark.parametrize(("text", "words"), EXPRESSIONS.items())
def test_an_expression_of_another_language_says_what_to_write(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        Expression(text, {"a", "b", "value", "sensor"})


def test_signs_within_a_text_and_fields_of_odd_names_stay_what_they_are() -> None:
    assert Expression("a == 'x && y = z'")({"a": "x && y = z"}) is True
    assert Expression("none == 1", {"none"})({"none": 1}) is True
