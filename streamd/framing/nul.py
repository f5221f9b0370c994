from streamd.core.delimited import Delimited


class Nul(Delimited):
    """Cuts frames that end with NUL (GELF over TCP); LF and CR are content. Empty frames are skipped."""

    delimiter = b"\0"
    nul_is_data = True
