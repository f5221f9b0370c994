"""What the detectors find in corpus.txt: precision and recall of each."""

import re
from pathlib import Path
from typing import NamedTuple

from streamd.redaction.detectors import DETECTORS

_TEXT = Path(__file__).with_name("corpus.txt").read_text(encoding="utf-8")
_MARK = re.compile(r"⟦(\w+):(.*?)⟧")


class Place(NamedTuple):
    """Personal data in a text."""

    kind: str
    start: int
    end: int


class Line(NamedTuple):
    """A text of the corpus, without its marks."""

    text: str
    places: list[Place]


class Figures(NamedTuple):
    """How good a detector is."""

    marked: int
    """Places in the corpus that have this kind of personal data."""
    missed: list[str]
    """Those of them that are not found as a whole."""
    found: int
    """Places that the detector finds."""
    false: list[str]
    """Those of them that have no personal data of this kind."""

    @property
    def recall(self) -> float:
        """Share of the marked places that are found as a whole."""
        return 1 - len(self.missed) / self.marked

    @property
    def precision(self) -> float:
        """Share of the found places that have such data."""
        return 1 - len(self.false) / self.found


def lines() -> list[Line]:
    return [_line(text) for text in _TEXT.splitlines() if text and not text.startswith(("# ", "## "))]


def _line(marked: str) -> Line:
    parts: list[str] = []
    places: list[Place] = []
    length = behind = 0
    for mark in _MARK.finditer(marked):
        kind, data = mark.groups()
        parts += (marked[behind : mark.start()], data)
        length += mark.start() - behind
        places.append(Place(kind, length, length + len(data)))
        length += len(data)
        behind = mark.end()
    return Line("".join((*parts, marked[behind:])), places)


def figures() -> dict[str, Figures]:
    """The figures of each detector."""
    made: dict[str, Figures] = {kind: Figures(0, [], 0, []) for kind in DETECTORS}
    for text, places in lines():
        for kind, detect in DETECTORS.items():
            old = made[kind]
            spans = detect(text)
            mine = [place for place in places if place.kind == kind]
            made[kind] = Figures(
                old.marked + len(mine),
                old.missed
                + [
                    text[place.start : place.end]
                    for place in mine
                    if not any(span.start <= place.start and place.end <= span.end for span in spans)
                ],
                old.found + len(spans),
                old.false
                + [
                    text[span.start : span.end]
                    for span in spans
                    if not any(span.start < place.end and place.start < span.end for place in mine)
                ],
            )
    return made


def table() -> str:
    """The table in docs/how-to/redact.md."""
    rows = [
        f"| `{kind}` | {one.marked} | {one.recall:.0%} | {one.found} | {one.precision:.0%} |"
        for kind, one in figures().items()
    ]
    head = "| detector | places | recall | found | precision |\n|---|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n"
