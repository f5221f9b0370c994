"""The codec `python`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from streamd.core.batch import Record
from streamd.core.contracts import BadElement, Codec, Frame
from streamd.core.errors import BadData
from streamd.core.now import Now
from streamd.core.settings import Settings
from streamd.functions.frame_function import FrameFunction
from streamd.functions.options import FunctionReference


class Python(Codec["Python.Config"]):
    """Calls your own function with the bytes of each frame: `decode(payload)` returns a dict.

    The function returns one dict, a list of dicts, or None if a frame holds no record. If it has a parameter
    "peer", it also gets the sender as a text, and for a parameter "received_at" the time of receipt, in
    seconds since 1970. Values may be those of a step `python`, which converts datetime and NumPy numbers.

    ValueError and a Reject of streamd reject the frame with their text (`python:rejected`). Any other
    exception rejects it with the line of your code (`python:exception`), a result that is no record as
    `python:bad_result`, and a record with a key that only the daemon sets as `python:reserved`.

    The function runs in the daemon, which does nothing else meanwhile. A reload imports a changed file again.
    A schema checks the values; texts are not converted.
    """

    counters: ClassVar[Mapping[str, str]] = {
        "without_record": "frames for which the function of the codec `python` returned no record"
    }

    class Config(Settings):
        """The function."""

        function: FunctionReference = Field(
            description="a function: `steps.py:name`, with a path relative to the configuration file, or"
            " `package.module:name`"
        )
        params: dict[str, Any] = Field(
            {}, description="keyword arguments, which the function gets with each frame"
        )

    def load(self, base_dir: Path) -> None:
        """Import the function. Raises `ConfigError`."""
        self._function = FrameFunction(self.config.function, base_dir, self.config.params)

    def is_current(self) -> bool:
        """Whether the function's files are unchanged. An installed package counts as unchanged."""
        return self._function.is_current()

    def decode_frame(self, frame: Frame, now: Now) -> Record | list[Record | BadElement]:
        """The records that the function returns for one frame."""
        del now
        try:
            records = self._function.records(frame)
        except BadData as bad:
            raise BadData(f"python:{bad.reason}", bad.detail) from None
        if not records:
            self.count("without_record")
        if self.schema is not None:
            records = list(map(self.schema.check, records))
        return [*records] if len(records) != 1 else records[0]
