"""The texts of the systemd units for one installation and one configuration."""

from dataclasses import dataclass
from ipaddress import ip_address
from itertools import takewhile
from pathlib import Path

from streamd.config import Config
from streamd.core.errors import ConfigError
from streamd.core.settings import Address

STATE_DIR = Path("/var/lib/streamd")
RUNTIME_DIR = Path("/run/streamd")
CONFIG = Path("/etc/streamd/streamd.toml")
SERVICE = Path("/etc/systemd/system/streamd.service")
SOCKET = Path("/etc/systemd/system/streamd.socket")
IN_RUN = Path("/run/systemd/system")
"""The folder of units and drop-ins that are lost at a reboot."""
SYSUSERS = Path("/etc/sysusers.d/streamd.conf")

AFTER_DRAIN_S = 30
"""How long closing may take after the drain."""
_PRIVILEGED_PORTS = 1024
_KINDS = {"udp": "ListenDatagram", "tcp": "ListenStream"}
_HEAD = "# Written by `streamd install-service`. Settings of your own belong in `systemctl edit {}`.\n"

SYSUSERS_TEXT = f"""\
# Written by `streamd install-service`. Readers of the databases join the group: usermod -aG streamd NAME
u streamd - "streamd, a data-stream daemon" {STATE_DIR}
"""

_SERVICE = """\
[Unit]
Description=streamd, a data-stream daemon
After=network.target{after}
{requires}# No limit to starts. At a limit systemd closes the sockets too, and their waiting data is lost.
StartLimitIntervalSec=0

[Service]
Type=notify
# Output outside the log (an abort, a traceback of the interpreter) gets the same name in the journal.
SyslogIdentifier=streamd
ExecStart={python} -I -X faulthandler -m streamd run --config {config}
ExecReload={python} -I -m streamd reload --config {config}
# A failed start is delayed, because waiting datagrams would start the service again at once.
ExecStopPost=-/bin/sh -c 'case "$$EXIT_STATUS" in 1|2) sleep 2;; esac'
Restart=always
RestartSec=100ms
# A wrong configuration (exit code 2) is not tried again, except when new data arrives at a socket.
RestartPreventExitStatus=2
# The watchdog is fed only while the daemon makes progress. SIGABRT prints the stack of every thread.
WatchdogSec=30s
# A start may first build an index on a large table.
TimeoutStartSec=10min
# daemon.drain_timeout plus {after_drain_s} s. The daemon extends it if a reload has raised drain_timeout.
TimeoutStopSec={stop_s}s
# Worker processes of steps are needed until the drain ends.
KillMode=mixed

User=streamd
Group=streamd
UMask=0027
WorkingDirectory=%S/streamd
StateDirectory=streamd
StateDirectoryMode=0750
RuntimeDirectory=streamd
RuntimeDirectoryMode=0750
{writable}# Keys that only root can read, for a configuration with {{ credential = "server.key" }}:
#LoadCredential=server.pem:/etc/streamd/tls/server.pem
#LoadCredential=server.key:/etc/streamd/tls/server.key

CapabilityBoundingSet=
AmbientCapabilities=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
DevicePolicy=closed
{private_users}
PrivateIPC=yes
PrivateMounts=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
# A step whose library compiles at run time (numba, some ONNX providers) needs `no` here.
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
{also}"""

_PRIVATE_USERS = "PrivateUsers=yes"
_ALL_USERS = """\
# With `yes` every sender of a unix source except root would appear as uid=65534.
PrivateUsers=no"""

_SOCKET = """\
[Unit]
Description=The listeners of streamd, which keep data in the kernel while it restarts

[Socket]
{lines}FileDescriptorName={name}
BindIPv6Only=both

[Install]
WantedBy=sockets.target
"""


@dataclass(frozen=True, slots=True)
class Listener:
    """One address on which a source listens."""

    source: str
    type: str
    address: Address
    receive_buffer_bytes: int | None

    @property
    def line(self) -> str:
        """Its line in the socket unit."""
        return f"{_KINDS[self.type]}={self.address}"


