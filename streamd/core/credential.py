"""Files of secrets: named by a path, or passed by the service manager as a credential."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from streamd.core.base_settings import Settings
from streamd.core.errors import EnvironmentFault
from streamd.core.regular_file import read_regular


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
        return read_regular(path)
    except OSError as error:
        raise EnvironmentFault(
            f"{path} cannot be read: {error.strerror}; it must be readable for the daemon's user"
        ) from None
