from streamd.framing.newline import Delimited


class Nul(Delimited):
    """A NUL byte ends a frame (GELF over TCP); LF and CR are content. Two in a row hold no frame."""

    delimiter = b"\0"
    nul_is_data = True
