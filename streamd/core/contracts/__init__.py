"""All contracts between the daemon and its components, a file for each kind.

A component is one file: `streamd/<kind>/<type>.py` holds one class with a nested pydantic `Config` whose
field descriptions are its documentation. Simple by default, fast by override: a newcomer writes
`decode_one` or `process_one`, a hot component overrides the batch method. Wrappers, not authors, add
buffering, retry, counting and acks.

Sources and sinks have `open`, and `rehearse` beside it: every refusal of `open` that this host can be asked
about without a change belongs into a piece that both call, so that `streamd check` and a reload's dry run
say it first. Framings, codecs and steps open nothing: making one reads its files and refuses what is wrong.
"""

from streamd.core.contracts.codec import AnyCodec, BadElement, BadFrame, Codec, Decoded, Frame
from streamd.core.contracts.framer import AnyFramer, Framer
from streamd.core.contracts.sink import AnySink, Sink, SinkContext, Written
from streamd.core.contracts.source import AnySource, Numbering, Outlet, Sockets, Source, SourceContext
from streamd.core.contracts.step import DROP, BadRecord, Drop, Offload, Processed, Step, StepContext

__all__ = [
    "DROP",
    "AnyCodec",
    "AnyFramer",
    "AnySink",
    "AnySource",
    "BadElement",
    "BadFrame",
    "BadRecord",
    "Codec",
    "Decoded",
    "Drop",
    "Frame",
    "Framer",
    "Numbering",
    "Offload",
    "Outlet",
    "Processed",
    "Sink",
    "SinkContext",
    "Sockets",
    "Source",
    "SourceContext",
    "Step",
    "StepContext",
    "Written",
]
