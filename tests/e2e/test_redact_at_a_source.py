"""Sources of a daemon redact: personal data has every fate, and no file or answer holds any of it."""

import base64
import json
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from streamd.redaction.actions import keyed_hash
from tests import preloaded

SENDER = "127.0.77.141"
PERSON = {
    "name": "Wilhelmina Quartermaine",
    "note": "allergic to wolfsbane",
    "mail": "w.quartermaine@example.org",
    "ip": "203.0.113.177",
    "ip6": "2001:db8:12:34::77",
    "card": "4111 1111 1111 1111",
    "phone": "+49 30 90182015",
    "iban": "DE89 3704 0044 0532 0130 00",
}
KEY = "a3f1c07b5d2e9846fe10b7a2c4d8596e"
SECRETS = [*PERSON.values(), "4111111111111111", "DE89370400440532013000", SENDER, KEY]

REDACT = """{ key = "redact.key", peer = "PEER", rules = [
    { fields = ["name"], action = "hash" },
    { fields = ["note"], action = "drop" },
    { detect = ["email", "phone", "iban", "card"], action = "mask" },
    { detect = ["ip"], action = "truncate" },
] }"""
CONFIG = """
[log]
level = "debug"
[admin]
listen = "127.0.0.1:0"
[ledger]
interval = "200ms"

[schemas.reading]
kind = "str"
temp = "float"
name = { type = "str", required = false }
text = { type = "str", required = false }
note = { type = "str", required = false }

[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
redact = TRUNCATE

[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
max_frame = "600B"
redact = HASH

[sources.checked]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
schema = "reading"
redact = DROP

[sources.rows]
type = "udp"
listen = "127.0.0.1:0"
framing = "newline"
codec = { type = "csv", columns = ["kind", "name", "text"] }
redact = TRUNCATE

[sources.counted]
type = "tcp"
listen = "127.0.0.1:0"
framing = "octet_counting"
codec = "raw"
redact = { rules = [{ detect = ["email", "phone", "iban", "card", "ip"], action = "mask" }] }

[sources.log]
type = "file"
path = "in.log"
codec = "json"
redact = HASH

[pipelines.main]
sources = ["lab", "floor", "checked", "rows", "counted", "log"]
steps = [
    { type = "filter", where = "kind != 'filtered'" },
    { type = "validate", rules = [
        { field = "zip", check = "pattern", pattern = "[0-9]{5}", on_error = "reject" },
        { field = "age", check = "range", le = 150, on_error = "fix" },
        { field = "text", check = "pattern", pattern = "[a-z]*", on_error = "flag" },
    ] },
    { type = "set", fields = { shout = "text + 1 if kind == 'shout' else None" } },
    { type = "python", function = "steps.py:judge" },
]
sinks = [
    { name = "records", where = "kind != 'strict'" },
    { name = "strict", where = "kind == 'strict'" },
    { name = "lines" },
    { name = "odd", where = "kind == 'odd' and text > 1" },
]

[pipelines.state]
sources = ["lab", "log"]
steps = [
    { type = "dedupe", key = ["name", "text"], within = "1h" },
    { type = "merge", key = ["name"], fields = ["mail"], max_age = "1h" },
    { type = "window", size = "1h", key = ["name"], aggregate = { n = "count()", text = "last(text)" } },
]
sinks = ["windows"]

[sinks.records]
type = "sqlite"
path = "streamd.db"
[sinks.strict]
type = "sqlite"
path = "streamd.db"
table = "strict"
columns = { kind = "str", text = "int" }
metadata = true
[sinks.lines]
type = "file"
path = "lines.ndjson"
metadata = true
[sinks.odd]
type = "file"
path = "odd.ndjson"
[sinks.windows]
type = "sqlite"
path = "streamd.db"
table = "windows"
columns = { name = "str", n = "int" }
extra = "json"
"""
STEPS = """
import streamd

def judge(record):
    if record.get("kind") == "raise":
        raise ValueError(f"cannot use {record}")
    if record.get("kind") == "reject":
        raise streamd.Reject(f"refused: {record}")
    return record
"""
for rule in ("truncate", "hash", "drop"):
    CONFIG = CONFIG.replace(f"= {rule.upper()}\n", f"= {REDACT.replace('PEER', rule)}\n")
KINDS = ("stored", "filtered", "raise", "reject", "shout", "strict", "odd", "zip", "old")


