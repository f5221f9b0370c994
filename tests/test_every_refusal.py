"""Whatever keeps a daemon from starting, `check` says before, in the same words, and changes nothing."""

import asyncio
import contextlib
import fcntl
import inspect
import json
import os
import pkgutil
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import streamd
from streamd import config, registry
from streamd.cli import main
from streamd.core.contracts import Step
from streamd.core.errors import StreamdError
from streamd.daemon import Daemon
from streamd.host.socket_unit import first_unprivileged_port
from tests import declared

NOBODY = 65534
DEADLINE_S = 20.0
UDP, TCP = socket.SOCK_DGRAM, socket.SOCK_STREAM
UNIX = 'type = "unix"\npath = "in.sock"'
CSV = 'type = "file"\npath = "out.csv"\nformat = "csv"\ncolumns = ["a", "b"]'
LINES = 'type = "file"\npath = "out.ndjson"'
LAKE = 'type = "parquet"\npath = "lake/x-%Y.parquet"'
TABLE = 'type = "sqlite"\npath = "data.db"\ncolumns = { value = "float" }'
REDACT = '{ type = "redact", key = "redact.key", rules = [{ fields = ["user"], action = "hash" }] }'
REFERENCE = '{ type = "validate", rules = [{ check = "reference", field = "site", path = "sites.csv" }] }'
MODEL = '{ type = "validate", rules = [{ check = "model", model = "models.py:Reading" }] }'
ONNX = '{ type = "model", file = "model.onnx", inputs = ["value"], outputs = { fault = "label" } }'
ABOVE_3 = Path(__file__).parent.joinpath("models/above_3.onnx").read_bytes()
LOOKUP = '{ type = "lookup", path = "sites.csv", key = ["sensor"], fields = ["site"] }'
TLS_SOURCE = 'type = "tcp"\nlisten = "127.0.0.1:0"\ntls = { cert = "a.pem", key = "a.key" }'
TLS_SINK = 'type = "tcp"\naddress = "127.0.0.1:9"\ntls = { ca = "ca.pem" }'


@dataclass(frozen=True)
class Refusal:
    """`make` brings the trouble about in the folder of the configuration, and may hold something open."""

    component: str
    what: str
    words: str
    make: Callable[[Path], Any] = lambda _: None
    source: str = 'type = "udp"\nlisten = "127.0.0.1:0"'
    sink: str = 'type = "sqlite"\npath = "data.db"'
    steps: str = ""
    more: str = ""
    uid: int = 0

    def text(self) -> str:
        admin = "" if "[admin]" in self.more else '[admin]\nlisten = "none"\n'
        return (
            f"{admin}{self.more}\n[sources.in]\n{self.source}\n[sinks.out]\n{self.sink}\n"
            f'[pipelines.main]\nsources = ["in"]\nsinks = ["out"]\nsteps = [{self.steps}]\n'
        )


def state(folder: Path) -> Path:
    path = folder / "var"
    path.mkdir(exist_ok=True)
    return path


def writes(name: str, content: bytes, mode: int = 0o644) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)

    return make


def folder_at(name: str, mode: int = 0o755) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / name).mkdir(parents=True)
        (folder / name).chmod(mode)

    return make


