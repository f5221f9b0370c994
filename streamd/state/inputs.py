"""Which frames of its sources a stored state contains, and whether the sources can continue from there."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from streamd.core.contracts import Numbering
from streamd.runtime.feed import Feed


@dataclass(slots=True, frozen=True)
class Numbered:
    """A source that numbers its frames, and the feed whose buffer holds them for the workers."""

    source: str
    numbering: Numbering
    feed: Feed


class _Seen(NamedTuple):
    """Which frames of one source a stored state contains."""

    numbering: str
    number: int
    """Of the last one."""
    framing: str = ""
    """The digest of the framing that has cut the frames after `framing_since`; empty in older rows."""
    framing_since: int = 0


def inputs_of(numbered: Iterable[Numbered], cuts: Mapping[str, int]) -> str:
    """The text to store for a state that contains the frames up to these numbers, by numbering."""
    seen = {}
    for one in numbered:
        name = one.numbering.name
        seen[one.source] = _Seen(name, cuts[name], one.numbering.framing, one.numbering.framing_since)
    return json.dumps(seen)


def _seen(inputs: str) -> dict[str, _Seen]:
    """By source. Raises ValueError, TypeError or AttributeError for a text that does not say it."""
    found = {}
    for source, (name, number, *framing) in json.loads(inputs).items():
        digest, since = framing or ("", 0)
        found[source] = _Seen(str(name), int(number), str(digest), int(since))
    return found


def cuts_of(inputs: str) -> dict[str, int]:
    """The number of the last frame that the state contains, by numbering."""
    return {seen.numbering: seen.number for seen in _seen(inputs).values()}


def misfit(inputs: str, numbered: Iterable[Numbered], cuts: Mapping[str, int]) -> str:
    """The reason why the state does not match the sources' positions; empty if it does.

    `cuts` are those of other states of the group that do. A source is not opened yet.
    """
    numberings = {one.numbering.name: one for one in numbered}
    by_source = {one.source: one for one in numberings.values()}
    try:
        found = _seen(inputs)
    except (ValueError, TypeError, AttributeError):
        return "it does not name the frames it contains"
    for source, seen in found.items():
        if seen.numbering in numberings:
            one = numberings[seen.numbering]
            position = one.numbering.handed_on
            if position > seen.number:
                return f"the remembered position of source {one.source} is ahead of it"
            if position < seen.number and not _counts_alike(one.numbering, seen):
                return (
                    f"the framing of source {one.source} has changed: which frames after number {position}"
                    " it contains is not known"
                )
            if cuts.get(seen.numbering, seen.number) != seen.number:
                return "it is older than the state of another step of these pipelines"
        elif source in by_source:
            return f"source {source} cannot continue from it: its remembered position is lost or replaced"
    return ""


def _counts_alike(numbering: Numbering, seen: _Seen) -> bool:
    """Whether the frames after the position get the numbers again under which the state has seen them."""
    return numbering.framing == seen.framing and numbering.handed_on >= seen.framing_since