def listeners(config: Config) -> list[Listener]:
    """The listeners that the socket unit can hold: fixed ports at numeric addresses.

    Raises `ConfigError` for a port below 1024 at a host name: only systemd may bind it, and systemd does not
    resolve names.
    """
    found = []
    for name, source in config.sources.items():
        for kind, address, key, receive_buffer_bytes in source.endpoints:
            if not isinstance(address, Address) or not address.port:
                continue
            try:
                ip_address(address.host)
            except ValueError:
                if address.port < _PRIVILEGED_PORTS:
                    raise ConfigError(
                        f"sources.{name}.{key}: {address}: systemd must bind ports below"
                        f" {_PRIVILEGED_PORTS} and does not resolve names: write the IP address"
                    ) from None
                continue
            found.append(Listener(name, kind, address, receive_buffer_bytes))
    return found


def socket_unit(config: Config) -> str | None:
    """The text of the socket unit, or None if no source has a listener for it."""
    held = listeners(config)
    if not held:
        return None
    lines = "".join(f"# {listener.source}\n{listener.line}\n" for listener in held)
    if buffers := [held_by.receive_buffer_bytes for held_by in held if held_by.receive_buffer_bytes]:
        lines += "# The largest receive_buffer of the sources. net.core.rmem_max does not limit systemd.\n"
        lines += f"ReceiveBuffer={max(buffers)}\n"
    return _HEAD.format(SOCKET.name) + _SOCKET.format(
        lines=lines, name=held[0].source if len(held) == 1 else "streamd"
    )


def service_unit(config: Config, python: Path, config_path: Path) -> str:
    """The text of the service unit, for a Python interpreter with streamd. Raises `ConfigError`."""
    has_socket = bool(listeners(config))
    writable = "".join(f"ReadWritePaths=-{_word(str(folder))}\n" for folder in outside(config))
    return _HEAD.format(SERVICE.name) + _SERVICE.format(
        after=f" {SOCKET.name}" if has_socket else "",
        requires=f"Requires={SOCKET.name}\n" if has_socket else "",
        also=f"Also={SOCKET.name}\n" if has_socket else "",
        python=exec_word(python),
        config=exec_word(config_path),
        stop_s=round(config.daemon.drain_timeout) + AFTER_DRAIN_S,
        after_drain_s=AFTER_DRAIN_S,
        private_users=_ALL_USERS
        if any(endpoint.kind == "unix" for s in config.sources.values() for endpoint in s.endpoints)
        else _PRIVATE_USERS,
        writable=f"# Folders of outputs in the configuration.\n{writable}" if writable else "",
    )


def _undated(folder: Path) -> Path:
    """The folder, or the nearest one above its dated parts, which the daemon makes."""
    return Path(*takewhile(lambda part: "%" not in part, folder.parts))


def outside(config: Config) -> list[Path]:
    """The folders outside the service's own ones to which the configuration makes the daemon write."""
    paths = [Path(config.ledger.path).parent, Path(config.dead_letters.path).parent]
    outputs = [output for sink in config.sinks.values() for output in sink.outputs]
    paths += [_undated(Path(output.at).parent) for output in outputs if output.in_files]
    endpoints = [endpoint for source in config.sources.values() for endpoint in source.endpoints]
    paths += [Path(str(endpoint.at)).parent for endpoint in endpoints if endpoint.kind == "unix"]
    if "state_dir" in config.daemon.model_fields_set:
        paths.append(Path(config.daemon.state_dir))
    own = (STATE_DIR, RUNTIME_DIR)
    return sorted(
        {p for p in paths if p.is_absolute() and not any(p.is_relative_to(folder) for folder in own)}
    )


def unit_text(*places: Path) -> str:
    """The text of a unit and its drop-ins at all places, in the order in which systemd reads them."""
    found = [places[0]]
    drop_ins: dict[str, Path] = {}
    for place in reversed(places):  # a drop-in in /etc replaces one of the same name elsewhere
        drop_ins |= {file.name: file for file in place.with_name(f"{place.name}.d").glob("*.conf")}
    found += [drop_ins[name] for name in sorted(drop_ins)]
    texts = []
    for file in found:
        try:
            texts.append(file.read_text(errors="replace"))
        except OSError:
            continue
    return "\n".join(texts)


def exec_word(path: Path) -> str:
    """The path as one word of `ExecStart=`. Raises `ConfigError`."""
    return _word(str(path)).replace("$", "$$")


def _word(text: str) -> str:
    """The text as one word of a unit file. Raises `ConfigError` for characters that are not printable."""
    if not text.isprintable():
        raise ConfigError(f"{text!r} cannot be written in a unit file: rename it")
    text = text.replace("%", "%%")
    if not set(text) & set(" \t\"'\\;"):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
