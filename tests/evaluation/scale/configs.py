"""The configurations: two edges, three workers, and one machine that does the work of all alone."""

from pathlib import Path

from tests.evaluation.scale.readings import DELAY_S, PARTITIONS, WINDOW_S

WORKERS = 3
_HEAD = """
[daemon]
drain_timeout = "120s"
[admin]
listen = "127.0.0.1:0"
[ledger]
interval = "0.5s"
"""
_SCHEMAS = """
[schemas.reading]
seq = "int"
site = "str"
sensor = "str"
at = "timestamp"
value = "float"
[schemas.window]
sensor = "str"
window_start = "timestamp"
window_end = "timestamp"
n = "int"
total = "int"
mean = "float"
most = "float"
final = "bool"
complete = "bool"
"""
_EDGE = """
[sources.lines]
type = "file"
path = "{path}"
codec = "json"
[pipelines.uplink]
sources = ["lines"]
sinks = ["stream"]
[sinks.stream]
type = "nats"
servers = [{servers}]
stream = "readings"
subject = "readings.{{partition}}"
partitions = {partitions}
partition_by = ["site"]
ack_timeout = "2s"
create = {{ replicas = 3, max_bytes = "2GiB", duplicate_window = "10m" }}
"""
_FROM_STREAM = """
[sources.readings]
type = "nats"
servers = [{servers}]
stream = "readings"
subject = "readings.{{partition}}"
partitions = {partitions}
consumer = "workers"
takeover = "{takeover_s:g}s"
codec = "json"
schema = "reading"
"""
_FROM_FILE = """
[sources.edge{number}]
type = "file"
path = "{path}"
codec = "json"
schema = "reading"
"""
_PIPELINES = f"""
[pipelines.rows]
sources = [SOURCES]
sinks = ["rows"]
[pipelines.windows]
sources = [SOURCES]
sinks = ["windows"]
[[pipelines.windows.steps]]
type = "window"
key = ["sensor"]
time = "at"
size = "{WINDOW_S}s"
watermark_delay = "{DELAY_S}s"
watermark_by = "sender"
aggregate = {{ n = "count()", total = "sum(seq)", mean = "mean(value)", most = "max(value)" }}
"""
_POSTGRESQL = """
[sinks.{name}]
type = "postgresql"
address = "{socket}"
database = "{database}"
user = "postgres"
table = "{name}"
schema = "{schema}"
extra = "drop"
"""
_SQLITE = """
[sinks.{name}]
type = "sqlite"
path = "results.db"
table = "{name}"
schema = "{schema}"
extra = "drop"
"""
_TABLES = {"rows": "reading", "windows": "window"}


def edge(path: Path, servers: list[str]) -> str:
    """An edge that reads a file, and sends its lines to the stream."""
    return _HEAD + _EDGE.format(path=path, servers=_listed(servers), partitions=PARTITIONS)


def worker(servers: list[str], socket: str, database: str, takeover_s: float) -> str:
    """A worker that stores the readings and their windows in PostgreSQL."""
    source = _FROM_STREAM.format(servers=_listed(servers), partitions=PARTITIONS, takeover_s=takeover_s)
    sinks = "".join(
        _POSTGRESQL.format(name=name, schema=schema, socket=socket, database=database)
        for name, schema in _TABLES.items()
    )
    return _HEAD + _SCHEMAS + source + _PIPELINES.replace("SOURCES", '"readings"') + sinks


def alone(paths: list[Path]) -> str:
    """One machine that reads the files of all edges, and stores in SQLite."""
    sources = "".join(_FROM_FILE.format(number=number, path=path) for number, path in enumerate(paths))
    names = _listed([f"edge{number}" for number in range(len(paths))])
    sinks = "".join(_SQLITE.format(name=name, schema=schema) for name, schema in _TABLES.items())
    return _HEAD + _SCHEMAS + sources + _PIPELINES.replace("SOURCES", names) + sinks


def _listed(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
