"""What is measured: each system with its command, what goes in, and what it does with that."""

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
LIBRARIES = (
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/syslog-ng",
    "lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
)


@dataclass(frozen=True, slots=True)
class System:
    """One system doing one job. `{folder}` in `command` is the run's, `{peers}` has the systems unpacked."""

    name: str
    job: str
    config: str
    command: tuple[str, ...]
    does: str
    does_not: str
    source: str
    """Who brings it: debian, wheels or here."""
    table: str | None = None
    """The table in the SQLite file that it writes; None: it writes lines into a plain file."""
    udp: bool = False
    share: float = 1.0
    """Of the records, where it would take minutes for all."""


JSON, SYSLOG = "JSON lines of 9 fields", "syslog lines (RFC 5424)"
_LINES = "no check of types, no database"
_STREAMD = ("{python}", "-m", "streamd", "run", "--config", "{config}")
_RSYSLOGD = (
    "{root}/usr/sbin/rsyslogd", "-n", "-f", "{config}", "-i", "{folder}/pid",
    "-M", "{root}/usr/lib/x86_64-linux-gnu/rsyslog:{root}/usr/lib/aarch64-linux-gnu/rsyslog",
)  # fmt: skip
_SYSLOG_NG = (
    "{root}/usr/sbin/syslog-ng", "-F", "--no-caps", "-f", "{config}",
    "--module-path={root}/usr/lib/syslog-ng/3.38",
    "-R", "{folder}/persist", "-p", "{folder}/pid", "-c", "{folder}/ctl",
)  # fmt: skip

SYSTEMS = (
    System(
        "streamd", JSON, "streamd-json.toml", _STREAMD,
        "parses, checks types and ranges, a SQLite column for each field, rows in the ledger",
        'no fsync at each commit (`synchronous = "normal"`)', "here", table="readings",
    ),
    System(
        "Tenzir", JSON, "tenzir-json.tql", ("{peers}/venv/bin/tenzir", "-f", "{config}"),
        "parses, infers types, writes each event anew as JSON into a plain file", _LINES,
        "wheels",
    ),
    System(
        "syslog-ng", JSON, "syslog-ng-json.conf", _SYSLOG_NG,
        "parses, writes the fields anew as JSON into a plain file", _LINES, "debian",
    ),
    System(
        "rsyslog", JSON, "rsyslog-json.conf", _RSYSLOGD,
        "parses, writes the fields anew as JSON into a plain file", _LINES, "debian",
    ),
    System(
        "streamd", SYSLOG, "streamd-syslog.toml", _STREAMD,
        "parses all of it, nine SQLite columns, structured data as JSON, rows in the ledger",
        'no fsync at each commit (`synchronous = "normal"`)', "here", table="messages",
    ),
    System(
        "streamd, own Python", SYSLOG, "streamd-own-python.toml", _STREAMD,
        "parses the header in a Python step, seven SQLite columns", "structured data stays in the message",
        "here", table="messages",
    ),
    System(
        "syslog-ng", SYSLOG, "syslog-ng-sqlite.conf", _SYSLOG_NG,
        "parses all of it, seven SQLite columns", "one `INSERT` text for each row", "debian",
        table="messages",
    ),
    System(
        "aiosyslogd", SYSLOG, "aiosyslogd.toml", ("{peers}/venv/bin/aiosyslogd",),
        "parses all of it, SQLite columns and a full-text index, over UDP", "no TCP", "wheels",
        table="SystemEvents", udp=True, share=0.05,
    ),
)  # fmt: skip

NOT_HERE = {
    "Vector, Fluent Bit, Telegraf, Benthos (Redpanda Connect)": "neither in Debian nor as wheels",
    "Bytewax, Faust": "libraries, not daemons: what they read is the user's own code or Kafka",
}


def filled(system: System, folder: Path, port: int) -> str:
    """The system's configuration for this run."""
    text = (HERE / system.config).read_text()
    values = {"DIR": folder, "OUT": folder / "out.txt", "PORT": port, "PEERS": HERE}
    for word, value in values.items():
        text = text.replace(f"@{word}@", str(value))
    return text