def table(name: str, *statements: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        with contextlib.closing(sqlite3.connect(state(folder) / name)) as db:
            db.execute("PRAGMA journal_mode=WAL")
            for statement in statements:
                db.execute(statement)
            db.commit()

    return make


def locked(name: str, begin: str, *before: str) -> Callable[[Path], Any]:
    """Another process holds the database."""

    def make(folder: Path) -> Any:
        code = (
            "import sqlite3, sys\n"
            "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
            "for sql in sys.argv[2:]: db.execute(sql)\n"
            "print(flush=True)\nsys.stdin.read()\n"
        )
        words = [sys.executable, "-c", code, str(state(folder) / name), *before, begin]
        holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"\n"
        return holder

    return make


def flocked(name: str) -> Callable[[Path], Any]:
    def make(folder: Path) -> Any:
        writes(f"var/{name}", b'{"a":1}\n')(folder)
        file = (folder / "var" / name).open("rb")
        fcntl.flock(file, fcntl.LOCK_EX)
        return file

    return make


def unix(name: str, kind: int, *, alive: bool = True) -> Callable[[Path], Any]:
    def make(folder: Path) -> Any:
        sock = socket.socket(socket.AF_UNIX, kind)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sock.bind(str(path))
        if alive and kind == TCP:
            sock.listen()
        if not alive:
            sock.close()
        return sock

    return make


def port(kind: int) -> tuple[str, Callable[[Path], Any]]:
    """A port of 127.0.0.1 that is free now, and what takes it."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        number = sock.getsockname()[1]

    def make(_: Path) -> Any:
        taken = socket.socket(socket.AF_INET, kind)
        taken.bind(("127.0.0.1", number))
        if kind == TCP:
            taken.listen()
        return taken

    return f"127.0.0.1:{number}", make


def certificates(*pairs: str) -> Callable[[Path], None]:
    """Each pair of certificate and key is of its own; `a.pem` with `b.key` do not fit."""

    def make(folder: Path) -> None:
        for name in pairs:
            made = ("-days", "2", "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem")
            words = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
            subprocess.run(
                ["openssl", *words, "-subj", "/CN=localhost", *made], check=True, capture_output=True
            )

    return make


def full(folder: Path) -> Any:
    """A disk with no room left, at the state folder."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", state(folder)], check=True)
    with contextlib.suppress(OSError), (folder / "var" / "fill").open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    return Unmount(folder / "var")


