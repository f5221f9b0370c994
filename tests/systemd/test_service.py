"""streamd under a real systemd, from what `install-service` wrote."""

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(60)

STREAMD = ("/opt/streamd/bin/python3", "-m", "streamd")
LISTENERS = """
[sources.lab]
type = "udp"
listen = "127.0.0.1:{udp}"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:{tcp}"
[pipelines.main]
sources = ["lab", "floor"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
"""

BOTH_FOR_A_WHILE = """
import json, socket, sys, time
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.connect(("127.0.0.1", 9999))
end, n, connected, refused = time.monotonic() + float(sys.argv[1]), 0, 0, 0
while time.monotonic() < end:
    for _ in range(10):
        udp.send(json.dumps({"n": n, "at": time.time()}).encode())
        n += 1
    try:
        with socket.create_connection(("127.0.0.1", 9999), timeout=20) as tcp:
            tcp.sendall(b'{"connection": %d}\\n' % connected)
            connected += 1
    except ConnectionError:
        refused += 1
    time.sleep(0.005)
print(json.dumps({"datagrams": n, "connected": connected, "refused": refused}))
"""


LOCK = """
import sqlite3, sys
db = sqlite3.connect("/var/lib/streamd/streamd.db", timeout=30)
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def locked(service: Any) -> Iterator[None]:
    """Another program holds the write lock of the database."""
    command = service.machine.command("/opt/streamd/bin/python3", "-c", LOCK)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as locker:
        assert locker.stdout is not None
        assert locker.stdout.readline() == b"locked\n"
        yield


def test_it_is_active_and_says_how_it_is(service: Any) -> None:
    service.install()
    service.start()
    assert service.show("ActiveState") == "active"
    assert service.show("StatusText") == "received 0, lost 0, kernel 0"
    service.send("udp", 9999, "one", "two")
    service.send("tcp", 9999, "three")
    service.await_rows(3)
    service.until(lambda: service.show("StatusText").startswith("received 3, lost 0, kernel 0"), "the status")


def test_a_datagram_sent_before_the_first_start_is_stored(service: Any) -> None:
    service.install()
    service.machine.run("systemctl", "start", "streamd.socket")
    assert service.show("ActiveState") == "inactive"
    service.send("udp", 9999, "early")
    service.await_rows(1, "record ->> 'message' = 'early'")


def test_enabling_the_service_enables_its_socket(service: Any) -> None:
    service.install()
    service.machine.run("systemctl", "enable", "--now", "streamd.service")
    assert service.machine.show("ActiveState", "streamd.socket") == "active"
    assert service.machine.show("UnitFileState", "streamd.socket") == "enabled"


def test_the_sandbox_is_on(service: Any) -> None:
    service.install()
    service.start()
    machine, pid = service.machine, str(service.pid)
    status = dict(line.split(":\t", 1) for line in machine.run("cat", f"/proc/{pid}/status").splitlines())
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2", "a filter"
    assert int(status["CapBnd"], 16) == 0
    assert status["Umask"] == "0027"
    assert len(set(status["Uid"].split())) == 1
    assert machine.run("stat", "-c", "%U", f"/proc/{pid}").strip() == "streamd"
    machine.write("/home/ann/secret", "of no concern")
    inside = ("nsenter", "-t", pid, "-m", "--")
    assert "No such file" in machine.run(*inside, "cat", "/home/ann/secret", check=False)
    for folder in ("/etc", "/usr", "/opt", "/var/log"):
        assert "Read-only file system" in machine.run(*inside, "touch", f"{folder}/x", check=False), folder
    machine.run(*inside, "touch", "/var/lib/streamd/x")


ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect("/run/streamd/control.sock")
    head = "GET " + sys.argv[1] + " HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n"
    asked.sendall(head.encode())
    print(b"".join(iter(lambda: asked.recv(65536), b"")).decode())
"""


def test_the_process_of_a_query_runs_in_the_sandbox(service: Any) -> None:
    service.install()
    service.start()
    service.send("udp", 9999, "one", "two")
    service.await_rows(2)
    found = [""]

    def answered() -> bool:  # a process that starts late on a busy machine is ended at its limit
        found[0] = service.machine.python(ASK, "/query?sql=SELECT%20count(*)%20FROM%20records")
        return "HTTP/1.1 200" in found[0]

    service.until(answered, "the answer of a query", 60)
    assert '"rows":[[2]]' in found[0]