def person(kind: str, **more: Any) -> dict[str, Any]:
    """A record with every kind of personal data: alone, in a text, in objects and lists, as keys."""
    return {
        "kind": kind,
        **PERSON,
        "text": " / ".join(value for key, value in PERSON.items() if key not in ("name", "note")),
        "deep": {"list": [{"name": PERSON["name"]}, PERSON["mail"]], PERSON["mail"]: 1},
        "number": 4111111111111111,
        **more,
    }


def frames() -> list[bytes]:
    """A frame for each fate of JSON, and frames that are no JSON."""
    found = [person(kind) for kind in KINDS]
    found[KINDS.index("zip")]["zip"] = PERSON["mail"]
    found[KINDS.index("old")]["age"] = 4111111111111111
    whole = [json.dumps(record).encode() for record in found]
    mail = PERSON["mail"].encode()
    return [
        *whole,
        whole[0].replace(b"@", b"\\u0040"),  # the same in another spelling
        whole[0][:-20],
        whole[0][:90].replace(b"W", b"\\u0057"),
        b'{"mail": "' + mail + b'\xff"}',
        b"\0" + mail,
        b'[{"name": "' + PERSON["name"].encode() + b'", ]',
        b'"' + mail + b'"',
    ]


def texts() -> list[bytes]:
    """Lines that are no JSON, one of them longer than `max_frame`, and one without an end."""
    text = person("")["text"].encode()
    return [text, text * 5, PERSON["mail"].encode() * 3, text]


SENT = {
    "lab": len(frames()), "rows": 2, "floor": len(frames()) + len(texts()), "checked": len(frames()) + 3,
    "counted": 1, "log": len(frames()),
}  # fmt: skip
"""The number of frames that `send` sends to each source."""


