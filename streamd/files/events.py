"""Logs and counts the events of a followed file, such as rotation, truncation and deletion."""

import structlog

from streamd.core.counters import Counters
from streamd.files.lineage import Found
from streamd.files.position import Position
from streamd.files.tail import Tail
from streamd.files.take_over import Remembered

log = structlog.get_logger()


class FileEvents:
    """Logs the events of one file source, and counts those that lose records or store them twice."""

    def __init__(self, source: str, path: str, counters: Counters) -> None:
        self.counters = counters
        self._names = {"source": source, "path": path}
        self._waiting_for = ""

    def remembered(self, found: Remembered) -> None:
        """A start took over another source's position, or set aside its own of another file."""
        if found.set_aside is not None:
            log.warning(
                "position_not_used",
                **self._names,
                was=found.set_aside.path,
                offset=found.set_aside.offset,
                hint="the source followed another file before; that file's position is kept",
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
        """The source begins to read a file at its offset."""
        self._waiting_for = ""
        log.info("following", **self._names, file=str(tail.path), offset=tail.offset)

    def waiting(self, error: OSError) -> None:
        """The file, or a rotated one before it, cannot be read for now. Logged once for each reason."""
        trouble = error.strerror or str(error)
        if error.filename is not None and str(error.filename) != self._names["path"]:
            trouble = f"{trouble}: {error.filename}"
        if trouble != self._waiting_for:
            self._waiting_for = trouble
            log.warning("file_waiting", **self._names, error=trouble)

    def next_file(self, found: Found, before: Position) -> None:
        """The source goes on with another file than that of the position `before`."""
        if found.missed:
            self.counters.add("files_missed")
            log.warning(
                "file_missed",
                **self._names,
                offset=before.offset,
                hint="the file read last is gone or was rewritten; its content after this offset is not read",
            )
        if found.replaced:
            self.counters.add("files_replaced")
            log.warning(
                "file_replaced",
                **self._names,
                offset=found.tail.offset,
                hint="it begins with the content read before, which is not read again"
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
        """The file was truncated or rewritten while it was followed."""
        self.counters.add("files_truncated")
        if found.copied is not None:
            log.info("file_truncated", **self._names, offset=offset, copy=str(found.copied))
            return
        log.warning(
            "file_truncated",
            **self._names,
            offset=offset,
            hint="it is read from its beginning; lines written after this offset before the truncation are"
            " lost unless a copy has them, and lines that stayed in the file are stored twice",
        )

    def deleted(self, offset: int) -> None:
        """The file was deleted and is still read."""
        log.warning(
            "file_deleted",
            **self._names,
            offset=offset,
            hint="the deleted file takes space until it was quiet for rotate_wait and is closed; lines that"
            " a program writes to it after that are not read",
        )

    def released(self, offset: int) -> None:
        """A deleted file was read to its end and closed."""
        self.counters.add("files_deleted")
        log.info("file_released", **self._names, offset=offset)

    def hole(self, nul_bytes: int) -> None:
        """The file begins with NUL bytes, which are skipped."""
        self.counters.add("discarded_bytes", nul_bytes)
        log.warning(
            "file_hole",
            **self._names,
            nul_bytes=nul_bytes,
            hint="the writing program continued at its old offset after the file was truncated:"
            " let it open the file for appending",
        )

    def broken_framing(self, reason: str, discarded_bytes: int) -> None:
        """The content breaks the framing. The rest of the file is skipped."""
        self.counters.add("discarded_bytes", discarded_bytes)
        self.counters.add("framing_errors", reason=reason)
        log.warning(
            "framing_error",
            source=self._names["source"],
            peer=self._names["path"],
            reason=reason,
            hint="the present content of the file is skipped",
        )

    def not_saved(self, error: OSError) -> None:
        """The position could not be saved. The source retries."""
        log.warning("position_not_saved", source=self._names["source"], error=str(error))
