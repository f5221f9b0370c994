"""The contracts between the daemon and its components. Each kind of component has its own file.

A component is one file: `streamd/<kind>/<type>.py` holds one class with a nested pydantic `Config`, whose
field descriptions are the documentation of its options. A simple component implements `decode_one` or
`process_one` for one record; a fast one defines the method for a batch. The daemon adds buffering, retry,
counting and acks around the component.

Sources, steps and sinks have `open` and `rehearse`. Every check of `open` that changes nothing on the host
belongs into a function that both call. Then `streamd check` and the dry run of a reload report the same error
without opening anything. Framings, codecs and encoders have no `rehearse`: their constructors refuse wrong
options. A constructor reads no file; `Codec.load` reads those that the options of a codec name.
"""

from streamd.core.contracts.codec import AnyCodec, BadElement, BadFrame, Codec, Decoded, Frame
from streamd.core.contracts.encoder import (
    AnyEncoder,
    Encoded,
    Encoder,
    OriginOf,
    RecordOrigin,
    Separation,
    one_by_one,
)
from streamd.core.contracts.framer import AnyFramer, Framer
from streamd.core.contracts.processed import DROP, BadRecord, Dropped, Processed
from streamd.core.contracts.sink import AnySink, Sink, SinkContext, Written
from streamd.core.contracts.source import (
    AnySource,
    KernelQueue,
    Numbering,
    Outlet,
    ReadNotes,
    Sockets,
    Source,
    SourceContext,
)
from streamd.core.contracts.step import CarriedState, Offload, Step, StepContext

__all__ = [
    "DROP",
    "AnyCodec",
    "AnyEncoder",
    "AnyFramer",
    "AnySink",
    "AnySource",
    "BadElement",
    "BadFrame",
    "BadRecord",
    "CarriedState",
    "Codec",
    "Decoded",
    "Dropped",
    "Encoded",
    "Encoder",
    "Frame",
    "Framer",
    "KernelQueue",
    "Numbering",
    "Offload",
    "OriginOf",
    "Outlet",
    "Processed",
    "ReadNotes",
    "RecordOrigin",
    "Separation",
    "Sink",
    "SinkContext",
    "Sockets",
    "Source",
    "SourceContext",
    "Step",
    "StepContext",
    "Written",
    "one_by_one",
]
