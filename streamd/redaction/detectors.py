"""The detectors by name, and what several of them find in a text."""

from collections.abc import Iterable
from operator import itemgetter

from streamd.core.redact_settings import DetectorName
from streamd.redaction.address import find_addresses
from streamd.redaction.card import find_cards
from streamd.redaction.email import find_emails
from streamd.redaction.iban import find_ibans
from streamd.redaction.phone import find_phones
from streamd.redaction.span import Detect, Span

DETECTORS: dict[DetectorName, Detect] = {
    "email": find_emails,
    "ip": find_addresses,
    "card": find_cards,
    "phone": find_phones,
    "iban": find_ibans,
}


def find(text: str, detectors: Iterable[Detect]) -> list[Span]:
    """All that the detectors find, in order. Places that overlap are one place, so no part of them stays."""
    places = [place for detect in detectors for place in detect(text)]
    if len(places) < 2:  # noqa: PLR2004 - nothing to join
        return places
    places.sort(key=itemgetter(0))
    joined = [places[0]]
    for place in places[1:]:
        last = joined[-1]
        if place.start < last.end:
            joined[-1] = Span(last.start, max(last.end, place.end))
        else:
            joined.append(place)
    return joined