def test_a_stopped_process_is_restarted_by_the_watchdog(service: Any) -> None:
    service.install()
    service.drop_in("WatchdogSec=2s")
    service.start()
    pid = service.pid
    service.kill("STOP")
    service.await_new(pid)
    assert "Watchdog timeout" in service.log()
    # Not sooner: systemd ends the old process with SIGABRT and SIGCONT. If another thread takes the SIGABRT,
    # the event loop may still read a datagram, which is then lost with the process.
    service.send("udp", 9999, "afterwards")
    service.await_rows(1)


def test_a_commit_that_hangs_in_the_disk_is_ended_by_the_watchdog(service: Any) -> None:
    service.install()
    service.drop_in("WatchdogSec=1s\nEnvironment=STREAMD_FAILPOINT=sqlite.commit:hang:60")
    service.start()
    pid = service.pid
    service.send("udp", 9999, "x")
    service.until(lambda: "a commit has been under way" in service.show("StatusText"), "what stands still")
    service.await_new(pid)
    assert '"event": "stalled"' in service.log()


def test_a_database_that_is_locked_is_no_reason_to_restart(service: Any) -> None:
    service.install()
    service.drop_in("WatchdogSec=3s")
    service.start()
    pid = service.pid
    with locked(service):
        service.send("udp", 9999, "x")
        service.until(lambda: "sink records retries" in service.show("StatusText"), "the retries to be told")
        # By the fifth it has been locked for longer than any part may stand still.
        service.until(lambda: service.log().count('"event": "sink_retrying"') >= 5, "five retries")
    service.await_rows(1)
    assert service.pid == pid


def test_a_stop_drains_in_time_and_prints_the_books(service: Any) -> None:
    service.install()
    service.start()
    service.send("tcp", 9999, *[f"line {n}" for n in range(2000)])
    took_s = service.stop()
    assert took_s < 60
    assert service.show("Result") == "success"
    assert "source lines: received 2,000 = decoded 2,000" in service.log()
    assert "books balance" in service.log()
    assert service.rows("SELECT count(*) FROM records") == [[2000]]


def test_a_drain_is_given_the_time_the_configuration_says(service: Any) -> None:
    config = '[daemon]\ndrain_timeout = "2s"\n' + LISTENERS.format(udp=9999, tcp=9999)
    service.install(config)
    service.drop_in("TimeoutStopSec=1s")
    service.start()
    with locked(service):
        service.send("udp", 9999, "x")
        service.until(lambda: "sink records retries" in service.show("StatusText"), "the retries to be told")
        took_s = service.stop()
    assert 2 <= took_s < 60
    assert service.show("Result") == "exit-code", "it ended by itself"
    assert '"event": "drain_timeout"' in service.log()


def test_a_wrong_configuration_is_told_and_not_tried_again(service: Any) -> None:
    service.install()
    service.machine.write("/etc/streamd/streamd.toml", "[sources.a]\ntype = 'upd'\n")
    service.machine.run("systemctl", "start", "streamd.service", check=False)
    service.until(lambda: service.show("ActiveState") == "failed", "the failure")
    assert service.show("ExecMainStatus") == "2"
    assert service.show("NRestarts") == "0"
    assert "/etc/streamd/streamd.toml:2" in service.log()


def test_what_waits_for_a_mended_configuration_is_stored_and_starts_are_not_tried_in_haste(
    service: Any,
) -> None:
    service.install()
    good = service.machine.run("cat", "/etc/streamd/streamd.toml")
    service.machine.write("/etc/streamd/streamd.toml", "[sources.a]\ntype = 'upd'\n")
    service.machine.run("systemctl", "start", "streamd.socket")
    began_s = time.monotonic()
    service.send("udp", 9999, "patient")
    service.until(lambda: service.log().count("Starting streamd") == 3, "three starts")
    assert time.monotonic() - began_s > 4, "two seconds between two of them"
    assert service.machine.show("ActiveState", "streamd.socket") == "active"
    service.machine.write("/etc/streamd/streamd.toml", good)
    service.await_rows(1)


