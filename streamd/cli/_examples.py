"""Example commands for the help of each command."""

from collections.abc import Mapping

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "run": ("streamd run --config config/streamd.toml",),
    "check": (
        "streamd check --config config/streamd.toml",
        "streamd check --offline --config /etc/streamd/streamd.toml",
    ),
    "try": ("streamd try --config config/streamd.toml --source lines < sample.txt",),
    "test": (
        "streamd test config/streamd.toml",
        "streamd test config/streamd.toml --only 'a gap*' --update",
        "streamd test config/streamd.toml --junit results.xml",
    ),
    "schema": ("streamd schema sources.udp", "streamd schema steps.python"),
    "status": ("streamd status", "streamd status --watch", "streamd status --json | jq .sources"),
    "top": ("streamd top", "streamd top --once"),
    "page": ("streamd page", "streamd page --json"),
    "reload": ("streamd reload --dry-run", "streamd reload"),
    "tap": (
        "streamd tap",
        "streamd tap source:lines --once",
        "streamd tap step:main.convert --where 'value > 90' --fields @peer,sensor,value",
        "streamd tap sink:records --rate 100 --format json | jq .sensor",
    ),
    "tail": ("streamd tail -n 20", "streamd tail readings -f --where 'value > 90'"),
    "query": (
        "streamd query 'select source, count(*) from records group by 1'",
        "streamd query 'select * from completeness order by minute desc' --limit 10",
        "streamd query 'select * from records' --csv --output records.csv",
    ),
    "plot": (
        "streamd plot 'select minute, received, source from completeness' --by source",
        "streamd plot 'select reason, count(*) from dead_letters group by 1'",
        "streamd plot 'select minute, percent, source from completeness' --by source --output percent.png",
    ),
    "dead-letters": (
        "streamd dead-letters list --since 1h",
        "streamd dead-letters show 81",
        "streamd dead-letters replay --reason json:syntax --dry-run",
    ),
    "state": ("streamd state list", "streamd state list --json", "streamd state drop --set-aside --yes"),
    "doctor": ("streamd doctor --config /etc/streamd/streamd.toml",),
    "logs": ("journalctl -u streamd -o cat -f | streamd logs --level warning",),
    "send": (
        "printf 'one\\ntwo\\n' | streamd send udp://127.0.0.1:9999",
        "printf 'disk full\\n' | streamd send --as syslog udp://127.0.0.1:9999",
        "streamd send --generate --count 100000 tcp://127.0.0.1:9999",
        "streamd send --generate plant --faults faults.ndjson tcp://127.0.0.1:9999",
        "streamd send records.jsonl unix:///run/lab.sock",
    ),
    "capacity": (
        "streamd capacity --rate ×2",
        "streamd capacity --stall records=30s --burst 200000@10s --for 10m",
        "streamd capacity --sheet 10000/s 1M/s --bench bench.json --figure machine_cores=32",
    ),
    "bench": ("streamd bench --quick --only tcp_typed", "streamd bench --quick --only step_filter step_set"),
    "install-service": ("streamd install-service --dry-run", "sudo streamd install-service"),
    "uninstall-service": ("sudo streamd uninstall-service",),
}
