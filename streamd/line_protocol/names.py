"""The names that tags and fields have in a record."""

from collections.abc import Iterable, Sequence

from streamd.core.errors import BadData
from streamd.core.json_rules import RESERVED_KEYS

MEASUREMENT = "measurement"
TIMESTAMP = "timestamp"
EXACT = "timestamp_ns"
OWN = frozenset((MEASUREMENT, TIMESTAMP, EXACT))
"""The names that the codec gives."""
TAKEN = OWN | RESERVED_KEYS


def check_tags(tags: Sequence[str]) -> None:
    """Raises `BadData` with `influx:tag` if two tags have one key."""
    seen: set[str] = set()
    for tag in tags:
        if tag in seen:
            raise BadData("influx:tag", f"the tag {tag[:64]!r} occurs twice")
        seen.add(tag)


def names_of(tags: Sequence[str], fields: Iterable[str]) -> dict[tuple[str, bool], str]:
    """The name in the record for each (key, whether it is a tag).

    A field keeps its key unless it is one of the record's own; then it gets `_field` behind it. So does a tag
    with `_tag`, whose key may also be that of a field. Raises `BadData` with `influx:tag`, with
    `influx:reserved`, and with `influx:names` if a name is taken even so.
    """
    check_tags(tags)
    names = {(key, False): f"{key}_field" if key in OWN else key for key in fields}
    taken = {*OWN, *(key for key, _ in names)}
    names |= {(key, True): f"{key}_tag" if key in taken else key for key in tags}
    if len({*names.values()}) < len(names):
        raise BadData("influx:names", "a tag and a field need the same name in the record")
    if reserved := RESERVED_KEYS.intersection(names.values()):
        raise BadData("influx:reserved", f"only the daemon sets {min(reserved)!r}")
    return names
