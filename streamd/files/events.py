"""What a followed file is said to have done: in the log, and in the counts beside the books of its source."""

import structlog

from streamd.core.counters import Counters
from streamd.files.lineage import Found
from streamd.files.position import Position
from streamd.files.tail import Tail
from streamd.files.take_over import Remembered

log = structlog.get_logger()


class FileEvents:
    """Each event is logged, and counted where it costs records or stores them twice."""

    def __init__(self, source: str, path: str, counters: Counters) -> None:
        self.counters = counters
        self._names = {"source": source, "path": path}
        self._waiting_for = ""

    def remembered(self, found: Remembered) -> None:
        """A start found the position of another source, or its own of another file."""
        if found.set_aside is not None:
            log.warning(
                "position_not_used",
                **self._names,
                was=found.set_aside.path,
                offset=found.set_aside.offset,
                hint="the source followed another file before; its position is kept for when it does again",
            )
        if found.taken_from is not None:
            log.info(
                "position_taken_over",
                **self._names,
                was=found.taken_from.path,
                by=found.written_by,
                offset=found.taken_from.offset,
            )

    def following(self, tail: Tail) -> None:
        """A file is read from its offset on."""
        self._waiting_for = ""
        log.info("following", **self._names, file=str(tail.path), offset=tail.offset)

    def waiting(self, error: OSError) -> None:
        """The file, or a rotated one before it, cannot be read for now; said once for each reason."""
        trouble = error.strerror or str(error)
        if error.filename is not None and str(error.filename) != self._names["path"]:
            trouble = f"{trouble}: {error.filename}"
        if trouble != self._waiting_for:
            self._waiting_for = trouble
            log.warning("file_waiting", **self._names, error=trouble)

    def next_file(self, found: Found, before: Position) -> None:
        """Another file is read than the one of the position `before`."""
        if found.missed:
            self.counters.add("files_missed")
            log.warning(
                "file_missed",
                **self._names,
                offset=before.offset,
                hint="the file read last is gone or was rewritten; what it had after this offset is not read",
            )
        if found.replaced:
            self.counters.add("files_replaced")
            log.warning(
                "file_replaced",
                **self._names,
                offset=found.tail.offset,
                hint="it begins with all that was read before, which is not read again"
                if found.continues
                else "it is read from its beginning; lines that were copied into it are stored twice",
            )
        for path in found.skipped:
            self.counters.add("files_skipped")
            log.warning(
                "file_skipped",
                source=self._names["source"],
                path=str(path),
                hint="it was compressed before it was read to its end (logrotate: delaycompress)",
            )

    def truncated(self, found: Found, offset: int) -> None:
        """The file was cut off or written anew while it was followed."""
        self.counters.add("files_truncated")
        if found.copied is not None:
            log.info("file_truncated", **self._names, offset=offset, copy=str(found.copied))
            return
        log.warning(
            "file_truncated",
            **self._names,
            offset=offset,
            hint="it is read from its beginning; what was written after this offset before it was cut is lost"
            " unless a copy has it, and lines that stayed in it are stored twice",
        )

    def deleted(self, offset: int) -> None:
        """The file has no name any more and is still read."""
        log.warning(
            "file_deleted",
            **self._names,
            offset=offset,
            hint="it takes space until it is released, which happens once nothing was written to it for"
            " rotate_wait; what a program writes to it after that is not read",
        )

    def released(self, offset: int) -> None:
        """A deleted file is closed."""
        self.counters.add("files_deleted")
        log.info("file_released", **self._names, offset=offset)

    def hole(self, nul_bytes: int) -> None:
        """The beginning of a file holds nothing."""
        self.counters.add("discarded_bytes", nul_bytes)
        log.warning(
            "file_hole",
            **self._names,
            nul_bytes=nul_bytes,
            hint="the program that writes it went on at its old place after the file was truncated:"
            " let it open the file for appending",
        )

    def broken_framing(self, reason: str, discarded_bytes: int) -> None:
        """Frames cannot be told apart; the rest of what is in the file is passed over."""
        self.counters.add("discarded_bytes", discarded_bytes)
        self.counters.add("framing_errors", reason=reason)
        log.warning(
            "framing_error",
            source=self._names["source"],
            peer=self._names["path"],
            reason=reason,
            hint="what the file holds is skipped",
        )

    def not_saved(self, error: OSError) -> None:
        """The position could not be written; it is tried again."""
        log.warning("position_not_saved", source=self._names["source"], error=str(error))