def test_a_kill_under_load_refuses_no_connection_and_loses_no_queued_datagram(service: Any) -> None:
    service.install()
    service.start()
    pid = service.pid
    command = service.machine.command("/opt/streamd/bin/python3", "-c", BOTH_FOR_A_WHILE, "4")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sender:
        service.until(lambda: service.rows("SELECT count(*) > 500 FROM records") == [[1]], "records")
        killed_at = time.time()
        service.kill("KILL")
        service.await_new(pid)
        assert sender.stdout is not None
        sent = json.loads(sender.stdout.read())
    assert sent["refused"] == 0
    last = f"record ->> 'n' = {sent['datagrams'] - 1}"
    service.await_rows(1, last)
    service.stop()
    stored = {
        n for (n,) in service.rows("SELECT record ->> 'n' FROM records WHERE record ->> 'n' IS NOT NULL")
    }
    missing = sorted(set(range(sent["datagrams"])) - stored)
    assert not missing or missing == list(range(missing[0], missing[-1] + 1)), "only what was under way"
    late = service.rows(
        "SELECT min(record ->> 'n') FROM records"  # noqa: S608 - our own number
        f" WHERE CAST(record ->> 'at' AS REAL) > {killed_at + 0.5}"
    )
    assert not missing or missing[-1] < late[0][0], "what came after the kill waited in the kernel"
    assert service.rows("SELECT count(*) FROM ledger WHERE counter = 'unclean'") == [[1]]


def test_several_processes_refuse_no_connection_at_a_reload_and_a_restart(service: Any) -> None:
    config = "[daemon]\nprocesses = 2\n" + LISTENERS.format(udp=9999, tcp=9999)
    service.install(config)
    service.start()
    pid = service.pid
    command = service.machine.command("/opt/streamd/bin/python3", "-c", BOTH_FOR_A_WHILE, "6")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sender:
        service.until(lambda: service.rows("SELECT count(*) > 300 FROM records") == [[1]], "records")
        changed = config.replace("sinks = [", 'steps = [{ type = "filter", where = "1 < 2" }]\nsinks = [')
        service.machine.write("/etc/streamd/streamd.toml", changed)
        service.machine.run("systemctl", "reload", "streamd")
        service.until(lambda: '"event": "reloaded"' in service.log(), "the reload")
        assert service.pid == pid
        service.machine.run("systemctl", "restart", "streamd")
        service.await_new(pid)
        assert sender.stdout is not None
        sent = json.loads(sender.stdout.read())
    assert sent["refused"] == 0
    service.until(
        lambda: (
            service.rows("SELECT count(*) FROM records WHERE record ->> 'n' IS NOT NULL")
            == [[sent["datagrams"]]]
        ),
        "every datagram",
    )
    service.stop()
    assert service.show("Result") == "success"
    assert service.log().count("books balance") == 2
    assert service.rows("SELECT count(*) FROM ledger WHERE counter = 'unclean'") == [[0]]
    assert service.rows("SELECT count(DISTINCT run_id) FROM ledger WHERE counter = 'stop'") == [[4]]


def test_a_port_below_1024_needs_no_capability(service: Any) -> None:
    service.install(LISTENERS.format(udp=514, tcp=601))
    service.start()
    checked = service.machine.run(*STREAMD, "check", "--config", "/etc/streamd/streamd.toml", check=False)
    assert "  source lab: udp 127.0.0.1:514\n" in checked, checked
    service.send("udp", 514, "<13>over udp")
    service.send("tcp", 601, "<13>over tcp")
    service.await_rows(2)
    assert service.show("AmbientCapabilities") == ""


def check(service: Any) -> tuple[int, str]:
    """The exit code of `check` as root, and what it says."""
    said = service.machine.run(
        "sh",
        "-c",
        "cd /; /opt/streamd/bin/python3 -m streamd check --config /etc/streamd/streamd.toml; echo $?",
    )
    text, _, code = said.rstrip().rpartition("\n")
    return int(code), text


SNAPSHOT = "find /etc/streamd /var/lib/streamd /run/streamd /srv -printf '%p %i %m %u\\n' | sort"


def test_a_privileged_port_is_refused_before_a_reload_until_the_socket_unit_has_it(service: Any) -> None:
    service.install(LISTENERS.format(udp=9999, tcp=9999))
    service.start()
    assert check(service)[0] == 0
    run = service.machine.run
    service.machine.write("/etc/streamd/streamd.toml", LISTENERS.format(udp=514, tcp=9999))
    before = run("sh", "-c", SNAPSHOT)
    code, said = check(service)
    line = next(line for line in said.splitlines() if "cannot listen on 127.0.0.1:514" in line)
    assert code == 1
    assert "Permission denied" in line
    assert "`streamd install-service` adds ListenDatagram=127.0.0.1:514 to streamd.socket" in line
    assert "not source lab: udp 127.0.0.1:514: the service may not bind it" in said
    for words in (("reload", "--dry-run"), ("reload",)):
        assert line in run(*STREAMD, *words, "--config", "/etc/streamd/streamd.toml", check=False)
    assert run("sh", "-c", SNAPSHOT) == before
    service.send("udp", 9999, "the one before goes on")
    service.await_rows(1)
    run(*STREAMD, "install-service")  # and what the message says to run then
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "streamd.socket", "streamd.service")
    service.send("udp", 514, "<13>privileged")
    service.await_rows(2)
    code, said = check(service)
    assert code == 0, said
    assert "  source lab: udp 127.0.0.1:514\n" in said


