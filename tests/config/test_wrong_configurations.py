# ruff: noqa: E501 - what is expected stands on one line, as it is printed
from pathlib import Path

import pytest

from streamd import config
from streamd.cli import main
from streamd.core.errors import ConfigError

GOOD = Path(__file__).with_name("good.toml").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STREAMD_CONFIG", raising=False)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)


def check(text: str, *options: str) -> int:
    Path("c.toml").write_text(text, encoding="utf-8")
    return main(["check", "--config", "c.toml", *options])


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, f"{old!r} should be in the good configuration once"
    return GOOD.replace(old, new)


WRONG = {
    "unknown table": (
        GOOD + "[source.x]\n",
        '28: source: unknown key (did you mean "sources"?)',
    ),
    "unknown key": (
        changed("[sources.floor]\n", "[sources.floor]\nmax_conections = 5\n"),
        '12: sources.floor.max_conections: unknown key (did you mean "max_connections"?)',
    ),
    "a NUL character": (
        changed('table = "readings"\n', 'table = "read\\u0000ings"\n'),
        "26: sinks.records.table: holds a NUL character",
    ),
    "unknown key in an inline table": (
        changed("[sources.floor]\n", "[sources.floor]\nbuffer = { max_record = 5 }\n"),
        '12: sources.floor.buffer.max_record: unknown key (did you mean "max_records"?)',
    ),
    "unknown key of a codec": (
        changed('codec = "json"\nschema = "reading"\n[sources.floor]', 'codec = { type = "json", foo = 1 }\n[sources.floor]'),
        "9: sources.lab.codec.foo: unknown key",
    ),
    "the Python name of a key": (
        changed('table = "readings"\n', 'table = "readings"\nschema_name = "reading"\n'),
        '27: sinks.records.schema_name: unknown key (did you mean "schema"?)',
    ),
    "a number in quotes": (
        '[daemon]\nworkers = "5"\n' + GOOD,
        '2: daemon.workers: should be a whole number, and is "5"',
    ),
    "a fraction": (
        "[daemon]\nworkers = 5.5\n" + GOOD,
        "2: daemon.workers: should be a whole number, and is 5.5",
    ),
    "true as a number": (
        "[daemon]\nworkers = true\n" + GOOD,
        "2: daemon.workers: should be a whole number, and is true",
    ),
    "a number too small": (
        "[daemon]\nworkers = 0\n" + GOOD,
        "2: daemon.workers: should be at least 1, and is 0",
    ),
    "a duration without a unit": (
        "[daemon]\ndrain_timeout = 30\n" + GOOD,
        "2: daemon.drain_timeout: a duration is a number with a unit (us, ms, s, m, min, h, d, w), like '5s'; this is 30",
    ),
    "a duration of nothing": (
        '[daemon]\ndrain_timeout = "0s"\n' + GOOD,
        "2: daemon.drain_timeout: should be more than 0",
    ),
    "a size with an unknown unit": (
        '[dead_letters]\nmax_size = "64Mib"\n' + GOOD,
        "2: dead_letters.max_size: a size is a number with a unit (B, kB, KB, MB, GB, TB, KiB, MiB, GiB, TiB), like '64MiB'; this is \"64Mib\"",
    ),
    "a word that is not one of several": (
        '[log]\nlevel = "warn"\n' + GOOD,
        '2: log.level: should be "debug", "info", "warning" or "error", and is "warn" (did you mean "warning"?)',
    ),
    "a table in place of a text": (
        changed('path = "data.db"', "path = { a = 1 }"),
        '25: sinks.records.path: should be a text in quotes, and is {"a": 1}',
    ),
    "a text in place of a list": (
        changed('sinks = ["records"]', 'sinks = "records"'),
        '18: pipelines.main.sinks: should be a list in [brackets], and is "records"',
    ),
    "a missing key": (
        changed('type = "tcp"\nlisten = "127.0.0.1:0"\n', 'type = "tcp"\n'),
        "11: sources.floor.listen: is missing",
    ),
    "a missing type": (
        changed('type = "tcp"\n', ""),
        "11: sources.floor.type: should be one of the sources in quotes: ",
    ),
    "a misspelt type": (
        changed('type = "tcp"', 'typ = "tcp"'),
        '12: sources.floor.typ: unknown key (did you mean "type"?)',
    ),
    "a misspelt type of a codec": (
        changed("[sources.floor]\n", '[sources.floor]\nframing = { tpye = "newline" }\n'),
        '12: sources.floor.framing.tpye: unknown key (did you mean "type"?)',
    ),
    "an unknown type": (
        changed('type = "tcp"', 'type = "tpc"'),
        '12: sources.floor.type: there is no "tpc" among the sources (did you mean "tcp"?)',
    ),
    "a type that names no component": (
        changed('type = "tcp"', 'type = "__init__"'),
        '12: sources.floor.type: there is no "__init__" among the sources; there are ',
    ),
    "an unknown codec": (
        changed("[sources.floor]\n", '[sources.floor]\nframing = "newlines"\n'),
        '12: sources.floor.framing: there is no "newlines" among the framing (did you mean "newline"?)',
    ),
    "an unknown step": (
        changed('  { type = "set", remove = ["seq"] },\n', '  { type = "filtre" },\n'),
        '21: pipelines.main.steps[1].type: there is no "filtre" among the steps (did you mean "filter"?)',
    ),
    "a step that is no component": (
        changed('  { type = "set", remove = ["seq"] },\n', "  7,\n"),
        '21: pipelines.main.steps[1]: should be a name in quotes or a table with "type", and is 7',
    ),
    "a type of a later version": (
        changed('type = "tcp"', 'type = "relp"'),
        '12: sources.floor.type: "relp" is not available in this version',
    ),
    "tls": (
        changed("[sources.floor]\n", '[sources.floor]\ntls.cert = "server.pem"\n'),
        "12: sources.floor.tls: cert and key belong together",
    ),
    "retention": (
        GOOD + 'retention = { max_size = "1kB" }\n',
        "28: sinks.records.retention.max_size: ",
    ),
    "an address without a port": (
        changed('type = "tcp"\nlisten = "127.0.0.1:0"', 'type = "tcp"\nlisten = "127.0.0.1"'),
        '13: sources.floor.listen: an address is host:port, like 127.0.0.1:9999 or [::1]:9999; this is "127.0.0.1"',
    ),
    "admin open to the world": (
        changed('[admin]\nlisten = "127.0.0.1:0"', '[admin]\nlisten = "0.0.0.0:9900"'),
        '2: admin.listen: only a loopback address (127.0.0.1, [::1], localhost) or unix:PATH is safe here without a token, because every host that reaches 0.0.0.0:9900 could ask; set [admin] token to the path of a file with one (`openssl rand -hex 32` makes it); "none" turns the address off; this is "0.0.0.0:9900"',
    ),
    "an admin socket without a path": (
        changed('[admin]\nlisten = "127.0.0.1:0"', '[admin]\nlisten = "unix:"'),
        '2: admin.listen: a unix socket is unix:PATH: write "unix:admin.sock"; this is "unix:"',
    ),
    "an admin socket as a URL": (
        changed('[admin]\nlisten = "127.0.0.1:0"', '[admin]\nlisten = "unix:///run/a.sock"'),
        '2: admin.listen: a unix socket is unix:PATH: write "unix:/run/a.sock"; this is "unix:///run/a.sock"',
    ),
    "an admin socket in a home": (
        changed('[admin]\nlisten = "127.0.0.1:0"', '[admin]\nlisten = "unix:~nobody-here/a.sock"'),
        "2: admin.listen: '~nobody-here/a.sock': ~ is not expanded: write the whole path, or ./~ for a file of",
    ),
    "the path of the control socket for admin": (
        changed('[admin]\nlisten = "127.0.0.1:0"', '[admin]\nlisten = "unix:x/../control.sock"'),
        "2: admin.listen: unix x/../control.sock is taken by control",
    ),
    "a group for an admin address": (
        changed("[admin]\n", '[admin]\ngroup = "adm"\n'),
        "2: admin.group: only a unix socket has a group; listen names an address",
    ),
    "an admin name with a port": (
        changed("[admin]\n", '[admin]\nnames = ["streamd.example.org:80"]\n'),
        "2: admin.names[0]: a name of a host, without scheme and port, like streamd.example.org",
    ),
    "a token in a home": (
        changed("[admin]\n", '[admin]\ntoken = "~nobody-here/token"\n'),
        "2: admin.token: ~ is not expanded: write the whole path, or ./~ for a file of that name",
    ),
    "an unknown field type": (
        changed('sensor = "str"', 'sensor = "string"'),
        '4: schemas.reading.sensor: should be "str", "int", "float", "bool", "timestamp", "json", "bytes" or "any", and is "string"',
    ),
    "a bound that is no number": (
        changed("ge = -50", 'ge = "low"'),
        '5: schemas.reading.value.ge: should be a whole number, and is "low"',
    ),
    "a field named like metadata": (
        changed('sensor = "str"', '"@peer" = "str"'),
        "3: schemas.reading: a field cannot be named '@peer'",
    ),
    "a schema without fields": (
        GOOD + "[schemas.empty]\n",
        "28: schemas.empty: a schema needs at least one field",
    ),
    "an unknown schema": (
        changed('table = "readings"\nschema = "reading"', 'table = "readings"\nschema = "readings"'),
        '27: sinks.records.schema: there is no schema "readings" (did you mean "reading"?)',
    ),
    "an unknown source": (
        changed('sources = ["lab", "floor"]', 'sources = ["lab", "flor", "floor"]'),
        '17: pipelines.main.sources[1]: there is no source "flor" (did you mean "floor"?)',
    ),
    "an unknown sink": (
        changed('sinks = ["records"]', 'sinks = ["records", "alarms"]'),
        '18: pipelines.main.sinks[1]: there is no sink "alarms"; there are records',
    ),
    "a sink named twice": (
        changed('sinks = ["records"]', 'sinks = ["records", { name = "records" }]'),
        '18: pipelines.main.sinks[1]: "records" is named twice',
    ),
    "a condition on a field that no record has": (
        changed('sinks = ["records"]', 'sinks = ["records", { name = "more", where = "valeu > 1" }]')
        + '[sinks.more]\ntype = "sqlite"\npath = "data.db"\ntable = "more"\n',
        "18: pipelines.main.sinks[1].where: ",
    ),
    "a timeout of a function that runs inline": (
        changed('{ type = "set", remove = ["seq"] }', '{ type = "python", function = "json:dumps", timeout = "1s" }'),
        "21: pipelines.main.steps[1]: timeout: has no effect on a function that runs inline",
    ),
    "a memory limit of a function that runs inline": (
        changed('{ type = "set", remove = ["seq"] }', '{ type = "python", function = "json:dumps", memory_limit = "1GB" }'),
        '21: pipelines.main.steps[1]: memory_limit: only executor = "process" has a memory of its own',
    ),
    "a search of a function that runs inline": (
        changed('{ type = "set", remove = ["seq"] }', '{ type = "python", function = "json:dumps", on_lost = "search" }'),
        '21: pipelines.main.steps[1]: on_lost: only executor = "process" can lose',
    ),
    "a memory limit in which no process can start": (
        changed('{ type = "set", remove = ["seq"] }', '{ type = "python", function = "json:dumps", executor = "process", memory_limit = "31MB" }'),
        "21: pipelines.main.steps[1].memory_limit: ",
    ),
    "a division by key of a function that runs inline": (
        changed('{ type = "set", remove = ["seq"] }', '{ type = "python", function = "json:dumps", partition_by = ["sensor"] }'),
        '21: pipelines.main.steps[1]: partition_by: only executor = "process" has processes to divide',
    ),
    "a division by a field that no record has": (
        changed('{ type = "set", remove = ["seq"] }', '{ type = "python", function = "json:dumps", executor = "process", partition_by = ["sensr"] }'),
        "21: pipelines.main.steps[1].partition_by[0]: ",
    ),
    "a division by no field": (
        changed('{ type = "set", remove = ["seq"] }', '{ type = "python", function = "json:dumps", executor = "process", partition_by = [] }'),
        "21: pipelines.main.steps[1].partition_by: ",
    ),
    "a condition that is no expression": (
        changed('sinks = ["records"]', 'sinks = [{ name = "records", where = "value >" }]'),
        "18: pipelines.main.sinks[0].where: ",
    ),
    "a source nobody reads": (
        changed('sources = ["lab", "floor"]', 'sources = ["lab"]'),
        "11: sources.floor: no pipeline reads it",
    ),
    "a pipeline without sources": (
        changed('sources = ["lab", "floor"]', "sources = []"),
        "17: pipelines.main.sources: should not be empty",
    ),
    "a pipeline without anything": (
        GOOD + "[pipelines.idle]\n",
        "28: pipelines.idle.sources: is missing",
    ),
    "two sources on one address": (
        GOOD.replace("127.0.0.1:0", "127.0.0.1:9999").replace('"udp"', '"tcp"').replace('listen = "127.0.0.1:9999"\n[schemas', 'listen = "none"\n[schemas'),
        "13: sources.floor.listen: tcp 127.0.0.1:9999 is taken by sources.lab",
    ),
    "an address inside another": (
        changed('type = "udp"\nlisten = "127.0.0.1:0"', 'type = "tcp"\nlisten = "[::]:514"').replace(
            'type = "tcp"\nlisten = "127.0.0.1:0"', 'type = "tcp"\nlisten = "127.0.0.1:514"'
        ),
        "13: sources.floor.listen: tcp 127.0.0.1:514 is taken by sources.lab",
    ),
    "the address of admin": (
        GOOD.replace("127.0.0.1:0", "127.0.0.1:9900"),
        "13: sources.floor.listen: tcp 127.0.0.1:9900 is taken by admin",
    ),
    "a buffer smaller than a frame": (
        changed("[sources.floor]\n", '[sources.floor]\nbuffer.max_bytes = "1KiB"\n'),
        "12: sources.floor.buffer.max_bytes: 1024 bytes cannot hold one frame of max_frame, 65536 bytes",
    ),
    "two files on one path": (
        GOOD
        + '[sinks.a]\ntype = "file"\npath = "out.ndjson"\n[sinks.b]\ntype = "file"\npath = "./out.ndjson"\n',
        "33: sinks.b.path: sinks.a writes this file",
    ),
    "lines into a database": (
        GOOD.replace("[sinks.records]", '[sinks.a]\ntype = "file"\npath = "./data.db"\n[sinks.records]'),
        "25: sinks.a.path: sinks.records writes this file",
    ),
    "lines into the ledger": (
        GOOD + '[sinks.a]\ntype = "file"\npath = "streamd.db"\n',
        "30: sinks.a.path: the ledger writes this file",
    ),
    "two sinks on one table": (
        GOOD + '[sinks.again]\ntype = "sqlite"\npath = "./data.db"\ntable = "Readings"\n',
        '31: sinks.again.table: sinks.records writes "Readings" in the same file',
    ),
    "a table of the ledger": (
        changed('path = "data.db"\ntable = "readings"', 'path = "streamd.db"\ntable = "ledger"'),
        '26: sinks.records.table: the ledger has "ledger" in this file',
    ),
    "a sink in the file of the dead letters": (
        changed('path = "data.db"', 'path = "dead-letters.db"'),
        "25: sinks.records.path: the dead letters are in this file",
    ),
    "a name with a space": (
        changed("[sinks.records]", '[sinks."my records"]').replace('["records"]', '["my records"]'),
        '23: sinks."my records": a name is made of letters, digits, _ and -, at most 64 of them',
    ),
    "a name that would break a line": (
        GOOD + '[schemas."a\\nb\\u202e"]\nx = "int"\n',
        '28: schemas."a\\nb\\u202e": a name is made of',
    ),
    "a table where several belong": (
        '[[sources]]\ntype = "udp"\n' + GOOD.replace("[sources.lab]", "[later]").replace("[sources.floor]", "[later.b]"),
        "1: sources: should be tables with a name, [sources.name], and is",
    ),
    "a text where a table belongs": (
        'log = "info"\n' + GOOD,
        '1: log: should be a table, and is "info"',
    ),
    "nothing at all": ("", "1: pipelines: there is no pipeline, so no record would be processed"),
    "only a byte order mark": ("\ufeff", "1: pipelines: there is no pipeline, so no record would be processed"),
    "broken TOML": (changed("sensor = ", "sensor "), "4:8: "),
    "a key given twice": (changed('sensor = "str"', 'sensor = "str"\nsensor = "int"'), "5:"),
    "an end too early": (GOOD + "x = [1,\n", "29: "),
    "arrays without end": ("x = " + "[" * 100_000, "c.toml: nested too deeply"),
    "arrays nested beyond reason": ("[daemon]\nworkers = " + "[" * 250 + "]" * 250, "1: daemon: is nested too deeply"),
    "a schema the codec cannot use": (
        changed('codec = "json"\nschema = "reading"\n[sources.floor]', 'codec = "text"\nschema = "reading"\n[sources.floor]'),
        "9: sources.lab.codec: a schema needs the codec json",
    ),
    "a wrong name in a table of a step": (
        changed('  { type = "set", remove = ["seq"] },\n', '  { type = "convert", fields = { "@a" = { from = "F", to = "C" }, "@source" = { from = "F", to = "C" } } },\n'),
        "21: pipelines.main.steps[1].fields.\"@source\": '@source' is metadata",
    ),
    "an expression that is none": (changed("value > 20", "value >"), "20: pipelines.main.steps[0].where: "),
    "an expression with an unknown name": (changed("value > 20", "valu > 20"), "20: pipelines.main.steps[0]: "),
    "a function without a name": (
        changed('  { type = "set", remove = ["seq"] },\n', '  { type = "python", function = "steps.py" },\n'),
        '21: pipelines.main.steps[1].function: should be "steps.py:name" or "package.module:name", and is "steps.py"',
    ),
    "a function that is not there": (
        changed('  { type = "set", remove = ["seq"] },\n', '  { type = "python", function = "nowhere.py:f" },\n'),
        "21: pipelines.main.steps[1]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_configuration_is_told_with_line_path_and_words(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text, expected = WRONG[kind]

    code = check(text, "--offline")

    told = capsys.readouterr()
    assert code == 2
    assert told.out == ""
    assert any(line.startswith((f"c.toml:{expected}", expected)) for line in told.err.splitlines()), told.err
    assert "Traceback" not in told.err
    assert "pydantic" not in told.err
    assert "Input should" not in told.err


def test_tables_nested_to_the_edge_of_what_any_reader_can_take_are_refused() -> None:
    path = Path("c.toml")
    for depth in range(850, 1000):  # each reader gives up at a depth of its own
        path.write_text("[daemon]\nx." + ".".join("c" * depth) + " = 1\n")
        with pytest.raises(ConfigError, match=r"nested too deeply|unknown key"):
            config.load(path)


def test_a_misspelt_key_is_told_once_and_not_as_missing_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(changed('type = "tcp"\nlisten', 'type = "tcp"\nlisen'), "--offline") == 2

    told = capsys.readouterr().err
    assert told == 'c.toml:13: sources.floor.lisen: unknown key (did you mean "listen"?)\n'


def test_an_unknown_field_is_quoted_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(changed("value > 20", "valu > 20"), "--offline") == 2

    assert capsys.readouterr().err.count("'valu'") == 1
