"""The PEM files of TLS, for listeners and sinks: how a configuration names them, and how they are loaded."""

import os
import ssl
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from streamd.core.errors import EnvironmentFault
from streamd.core.settings import Settings

Version = Literal["1.2", "1.3"]
VERSIONS: dict[Version, ssl.TLSVersion] = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class Credential(Settings):
    """A file that the service manager passes at the start (systemd's `LoadCredential=`)."""

    credential: str = Field(pattern=r"^[^\x00/]+$", description="its name in $CREDENTIALS_DIRECTORY")


File = Annotated[str, StringConstraints(pattern=r"^[^\x00]+$")] | Credential


class MissingCredential(EnvironmentFault):
    """The credential `name` is missing, because the service manager did not start this process."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name


def path_of(file: File, base_dir: Path) -> Path:
    """The path of the file. Raises `MissingCredential`."""
    if not isinstance(file, Credential):
        return base_dir / file
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise MissingCredential(
            f"the credential {file.credential!r} is missing: the service manager passes it at the start"
            " (LoadCredential= in the unit), and $CREDENTIALS_DIRECTORY is not set",
            file.credential,
        )
    return Path(folder) / file.credential


def content_of(path: Path) -> bytes:
    """The bytes of the file. Raises `EnvironmentFault`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise EnvironmentFault(
            f"{path} cannot be read: {error.strerror}; it must be readable for the daemon's user"
        ) from None


def load_own(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    """Load our own certificate and its key. Raises `EnvironmentFault`."""

    def passphrase() -> str:  # without this function OpenSSL would ask on the terminal
        raise EnvironmentFault(f"the key {key} is encrypted; `openssl pkey` writes it without encryption")

    try:
        context.load_cert_chain(cert, key, passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise EnvironmentFault(f"the key {key} does not belong to the certificate {cert}") from None
        raise EnvironmentFault(f"{cert} and {key} are no certificate and key: {_why(error)}") from None
    except OSError as error:
        raise EnvironmentFault(f"{cert} or {key} cannot be read: {error.strerror}") from None


def load_trusted(context: ssl.SSLContext, path: Path) -> None:
    """Load the authorities that may have signed the peer's certificate. Raises `EnvironmentFault`."""
    content_of(path)  # its error for an unreadable file is clearer than OpenSSL's
    try:
        context.load_verify_locations(path)
    except (ssl.SSLError, OSError) as error:
        raise EnvironmentFault(f"{path} holds no certificate in PEM: {_why(error)}") from None


def _why(error: OSError) -> str:
    reason = getattr(error, "reason", None)
    return reason.lower().replace("_", " ") if reason else "not in PEM"