def test_a_capability_in_a_drop_in_is_believed(service: Any) -> None:
    service.install(LISTENERS.format(udp=9999, tcp=9999))
    capability = "CAP_NET_BIND_SERVICE"
    service.drop_in(f"AmbientCapabilities={capability}\nCapabilityBoundingSet={capability}\nPrivateUsers=no")
    service.machine.write("/etc/streamd/streamd.toml", LISTENERS.format(udp=514, tcp=9999))
    assert check(service)[0] == 0
    service.start()
    service.send("udp", 514, "bound by the service itself")
    service.await_rows(1)


def test_check_shows_paths_as_the_service_has_them_before_it_ever_ran(service: Any) -> None:
    service.install(LISTENERS.format(udp=9999, tcp=9999))
    service.machine.run("sh", "-c", "rm -rf /run/streamd /srv/*")
    code, said = check(service)
    assert code == 0, said
    assert "state folder   /var/lib/streamd\n" in said
    assert "control socket /run/streamd/control.sock\n" in said
    assert "sqlite /var/lib/streamd/streamd.db" in said
    assert (
        service.machine.run("sh", "-c", "ls -d /var/lib/streamd /run/streamd 2>&1; true").count("No such")
        == 2
    )


@pytest.mark.parametrize(
    ("sink", "make", "words"),
    [
        ('type = "file"\npath = "/srv/a/out.ndjson"', "mkdir -p /srv/a; chmod 777 /srv/a",
         "Read-only file system; ProtectSystem= of streamd.service"),
        ('type = "sqlite"\npath = "/srv/a/out.db"', "mkdir -p /srv/a; chmod 777 /srv/a",
         "Read-only file system"),
        ('type = "file"\npath = "/home/ann/out.ndjson"', "mkdir -p /home/ann; chmod 777 /home/ann",
         "ProtectHome= of streamd.service hides /home"),
        ('type = "tcp"\naddress = "127.0.0.1:9"\ntls = { ca = "ca.pem" }',
         "echo secret > /etc/streamd/ca.pem; chmod 600 /etc/streamd/ca.pem",
         "/etc/streamd/ca.pem cannot be read: Permission denied"),
        ('type = "tcp"\naddress = "127.0.0.1:9"\ntls = { ca = { credential = "ca.pem" } }', "true",
         "the credential 'ca.pem' is missing"),
    ],
)  # fmt: skip
def test_what_the_sandbox_or_its_user_keep_from_the_service_is_found_by_root(
    service: Any, sink: str, make: str, words: str
) -> None:
    service.install(LISTENERS.format(udp=9999, tcp=9999))
    service.machine.run("sh", "-c", f"rm -rf /srv/*; {make}")
    config = LISTENERS.format(udp=9999, tcp=9999).replace('type = "sqlite"\n', f"{sink}\n")
    service.machine.write("/etc/streamd/streamd.toml", config)
    code, said = check(service)
    assert code == 1, said
    assert words in said
    service.machine.run("systemctl", "start", "streamd.service", check=False)
    service.until(lambda: service.show("ExecMainStatus") == "1", "the refusal of the start itself")
    told = words.partition(";")[0] if "ProtectHome" not in words else "Permission denied"
    assert told in service.log()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            'type = "file"\npath = "/tmp/app.log"',
            "PrivateTmp= of streamd.service gives the service its own /tmp",
        ),
        ('type = "file"\npath = "/home/ann/app.log"', "ProtectHome= of streamd.service hides /home"),
        ('type = "file"\npath = "/srv/app.log"', "cannot read /srv/app.log: Permission denied"),
        (
            'type = "unix"\npath = "/var/tmp/in.sock"',
            "PrivateTmp= of streamd.service gives the service its own /var/tmp",
        ),
    ],
)
def test_what_a_source_of_the_service_would_never_see_is_found_by_root(
    service: Any, source: str, words: str
) -> None:
    service.install(LISTENERS.format(udp=9999, tcp=9999))
    make = "mkdir -p /home/ann; umask 077; touch /tmp/app.log /home/ann/app.log /srv/app.log"
    service.machine.run("sh", "-c", make)
    config = LISTENERS.format(udp=9999, tcp=9999).replace('["lab"', '["app", "lab"')
    service.machine.write("/etc/streamd/streamd.toml", f"[sources.app]\n{source}\n{config}")
    code, said = check(service)
    assert code == 1, said
    assert words in said