def spellings(secret: str) -> Iterator[bytes]:
    """The secret as it may be found in a file."""
    raw = secret.encode()
    yield raw
    yield json.dumps(secret)[1:-1].encode()
    yield secret.replace("@", "\\u0040").encode()
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    yield secret.encode("utf-16-le")
    for shift in range(3):  # the whole groups of its base64, wherever it began
        data = b"\0" * shift + raw
        yield base64.b64encode(data[: len(data) // 3 * 3])[4 if shift else 0 :]


def leaks(places: dict[str, bytes]) -> list[tuple[str, str, str]]:
    found = []
    for place, content in places.items():
        for secret in SECRETS:
            for spelling in spellings(secret):
                at = content.lower().find(spelling.lower())
                if at >= 0:
                    found.append((place, secret, content[max(0, at - 80) : at + 80].decode(errors="replace")))
                    break
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file that the daemon has written: databases with their logs, lines, positions, its log."""
    own = {"in.log", "redact.key", "streamd.toml", "steps.py"}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in own and "__pycache__" not in path.parts
    }


def answers(daemon: Any) -> dict[str, bytes]:
    """What the admin address, the control socket and the commands say."""
    found = {}
    for path in ("/metrics", "/healthz", "/readyz", "/status"):
        try:
            with urllib.request.urlopen(daemon.admin() + path, timeout=30) as answer:  # noqa: S310 - http
                found[path] = answer.read()
        except urllib.error.HTTPError as error:
            found[path] = error.read()
    for target in ("/status", "/dead-letters?limit=1000"):
        found[f"control {target}"] = daemon.control("GET", target)[1].encode()
    for words in (
        ["status"],
        ["dead-letters", "list", "--json"],
        ["query", "--json", "select * from quality"],
        ["query", "--json", "select * from dead.dead_letters"],
    ):
        done = preloaded.run([*words, "--config", str(daemon.config)], daemon.folder)
        found[" ".join(words)] = (done.stdout + done.stderr).encode()
    return found


def send(daemon: Any, file: Path) -> None:
    """Send everything to every source."""
    daemon.udp(*frames(), source="lab", bind=SENDER)
    row = b"stored,%s,%s" % (PERSON["name"].encode(), PERSON["mail"].encode())
    daemon.udp(row + b"\n" + row + b",too,many\n", source="rows", bind=SENDER)
    for source, data in (
        ("floor", b"\n".join(frames() + texts())),
        (
            "checked",
            b"\n".join(
                [
                    *frames(),
                    *(json.dumps(person("stored", temp=t)).encode() for t in (1, "x y", PERSON["mail"])),
                ]
            ),
        ),
        ("counted", b"%d %s" % (len(PERSON["mail"]), PERSON["mail"].encode()) + PERSON["mail"].encode()),
    ):
        with socket.create_connection(daemon.address(source), 30, (SENDER, 0)) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass
    with file.open("ab") as log:
        log.write(b"\n".join(frames()) + b"\n")


def test_no_fate_of_a_record_leaves_personal_data_behind(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    (tmp_path / "redact.key").write_text(KEY)
    (tmp_path / "redact.key").chmod(0o600)
    (tmp_path / "steps.py").write_text(STEPS)
    log = tmp_path / "in.log"
    log.write_bytes(b"")
    daemon = start(CONFIG)

    def arrived(rounds: int) -> bool:
        books = daemon.books()
        return all(books[name, "", "", "received"] >= n * rounds for name, n in SENT.items()) and not any(
            n for (*_, name), n in books.items() if name in ("waiting", "held", "pending", "in_flight")
        )

    send(daemon, log)
    wait_until(lambda: arrived(1), "the first round")
    daemon.config.write_text(CONFIG + '[sinks.more]\ntype = "stdout"\n')
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.events("reloaded"), "reloaded")
    send(daemon, log)
    wait_until(lambda: arrived(2), "the second round")
    assert leaks(answers(daemon)) == []
    log_of_first = daemon.stderr
    daemon.process.kill()
    daemon.process.wait()
    assert leaks(files_of(tmp_path)) == []

    daemon = start(CONFIG)
    send(daemon, log)
    wait_until(lambda: arrived(1), "the third round")
    daemon.stop()
    files = files_of(tmp_path)
    assert leaks(files) == []
    assert_all_fates(daemon, files, log_of_first)


def assert_all_fates(daemon: Any, files: dict[str, bytes], log: str) -> None:
    """Each fate has happened, and what may be kept is there."""
    hashed = keyed_hash(KEY.encode(), 32)
    name = hashed(PERSON["name"])
    letters = daemon.query("SELECT DISTINCT stage, reason, kind FROM dead_letters", "dead-letters.db")
    assert {*letters} == {
        ("decode", "auto:fields", "withheld"),
        ("decode", "csv:fields", "withheld"),
        ("decode", "json:not_object", "withheld"),
        ("decode", "json:syntax", "withheld"),
        ("decode", "json:utf16", "withheld"),
        ("decode", "json:utf8", "withheld"),
        ("decode", "schema:required", "frame"),
        ("decode", "schema:type", "frame"),
        ("decode", "truncated", "withheld"),
        ("validate[1]", "rule:pattern", "record"),
        ("validate[1]", "rule:range", "record"),
        ("set[2]", "expr:type", "record"),
        ("python[3]", "exception", "record"),
        ("python[3]", "rejected", "record"),
        ("sink", "schema:type", "record"),
        ("where", "expr:type", "record"),
    }
    details = dict(
        daemon.query("SELECT reason, detail FROM dead_letters WHERE stage != 'decode'", "dead-letters.db")
    )
    assert name in details["exception"]
    details = dict(
        daemon.query("SELECT reason, detail FROM dead_letters WHERE stage = 'decode'", "dead-letters.db")
    )
    assert (details["schema:type"], details["json:syntax"]) == ("temp: withheld", "")
    assert dict(daemon.query("SELECT source, peer FROM dead_letters", "dead-letters.db")) == {
        "lab": "127.0.77.0:0",
        "floor": hashed(SENDER),
        "checked": "",
        "rows": "127.0.77.0:0",
        "log": hashed(str(daemon.folder / "in.log")),
    }
    record = json.loads(
        daemon.query("SELECT record FROM records WHERE source = 'lab' AND record LIKE '%stored%' LIMIT 1")[0][
            0
        ]
    )
    assert record == {
        "kind": "stored",
        "name": name,
        "mail": "***",
        "ip": "203.0.113.0",
        "ip6": "2001:db8:12::",
        "card": "***",
        "phone": "***",
        "iban": "***",
        "text": "*** / 203.0.113.0 / 2001:db8:12:: / *** / *** / ***",
        "deep": {"list": [{"name": name}, "***"], "***": 1},
        "number": "***",
        "shout": None,
        "quality": record["quality"],
    }
    assert name.encode() in files["var/state.db"]
    assert b"***" in files["var/lines.ndjson"]
    assert json.loads(files["var/positions/log.json"])["head"][0] == 1024
    assert "step_failed" in log
    assert name in log
    assert "framing_error" in log
    worst = daemon.query("SELECT DISTINCT source, worst_sender FROM quality WHERE worst_failed > 0")
    assert ("lab", "127.0.77.0") in worst
    assert ("floor", hashed(SENDER)) in worst
