"""The files of this host that the checks read."""

import pwd
import re
from pathlib import Path

from streamd.config import Config
from streamd.host import units
from streamd.host.socket_unit import SocketUnit, installed


class Host:
    """Reads files of the kernel and of systemd. In tests `root` is another folder than `/`.

    No method raises. A file that is missing, or hidden by a sandbox, is None.
    """

    def __init__(self, config_path: Path, root: Path = Path("/")) -> None:
        self._root = root
        self._config_path = config_path
        unit = self._unit(units.SERVICE)
        self.is_service = f"--config {units.exec_word(config_path)}\n" in unit
        """Whether the service installed on this host runs this configuration."""
        self._service = unit if self.is_service else ""
        self._socket = self._unit(units.SOCKET) if self.is_service else ""

    def text(self, path: str) -> str | None:
        """The text of a file."""
        try:
            return self._below(path).read_text(errors="replace")
        except OSError:
            return None

    def number(self, path: str) -> int | None:
        """The number in a file that contains one number only."""
        text = (self.text(path) or "").strip()
        return int(text) if text.isascii() and text.isdigit() else None

    def service_value(self, key: str) -> str | None:
        """The last value of a key in the service's unit and drop-ins."""
        found = self.service_values(key)
        return found[-1] if found else None

    def service_values(self, key: str) -> list[str]:
        """All values of a key in the service's unit and drop-ins, in order."""
        found: list[str] = re.findall(rf"^{key}=(.*)$", self._service, re.MULTILINE)
        return [value.strip() for value in found]

    @property
    def service_uid(self) -> int | None:
        """The user of the service. None if it names none, or one that does not exist."""
        try:
            return pwd.getpwnam(self.service_value("User") or "").pw_uid
        except KeyError:
            return None

    @property
    def may_bind_every_port(self) -> bool:
        """Whether the service may bind privileged ports."""
        named = " ".join(self.service_values("AmbientCapabilities")).split()
        return "CAP_NET_BIND_SERVICE" in named and self.service_value("PrivateUsers") not in ("yes", "true")

    def socket_unit(self, config: Config) -> SocketUnit | None:
        """The installed socket unit compared with the configuration, or None if there is none."""
        return installed(config, self._config_path, self._below(units.SERVICE), self._below(units.SOCKET))

    @property
    def socket_receive_buffer_bytes(self) -> int | None:
        """The `ReceiveBuffer=` of the socket unit in bytes."""
        found = re.findall(r"^ReceiveBuffer=(\d+)$", self._socket, re.MULTILINE)
        return int(found[-1]) if found else None

    def _below(self, path: Path | str) -> Path:
        return self._root / str(path).lstrip("/")

    def _unit(self, path: Path) -> str:
        return units.unit_text(self._below(path), self._below(units.IN_RUN / path.name))
