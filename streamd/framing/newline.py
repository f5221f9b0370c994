from streamd.core.delimited import Delimited


class Newline(Delimited):
    """Makes a frame of each line, which ends with LF or CRLF (RFC 6587 section 3.4.2). Empty lines are
    skipped.

    A CR elsewhere is content. If an overlong line is cut, the rest of it up to its LF is discarded.
    """

    delimiter = b"\n"
    optional = b"\r"
