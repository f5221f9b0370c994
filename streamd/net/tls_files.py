"""The PEM files of TLS, for listeners and sinks."""

import ssl
from pathlib import Path
from typing import Literal

from streamd.core.credential import content_of
from streamd.core.errors import EnvironmentFault
from streamd.core.regular_file import require_regular

Version = Literal["1.2", "1.3"]
VERSIONS: dict[Version, ssl.TLSVersion] = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def load_own(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    """Load our own certificate and its key. Raises `EnvironmentFault`."""

    def passphrase() -> str:  # without this function OpenSSL would ask on the terminal
        raise EnvironmentFault(f"the key {key} is encrypted; `openssl pkey` writes it without encryption")

    try:
        require_regular(cert)  # OpenSSL would wait for the writer of a pipe
        require_regular(key)
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