def read_only(folder: Path) -> Any:
    """A file system that is mounted read-only, at the state folder."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", state(folder)], check=True)
    return Unmount(folder / "var")


@dataclass
class Unmount:
    path: Path

    def close(self) -> None:
        subprocess.run(["umount", self.path], check=True)


def both(*makers: Callable[[Path], Any]) -> Callable[[Path], Any]:
    def make(folder: Path) -> Any:
        return [maker(folder) for maker in makers]

    return make


TAKEN_UDP, TAKE_UDP = port(UDP)
TAKEN_TCP, TAKE_TCP = port(TCP)
TAKEN_ADMIN, TAKE_ADMIN = port(TCP)

REFUSALS = [
    *(
        refusal
        for kind, taken, take in (("udp", TAKEN_UDP, TAKE_UDP), ("tcp", TAKEN_TCP, TAKE_TCP))
        for refusal in (
            Refusal(f"sources.{kind}", "taken", "the port is taken", take,
                    source=f'type = "{kind}"\nlisten = "{taken}"'),
            Refusal(f"sources.{kind}", "another_host", "this host has no such address",
                    source=f'type = "{kind}"\nlisten = "192.0.2.1:9999"'),
            Refusal(f"sources.{kind}", "no_name", "cannot resolve",
                    source=f'type = "{kind}"\nlisten = "no-such-host.invalid:9999"'),
            Refusal(f"sources.{kind}", "privileged", "streamd install-service",
                    source=f'type = "{kind}"\nlisten = "127.0.0.1:514"', uid=NOBODY),
            Refusal(f"sources.{kind}", "privileged_name", "write the IP address",
                    source=f'type = "{kind}"\nlisten = "localhost:514"', uid=NOBODY),
        )
    ),
    Refusal("sources.tcp", "no_certificate", "a.pem cannot be read", source=TLS_SOURCE),
    Refusal("sources.tcp", "key_of_another", "does not belong to the certificate",
            both(certificates("a", "b"), lambda f: shutil.copy(f / "b.key", f / "a.key")), source=TLS_SOURCE),
    Refusal("sources.tcp", "key_of_root", "a.key cannot be read: Permission denied",
            both(certificates("a"), lambda f: (f / "a.key").chmod(0o600)), source=TLS_SOURCE, uid=NOBODY),
    Refusal("sources.tcp", "no_pem", "are no certificate and key",
            both(writes("a.pem", b"x"), writes("a.key", b"x")), source=TLS_SOURCE),
    *(
        refusal
        for mode, kind, other in (("stream", TCP, UDP), ("datagram", UDP, TCP))
        for refusal in (
            Refusal("sources.unix", f"{mode}_no_folder", "No such file or directory: make its folder",
                    source=f'type = "unix"\npath = "run/in.sock"\nmode = "{mode}"'),
            Refusal("sources.unix", f"{mode}_folder_is_a_file", "Not a directory", writes("var/run", b""),
                    source=f'type = "unix"\npath = "run/in.sock"\nmode = "{mode}"'),
            Refusal("sources.unix", f"{mode}_foreign", "a file that is no socket",
                    writes("var/in.sock", b""),
                    source=f'{UNIX}\nmode = "{mode}"'),
            Refusal("sources.unix", f"{mode}_a_folder", "a file that is no socket",
                    folder_at("var/in.sock"),
                    source=f'{UNIX}\nmode = "{mode}"'),
            Refusal("sources.unix", f"{mode}_taken", "it is taken", unix("var/in.sock", kind),
                    source=f'{UNIX}\nmode = "{mode}"'),
            Refusal("sources.unix", f"{mode}_taken_by_the_other_kind", "it is taken",
                    unix("var/in.sock", other),
                    source=f'{UNIX}\nmode = "{mode}"'),
            Refusal("sources.unix", f"{mode}_too_long", "longer than 107 bytes",
                    source=f'type = "unix"\npath = "{"x" * 108}"\nmode = "{mode}"'),
            Refusal("sources.unix", f"{mode}_no_group", "there is no group",
                    source=f'{UNIX}\ngroup = "no-such-group"\nmode = "{mode}"'),
        )
    ),
    Refusal("sources.unix", "group_of_others", "not in the group 'root'",
            source=f'{UNIX}\ngroup = "root"', uid=NOBODY),
    Refusal("sources.unix", "folder_of_root", "its folder must be writable", folder_at("run"),
            source='type = "unix"\npath = "../run/in.sock"', uid=NOBODY),
    Refusal("sources.unix", "dead_socket_of_root", "Permission denied",
            unix("run/in.sock", TCP, alive=False),
            source='type = "unix"\npath = "../run/in.sock"', uid=NOBODY),
    Refusal("sources.file", "foreign_position", "cannot read the remembered position",
            writes("var/positions/in.json", b"{}"), source='type = "file"\npath = "app.log"'),
    Refusal("sources.file", "position_is_a_folder", "cannot read the remembered position",
            folder_at("var/positions/in.json"), source='type = "file"\npath = "app.log"'),
    Refusal("sinks.file", "foreign", "does not begin like a file of this sink",
            writes("var/out.ndjson", b"Jan 31 08:00:00 host su: hello\n"), sink=LINES),
    Refusal("sinks.file", "other_columns", "does not begin like a file of this sink",
            writes("var/out.csv", b"a,c\r\n1,2\r\n"), sink=CSV),
    Refusal("sinks.file", "folder", "Is a directory", folder_at("var/out.ndjson"), sink=LINES),
    Refusal("sinks.file", "fifo", "is not a regular file",
            lambda f: os.mkfifo(state(f) / "out.ndjson"), sink=LINES),
    Refusal("sinks.file", "database_of_this_daemon", "is a database of this daemon",
            both(table("streamd.db", "CREATE TABLE x (y)"),
                 lambda f: os.link(f / "var" / "streamd.db", f / "var" / "out.ndjson")), sink=LINES),
    Refusal("sinks.file", "locked", "is being written by another sink or daemon",
            flocked("out.ndjson"), sink=LINES),
    Refusal("sinks.file", "folder_is_a_file", "Not a directory", writes("var/x", b""),
            sink='type = "file"\npath = "x/y/out.ndjson"'),
    Refusal("sinks.file", "its_folder_is_a_file", "File exists", writes("var/x", b""),
            sink='type = "file"\npath = "x/out.ndjson"'),
    Refusal("sinks.file", "file_of_root", "Permission denied", writes("out.ndjson", b""),
            sink='type = "file"\npath = "../out.ndjson"', uid=NOBODY),
    Refusal("sinks.file", "folder_of_root", "Permission denied", folder_at("out"),
            sink='type = "file"\npath = "../out/x/out.ndjson"', uid=NOBODY),
    Refusal("sinks.file", "hidden", "Permission denied", folder_at("out", 0o700),
            sink='type = "file"\npath = "../out/out.ndjson"', uid=NOBODY),
    Refusal("sinks.file", "unfinished_of_another_day", "does not begin like a file of this sink",
            writes("var/out-2026-01-01.ndjson", b"foreign\n"),
            sink='type = "file"\npath = "out-%Y-%m-%d.ndjson"\ngzip = true'),
    Refusal("sinks.file", "name_too_long", "File name too long",
            sink=f'type = "file"\npath = "{"x" * 300}"'),
    Refusal("sinks.parquet", "its_folder_is_a_file", "File exists", writes("var/lake", b""), sink=LAKE),
    Refusal("sinks.parquet", "folder_is_a_file", "Not a directory", writes("var/lake", b""),
            sink=LAKE.replace("lake/", "lake/deep/")),
    Refusal("sinks.parquet", "folder_of_root", "Permission denied", folder_at("out"),
            sink=LAKE.replace("lake/", "../out/"), uid=NOBODY),
    Refusal("sinks.parquet", "new_folder_of_root", "Permission denied", folder_at("out"),
            sink=LAKE.replace("lake/", "../out/lake/"), uid=NOBODY),
    Refusal("sinks.parquet", "name_too_long", "File name too long",
            sink=LAKE.replace("%Y", "x" * 220)),
    Refusal("sinks.sqlite", "folder", "Is a directory", folder_at("var/data.db")),
    Refusal("sinks.sqlite", "folder_is_a_file", "Not a directory", writes("var/x", b""),
            sink='type = "sqlite"\npath = "x/y/data.db"'),
    Refusal("sinks.sqlite", "fifo", "is not a regular file", lambda f: os.mkfifo(state(f) / "data.db")),
    Refusal("sinks.sqlite", "other_type", "holds TEXT, the configuration says REAL",
            table("data.db", "CREATE TABLE records (value TEXT, extra TEXT) STRICT"), sink=TABLE),
    Refusal("sinks.sqlite", "other_making", "is not STRICT",
            table("data.db", "CREATE TABLE records (value REAL)"), sink=TABLE),
    Refusal("sinks.sqlite", "view", "is a view",
            table("data.db", "CREATE VIEW records AS SELECT 1"), sink=TABLE),
    Refusal("sinks.sqlite", "equal_rows", "rows that are equal in unique",
            table("data.db", "CREATE TABLE records (value REAL, extra TEXT) STRICT",
                  "INSERT INTO records VALUES (1, ''), (1, '')"),
            sink=f'{TABLE}\nunique = ["value"]'),
    Refusal("sinks.sqlite", "locked_exclusively", "database is locked",
            locked("data.db", "BEGIN EXCLUSIVE", "CREATE TABLE x (y)")),
    Refusal("sinks.sqlite", "locked_to_write", "database is locked",
            locked("data.db", "BEGIN IMMEDIATE", "PRAGMA journal_mode=WAL", "CREATE TABLE x (y)")),
    Refusal("sinks.sqlite", "file_of_root", "Permission denied", writes("data/data.db", b""),
            sink='type = "sqlite"\npath = "../data/data.db"', uid=NOBODY),
    Refusal("sinks.sqlite", "folder_of_root", "Permission denied",
            both(folder_at("data"), writes("data/data.db", b"", 0o666)),
            sink='type = "sqlite"\npath = "../data/data.db"', uid=NOBODY),
    Refusal("sinks.sqlite", "log_of_root", "Permission denied",
            both(lambda f: shutil.copy(_database(f), f / "var" / "data.db"),
                 writes("var/data.db-wal", b"x" * 64, 0o600)), uid=NOBODY),
    Refusal("sinks.sqlite", "file_of_two_names", "one file under two names",
            both(table("streamd.db", "CREATE TABLE x (y)"),
                 lambda f: os.link(f / "var" / "streamd.db", f / "var" / "data.db"))),
    Refusal("sinks.tcp", "no_ca", "ca.pem cannot be read", sink=TLS_SINK),
    Refusal("sinks.tcp", "no_pem", "holds no certificate", writes("ca.pem", b"x"), sink=TLS_SINK),
    Refusal("sinks.unix", "no_socket", "there is a file that is no socket", writes("var/out.sock", b""),
            sink='type = "unix"\npath = "out.sock"'),
    Refusal("sinks.unix", "of_the_other_kind", 'set mode = "datagram"', unix("var/out.sock", UDP),
            sink='type = "unix"\npath = "out.sock"'),
    Refusal("sinks.unix", "of_root", "must be allowed to write to it", unix("run/out.sock", UDP),
            sink='type = "unix"\npath = "../run/out.sock"\nmode = "datagram"', uid=NOBODY),
    Refusal("steps.python", "no_file", "steps.py", steps='{ type = "python", function = "steps.py:f" }'),
    Refusal("steps.python", "no_import", "no_such_module",
            writes("steps.py", b"import no_such_module\n"),
            steps='{ type = "python", function = "steps.py:f" }'),
    Refusal("steps.python", "no_import_in_a_process", "no_such_module",
            writes("steps.py", b"import no_such_module\n"),
            steps='{ type = "python", function = "steps.py:f", executor = "process" }'),
    Refusal("steps.python", "no_function", "steps.py", writes("steps.py", b"x = 1\n"),
            steps='{ type = "python", function = "steps.py:f" }'),
    Refusal("steps.python", "of_root", "Permission denied",
            writes("steps.py", b"def f(r):\n    return r\n", 0o600),
            steps='{ type = "python", function = "steps.py:f" }', uid=NOBODY),
    Refusal("admin", "taken", "the port is taken", TAKE_ADMIN, more=f'[admin]\nlisten = "{TAKEN_ADMIN}"'),
    Refusal("admin", "privileged", "choose one above 1023",
            more='[admin]\nlisten = "127.0.0.1:99"', uid=NOBODY),
    Refusal("control", "foreign", "a file that is no socket", writes("var/control.sock", b"x")),
    Refusal("control", "a_folder", "a file that is no socket", folder_at("var/control.sock")),
    Refusal("control", "taken", "it is taken", unix("var/control.sock", TCP)),
    Refusal("control", "no_group", "there is no group", more='[control]\ngroup = "no-such-group"'),
    Refusal("control", "folder_of_root", "make its folder", folder_at("run"),
            more='[control]\npath = "../run/x/control.sock"', uid=NOBODY),
    Refusal("control", "folder_is_a_file", "Not a directory", writes("var/x", b""),
            more='[control]\npath = "x/control.sock"'),
    Refusal("ledger", "other_table", "cannot write the ledger", table("led.db", "CREATE TABLE ledger (x)"),
            more='[ledger]\npath = "led.db"'),
    Refusal("ledger", "other_view", "cannot write the ledger",
            table("led.db", "CREATE TABLE completeness (x)"),
            more='[ledger]\npath = "led.db"'),
    Refusal("ledger", "folder", "Is a directory", folder_at("var/led.db"), more='[ledger]\npath = "led.db"'),
    Refusal("ledger", "locked", "database is locked",
            locked("led.db", "BEGIN IMMEDIATE", "PRAGMA journal_mode=WAL", "CREATE TABLE x (y)"),
            more='[ledger]\npath = "led.db"'),
    Refusal("dead_letters", "other_table", "cannot write the dead letters",
            table("dead-letters.db", "CREATE TABLE dead_letters (x)")),
    Refusal("dead_letters", "folder", "Is a directory", folder_at("var/dead-letters.db")),
    Refusal("dead_letters", "read_only_disk", "Read-only file system", read_only,
            more='[control]\npath = "none"'),
    Refusal("dead_letters", "full_disk", "No space left on device", full, more='[control]\npath = "none"'),
    Refusal("dead_letters", "locked", "database is locked",
            locked("dead-letters.db", "BEGIN IMMEDIATE", "PRAGMA journal_mode=WAL", "CREATE TABLE x (y)")),
    Refusal("steps.lookup", "its file is missing", "sites.csv: No such file", steps=LOOKUP),
    Refusal("steps.lookup", "its file is a folder", "sites.csv: Is a directory", folder_at("sites.csv"),
            steps=LOOKUP),
    Refusal("steps.lookup", "its file may not be read", "sites.csv: Permission denied",
            writes("sites.csv", b"sensor,site\n", 0), steps=LOOKUP, uid=NOBODY),
    Refusal("steps.lookup", "a column is missing", "there is no column 'site': did you mean 'sites'?",
            writes("sites.csv", b"sensor,sites\n"), steps=LOOKUP),
    Refusal("steps.lookup", "a key occurs twice", "line 3: the key 'a' occurs twice",
            writes("sites.csv", b"sensor,site\na,1\na,2\n"), steps=LOOKUP),
    Refusal("steps.model", "its file is missing", "model.onnx: No such file", steps=ONNX),
    Refusal("steps.model", "its file is a folder", "model.onnx: Is a directory", folder_at("model.onnx"),
            steps=ONNX),
    Refusal("steps.model", "its file may not be read", "model.onnx: Permission denied",
            writes("model.onnx", ABOVE_3, 0), steps=ONNX, uid=NOBODY),
    Refusal("steps.model", "its file is half written", "onnxruntime cannot load the model",
            writes("model.onnx", ABOVE_3[:200]), steps=ONNX),
    Refusal("steps.model", "an output is missing", "no output 'labels': did you mean 'label'?",
            writes("model.onnx", ABOVE_3), steps=ONNX.replace('"label"', '"labels"')),
    Refusal("steps.model", "its shadow is missing", "candidate.onnx: No such file",
            writes("model.onnx", ABOVE_3), steps=ONNX.replace(" } }", ' }, shadow = "candidate.onnx" }')),
    Refusal("steps.redact", "its key is missing", "`openssl rand -hex 32` makes one", steps=REDACT),
    Refusal("steps.redact", "its key is short", "has 4 bytes, and needs at least 16",
            writes("redact.key", b"1234", 0o600), steps=REDACT),
    Refusal("steps.redact", "its key is open to all", "is open to all users (mode 0644)",
            writes("redact.key", b"0123456789abcdef"), steps=REDACT),
    Refusal("steps.redact", "its key may not be read", "redact.key cannot be read: Permission denied",
            writes("redact.key", b"0123456789abcdef", 0o600), steps=REDACT, uid=NOBODY),
    Refusal("steps.lookup", "no database", "file is not a database",
            writes("sites.csv", b"sensor,site\n" * 100), steps=LOOKUP.replace("}", ', table = "t" }')),
    Refusal("steps.validate", "the table of a rule is missing", "site_reference: ", steps=REFERENCE),
    Refusal("steps.validate", "a rule's column is missing", "no column 'site': did you mean 'sites'?",
            writes("sites.csv", b"sensor,sites\n"), steps=REFERENCE),
    Refusal("steps.validate", "a row of a rule's table is broken", "line 3: 1 value for 2 columns",
            writes("sites.csv", b"sensor,site\na,b\nc\n"), steps=REFERENCE),
    Refusal("steps.validate", "the model's file is missing", "models.py: No such file", steps=MODEL),
    Refusal("steps.validate", "the model's code fails", "models.py:2: ZeroDivisionError",
            writes("models.py", b"\n1 / 0\n"), steps=MODEL),
    Refusal("steps.validate", "no model", "models.py:1: 'Reading' is no pydantic model",
            writes("models.py", b"class Reading: pass\n"), steps=MODEL),
]  # fmt: skip

KINDS = {"sources": "source", "sinks": "sink", "steps": "steps"}
"""The kinds that may open something, and where a `Refusal` has their part of the configuration."""


def of_its_test(kind: str, name: str) -> Iterator[Refusal]:
    """What the test of a component gives as `REFUSALS`; see tests/declared.py."""
    least = declared.least(registry.load(kind, name).Config)
    options = {"type": name} | least | declared.options_of(kind, name)[0]
    pairs = [f"{key} = {toml(value)}" for key, value in options.items()]
    text = f"{{ {', '.join(pairs)} }}" if kind == "steps" else "\n".join(pairs)
    part: Any = {KINDS[kind]: text}
    for words, trouble in declared.declared(kind, name, "REFUSALS", {}).items():
        make = trouble if kind == "steps" else partial(in_state, trouble)
        yield Refusal(f"{kind}.{name}", words, words, make, **part)


def in_state(trouble: Callable[[Path], Any], folder: Path) -> Any:
    return trouble(state(folder))


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {toml(inner)}' for key, inner in value.items())} }}"
    return json.dumps(value)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "refusal" in metafunc.fixturenames:
        own = [one for kind in KINDS for name in registry.names(kind) for one in of_its_test(kind, name)]
        metafunc.parametrize("refusal", [*REFUSALS, *own], ids=lambda one: f"{one.component}-{one.what}")


def _database(folder: Path) -> Path:
    table("whole.db", "CREATE TABLE x (y)")(folder)
    return folder / "var" / "whole.db"


def words_of_run(path: Path) -> str:
    """Why a start is refused."""

    async def begin() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await Daemon(config.load(path)).run()

    try:
        asyncio.run(begin())
    except StreamdError as error:
        return str(error)
    raise AssertionError("it has started")


def snapshot(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Everything below the folder: kind and mode, inode, owner, size, time of change, and contents."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        about = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        owner, size = (about.st_uid, about.st_gid), about.st_size
        found[str(path)] = (about.st_mode, about.st_ino, owner, size, about.st_mtime_ns, content)
    return found


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that other users can reach too."""
    for name in ("STREAMD_CONFIG", "STATE_DIRECTORY", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    here = Path.cwd()
    path = Path(tempfile.mkdtemp(prefix="streamd-", dir="/tmp")).resolve()
    path.chmod(0o755)
    yield path
    os.chdir(here)
    shutil.rmtree(path)


def close(held: Any) -> None:
    for one in held if isinstance(held, list) else [held]:
        if isinstance(one, subprocess.Popen):
            one.communicate()
        elif hasattr(one, "close"):
            one.close()


def test_check_says_what_run_would_and_changes_nothing(
    refusal: Refusal, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "streamd.toml"
    path.write_text(refusal.text())
    if (refusal.uid or "disk" in refusal.what) and os.geteuid() != 0:
        pytest.skip("needs root")
    if "privileged" in refusal.what and first_unprivileged_port() <= 514:
        pytest.skip("every user may bind the port here")
    if "certificate" in refusal.what and shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    held = refusal.make(folder)
    try:
        if refusal.uid:
            state(folder)
            os.chown(folder / "var", refusal.uid, refusal.uid)
        before = snapshot(folder)
        said = as_user(refusal.uid, path, before) if refusal.uid else as_this_user(path, before, capsys)
    finally:
        close(held)
    assert said["code"] in (1, 2), said
    assert refusal.words in said["run"], said
    for line in said["run"].splitlines():
        assert line in said["check"], said


def as_this_user(
    path: Path, before: dict[str, tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """What check and run say; between the two nothing has changed in the folder."""
    os.chdir(path.parent)
    code = main(["check", "--config", path.name])
    assert snapshot(path.parent) == before
    return {"code": code, "check": capsys.readouterr().err, "run": words_of_run(Path(path.name))}


def as_user(uid: int, path: Path, before: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
    """The same as another user, in processes of its own."""
    user = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")

    def said(what: str) -> subprocess.CompletedProcess[str]:
        words = [*user, sys.executable, "-c", _AS_USER, what, path.name]
        return subprocess.run(words, cwd=path.parent, check=False, capture_output=True, text=True)

    checked = said("check")
    assert snapshot(path.parent) == before
    ran = said("run")
    assert ran.stdout, ran.stderr
    return {"code": checked.returncode, "check": checked.stderr, "run": json.loads(ran.stdout)}


_AS_USER = f"""
import json, pathlib, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1])!r}]
import test_every_refusal as here
if sys.argv[1] == "check":
    from streamd.cli import main
    raise SystemExit(main(["check", "--config", sys.argv[2]]))
print(json.dumps(here.words_of_run(pathlib.Path(sys.argv[2]))))
"""


def test_every_component_that_opens_something_is_tried() -> None:
    tried = {refusal.component for refusal in REFUSALS}
    for kind in KINDS:
        for name in registry.names(kind):
            opens = registry.load(kind, name).open is not Step.open
            said = declared.declared(kind, name, "REFUSALS", None) is not None
            assert not opens or said or f"{kind}.{name}" in tried, (
                f"{kind}/{name}.py opens something: say in REFUSALS of tests/{kind}/test_{name}.py what can "
                "keep it from that (tests/declared.py has the form)"
            )
    for kind in ("codecs", "framing"):
        for name in registry.names(kind):
            assert not hasattr(registry.load(kind, name), "open"), "what opens something has to be tried here"


INSIDE = {"Database", "DatedWriter", "TableWriter", "StateKeeper", "Swap"}
"""Parts of others, which rehearse for them (`sqlite/rehearsal.py`), and a reload, which rehearses first."""


def test_whatever_has_an_open_to_await_can_be_rehearsed() -> None:
    rehearsed: set[str] = set()
    not_rehearsed: set[str] = set()
    for module in pkgutil.walk_packages(streamd.__path__, "streamd."):
        if module.name.endswith("__main__"):
            continue
        for name, cls in vars(import_module(module.name)).items():
            if inspect.isclass(cls) and cls.__module__ == module.name and _opens(cls):
                (rehearsed if hasattr(cls, "rehearse") else not_rehearsed).add(name)
    assert not_rehearsed == INSIDE
    assert rehearsed >= {"AdminServer", "ControlServer", "DeadLetters", "Ledger", "Sink", "Source"}


def _opens(cls: type) -> bool:
    return inspect.iscoroutinefunction(vars(cls).get("open"))
