"""The address of a PostgreSQL server, the login, TLS, and how a connection is made."""

import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import psycopg

from streamd.core.credential import File, path_of
from streamd.core.errors import EnvironmentFault
from streamd.core.secret_file import read_secret
from streamd.core.settings import Address
from streamd.net.tls_files import load_own, load_trusted
from streamd.postgresql.faults import ServerFault, Unreachable, in_words
from streamd.postgresql.settings import ServerTlsSettings

LEAST_VERSION = 130_000
"""PostgreSQL 13, the first with `pg_current_xact_id` and `pg_xact_status`."""
LOCK_WAIT_S = 1.5
"""Longest wait for a lock of the server in one attempt. It is shorter than the wait for a last commit when
the daemon stops, so a locked table leaves no outcome unknown."""
_MOST_PASSWORD_BYTES = 4096
_SOCKET_NAME = ".s.PGSQL."
_SYSTEM = "system"
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""A dead machine is noticed after about 25 s, even without a write."""

_LASTING = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|pg_hba\.conf rejects|does not exist"
    r"|permission denied|is not permitted|not currently accepting connections|does not support SSL"
    r"|certificate|private key|SSL error|tls|invalid|role",
    re.IGNORECASE,
)
"""Messages of a refused login. libpq gives no SQLSTATE for them. What is not recognised is tried again."""
_PASSING = re.compile(
    r"starting up|shutting down|too many clients|remaining connection slots|recovery mode|timeout|timed out"
    r"|refused|unreachable|could not translate|resolve|SYSCALL|closed the connection|No such file",
    re.IGNORECASE,
)
_PREFIX = re.compile(
    r"^(?:connection failed: )?(?:connection to server (?:at|on) .*? failed: )?(?:FATAL: +|fe_sendauth: )?",
    re.DOTALL,
)

_HINTS = (
    (re.compile("no encryption|no SSL encryption"), "set tls.ca: this server takes TLS only"),
    (re.compile("no password supplied"), "set password to a file with it"),
    (re.compile(r"password authentication failed"), "see the file of the option password"),
    (re.compile(r"database .* does not exist"), "create it: CREATE DATABASE"),
    (re.compile("does not support SSL"), "leave tls out, or set ssl = on in postgresql.conf"),
)


@dataclass(frozen=True, slots=True)
class Server:
    """A server with a database and a login. `password` names a file; None if none is needed."""

    address: Address | str
    """Host and port, or the path of the unix socket."""
    database: str
    user: str | None
    password: File | None
    tls: ServerTlsSettings
    base_dir: Path
    connect_timeout_s: float
    timeout_s: float
    name: str
    """Shown by the server as the application's name."""

    def check_files(self) -> None:
        """Read the files of the password and of TLS. Raises `EnvironmentFault`."""
        self._password()
        self._tls()

    def connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        """A new connection, in autocommit. Blocks. Raises `Unreachable`, `ServerFault` or `EnvironmentFault`.

        The files are read again for each connection.
        """
        options: dict[str, str | int] = {
            **self._place(),
            "dbname": self.database,
            "application_name": self.name,
            "client_encoding": "UTF8",
            "connect_timeout": max(2, round(self.connect_timeout_s)),
            "tcp_user_timeout": round(self.timeout_s * 1000),
            **_KEEPALIVES,
            **self._tls(),
        }
        if self.user is not None:
            options["user"] = self.user
        password = self._password()
        if password is not None:
            options["password"] = password
        try:
            connection = psycopg.connect(**options, autocommit=True)  # type: ignore[arg-type]  # by name
        except psycopg.Error as error:
            raise self._refused(str(error)) from None
        try:
            self._begin_session(connection)
        except psycopg.Error as error:
            connection.close()
            raise Unreachable(f"{self.address}: {in_words(error)}") from None
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin_session(self, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
        if connection.info.server_version < LEAST_VERSION:
            version = connection.info.server_version // 10_000
            raise ServerFault(f"{self.address} is PostgreSQL {version}; the sink needs 13 or newer")
        settings = {
            "lock_timeout": f"{LOCK_WAIT_S * 1000:.0f}ms",
            "statement_timeout": f"{self.timeout_s * 1000:.0f}ms",
            "idle_in_transaction_session_timeout": f"{(self.timeout_s + 60) * 1000:.0f}ms",
            "client_connection_check_interval": "5s",  # since version 14: ends the statement of a dead client
            "client_min_messages": "warning",
        }
        connection.execute(
            "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS s(name, value)"
            " WHERE name IN (SELECT name FROM pg_settings)",
            (list(settings), list(settings.values())),
        )

    def _place(self) -> dict[str, str | int]:
        if isinstance(self.address, str):
            folder, _, port = self.address.rpartition(f"/{_SOCKET_NAME}")
            return {"host": folder, "port": port}
        place: dict[str, str | int] = {"host": self.address.host, "port": self.address.port}
        if self.tls.ca is not None and self.tls.server_name is not None:  # libpq verifies the name `host`
            place |= {"host": self.tls.server_name, "hostaddr": self._resolved(self.address)}
        return place

    def _resolved(self, address: Address) -> str:
        try:
            found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unreachable(f"{address}: {error.strerror}") from None
        return str(found[0][4][0])

    def _password(self) -> str | None:
        if self.password is None:
            return None
        path = path_of(self.password, self.base_dir)
        secret = read_secret(
            path,
            "the password",
            least_bytes=1,
            most_bytes=_MOST_PASSWORD_BYTES,
            least_different=1,
            remedy="write the password of the database's user into it",
        )
        try:
            return secret.decode()
        except UnicodeDecodeError:
            raise EnvironmentFault(f"the password {path} is not UTF-8") from None

    def _tls(self) -> dict[str, str]:
        """The options of libpq. Raises `EnvironmentFault` for files that cannot be used."""
        tls = self.tls
        if tls.ca is None:
            return {"sslmode": "disable"}
        check = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # only for its clear errors about the files
        options = {"sslmode": "verify-full", "ssl_min_protocol_version": f"TLSv{tls.min_version}"}
        if tls.ca == _SYSTEM:
            options["sslrootcert"] = _system_bundle()
        else:
            ca = path_of(tls.ca, self.base_dir)
            load_trusted(check, ca)
            options["sslrootcert"] = str(ca)
        if tls.cert is not None and tls.key is not None:
            cert, key = path_of(tls.cert, self.base_dir), path_of(tls.key, self.base_dir)
            load_own(check, cert, key)
            options |= {"sslcert": str(cert), "sslkey": str(key)}
        return options

    def _refused(self, message: str) -> Exception:
        text = " ".join(_PREFIX.sub("", message.partition("\n")[0], count=1).split())
        lasting = _LASTING.search(text) is not None and _PASSING.search(text) is None
        hint = next((f"; {hint}" for pattern, hint in _HINTS if pattern.search(text)), "")
        said = f"PostgreSQL at {self.address}: {text}{hint}"
        return ServerFault(said) if lasting else Unreachable(said)


def _system_bundle() -> str:
    """The file of the authorities that the system trusts. libpq's own default is that of its wheel."""
    paths = ssl.get_default_verify_paths()
    for path in (paths.cafile, paths.openssl_cafile, *_BUNDLES):
        if path and Path(path).is_file():
            return path
    raise EnvironmentFault("the system has no file of trusted authorities: install ca-certificates")