def test_a_step_in_a_worker_process_runs_in_the_sandbox(service: Any) -> None:
    config = LISTENERS.format(udp=9999, tcp=9999)
    step = 'steps = [{ type = "python", function = "steps.py:twice", executor = "process" }]\n[sinks.records]'
    service.machine.write("/etc/streamd/steps.py", "def twice(r):\n    return {'n': r['n'] * 2}\n")
    service.install(config.replace("[sinks.records]", step))
    service.start()
    service.send("udp", 9999, '{"n": 21}')
    service.await_rows(1, "record ->> 'n' = 42")


def test_a_key_only_root_may_read_is_handed_over_as_a_credential(service: Any) -> None:
    run = service.machine.run
    if "not found" in run("sh", "-c", "command -v openssl || echo not found"):
        pytest.skip("openssl is not installed")
    folder = "/etc/streamd/tls"
    run("mkdir", "-p", folder)
    made = ("-days", "2", "-keyout", f"{folder}/server.key", "-out", f"{folder}/server.pem")
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", *made)
    run("chmod", "0600", f"{folder}/server.key", f"{folder}/server.pem")
    listen = 'listen = "127.0.0.1:6514"\n'
    tls = 'tls = { cert = { credential = "server.pem" }, key = { credential = "server.key" } }\n'
    service.install(LISTENERS.format(udp=9999, tcp=6514).replace(listen, listen + tls))
    names = ("server.pem", "server.key")
    service.drop_in("\n".join(f"LoadCredential={name}:{folder}/{name}" for name in names))
    service.start()
    client = ("openssl", "s_client", "-quiet", "-no_ign_eof", "-connect", "127.0.0.1:6514")
    run(*client, text="through the credential\n")
    service.await_rows(1, "record ->> 'message' = 'through the credential'")
    owner = run("stat", "-c", "%U %a", f"{folder}/server.key").strip()
    assert owner == "root 600"
    run("systemctl", "reload", "streamd")
    run(*client, text="after a reload\n")
    service.await_rows(1, "record ->> 'message' = 'after a reload'")


def test_a_member_of_the_group_reads_the_database_and_nobody_else(service: Any) -> None:
    service.install()
    service.start()
    service.send("udp", 9999, "x")
    service.await_rows(1)
    run = service.machine.run
    for name, groups in (("reader", ("-G", "streamd")), ("stranger", ())):
        if run("id", name, check=False).startswith("uid"):
            continue
        run("useradd", "-M", *groups, name)

    def sqlite3(who: str, database: str) -> str:
        question = "SELECT count(*) FROM records"
        text: str = run("runuser", "-u", who, "--", "sqlite3", database, question, check=False)
        return text.strip()

    if "not found" in run("sh", "-c", "command -v sqlite3 || echo not found"):
        pytest.skip("sqlite3 is not installed")
    path = "/var/lib/streamd/streamd.db"
    assert sqlite3("reader", path) == "1"
    assert sqlite3("reader", f"file:{path}?mode=ro") == "1"
    assert "unable to open" in sqlite3("stranger", path)
    service.stop()
    assert sqlite3("reader", f"file:{path}?immutable=1") == "1"
    asked = run("runuser", "-u", "reader", "--", *STREAMD, "query", "SELECT count(*) AS n FROM records")
    assert re.search(r"\b1\b", asked)


def test_the_journal_has_levels_and_fields(service: Any) -> None:
    service.install()
    service.start()
    service.send("udp", 9999, "x")
    service.stop()
    ours = [entry for entry in service.journal() if entry["MESSAGE"].startswith("{")]
    ready = next(entry for entry in ours if json.loads(entry["MESSAGE"])["event"] == "ready")
    assert ready["PRIORITY"] == "6"
    assert ready["STREAMD_EVENT"] == "ready"
    assert ready["SYSLOG_IDENTIFIER"] == "streamd"
    assert json.loads(ready["MESSAGE"])["run_id"]
    listening = [entry["STREAMD_SOURCE"] for entry in ours if entry.get("STREAMD_EVENT") == "listening"]
    assert sorted(listening) == ["datagrams", "lines"]
    assert "books balance" in service.log()


@pytest.mark.parametrize(
    ("broken", "status", "said"),
    [
        ("[sources.a]\ntype = 'upd'\n", "2", "/etc/streamd/streamd.toml:2"),
        (LISTENERS.format(udp=9999, tcp=9999) + "path = '/proc/streamd/x.db'\n", "1", "/proc/streamd"),
    ],
    ids=["configuration", "environment"],
)
def test_what_a_failed_start_says_is_found_by_the_name_of_the_daemon(
    broken: str, status: str, said: str, service: Any
) -> None:
    service.install()
    service.drop_in("Restart=no")
    service.machine.write("/etc/streamd/streamd.toml", broken)
    service.machine.run("systemctl", "start", "streamd.service", check=False)
    service.until(lambda: service.show("ActiveState") == "failed", "the failure")
    assert service.show("ExecMainStatus") == status
    told = [entry for entry in service.journal() if said in entry["MESSAGE"]]
    assert told
    assert {(entry["SYSLOG_IDENTIFIER"], entry["PRIORITY"]) for entry in told} == {("streamd", "3")}
    assert "Traceback" not in service.log()


@pytest.mark.parametrize("how", ["abort", "traceback"])
def test_what_the_interpreter_says_at_its_end_is_found_by_the_name_of_the_daemon(
    how: str, service: Any
) -> None:
    service.install()
    service.drop_in("Restart=no")
    if how == "traceback":
        service.drop_in(f"Restart=no\nExecStart=\nExecStart={STREAMD[0]} -c 'raise RuntimeError(1)'")
        service.machine.run("systemctl", "start", "streamd.service", check=False)
    else:
        service.start()
        service.kill("ABRT")
    service.until(lambda: service.show("ActiveState") == "failed", "the end")
    own = [entry for entry in service.journal() if entry.get("_SYSTEMD_UNIT") == "streamd.service"]
    head = "Fatal Python error: Aborted" if how == "abort" else "Traceback (most recent call last):"
    assert any(entry["MESSAGE"] == head for entry in own), service.log()
    assert {entry["SYSLOG_IDENTIFIER"] for entry in own} == {"streamd"}


def test_a_reload_takes_a_new_source_and_keeps_the_process(service: Any) -> None:
    service.install(LISTENERS.format(udp=9999, tcp=9999))
    service.start()
    pid = service.pid
    more = '[sources.more]\ntype = "udp"\nlisten = "127.0.0.1:9998"\n'
    config = LISTENERS.format(udp=9999, tcp=9999).replace('["lab"', '["more", "lab"')
    service.machine.write("/etc/streamd/streamd.toml", more + config)
    service.machine.run("systemctl", "reload", "streamd")
    service.until(lambda: '"event": "reloaded"' in service.log(), "the reload")
    service.send("udp", 9998, "by the new one")
    service.await_rows(1)
    assert service.pid == pid
    assert service.show("ActiveState") == "active"


def test_a_reload_of_a_wrong_file_keeps_the_old_configuration(service: Any) -> None:
    service.install()
    service.start()
    pid = service.pid
    service.machine.write("/etc/streamd/streamd.toml", "[sources.a]\ntype = 'upd'\n")
    said = service.machine.run("systemctl", "reload", "streamd", check=False)
    assert "failed" in said
    service.until(lambda: "streamd.toml:2" in service.log(), "why it was refused")
    service.send("udp", 9999, "still")
    service.await_rows(1)
    assert service.pid == pid
    assert service.show("ActiveState") == "active"


def test_uninstall_stops_the_service_and_keeps_what_it_stored(service: Any) -> None:
    service.install()
    service.start()
    service.send("udp", 9999, "x")
    service.await_rows(1)
    said = service.machine.run("/opt/streamd/bin/python3", "-m", "streamd", "uninstall-service")
    assert "kept    /var/lib/streamd" in said
    assert service.show("LoadState") == "not-found"
    assert service.machine.show("ActiveState", "streamd.socket") == "inactive"
    assert service.rows("SELECT count(*) FROM records") == [[1]]
