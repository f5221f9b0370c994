"""One configuration of each step, the records that suit it, and the hand-written loop for the same work."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamd.bench import by_hand, forecast_by_hand, statsd_by_hand
from streamd.core.batch import Record

Suited = Callable[[list[Record]], list[Record]]

_SENSORS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCase:
    """A representative use of a step."""

    options: Mapping[str, Any]
    what: str
    """The configuration, in words."""
    by_hand: Callable[[], by_hand.Loop]
    """Makes the hand-written loop."""
    by_hand_what: str
    """The loop, in words."""
    suited: Suited = lambda records: records
    """Makes the records of the case from readings of sensors, a batch at a time."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The files that the step reads: their texts by name."""
    extra: str = ""
    """The extra that the step needs. Without its package there is no measurement."""


def _with(added: Callable[[Record], Record]) -> Suited:
    """Adds the fields that `added` returns to each record."""

    def suited(records: list[Record]) -> list[Record]:
        for record in records:
            record.update(added(record))
        return records

    return suited


def _position(record: Record) -> Record:
    """A position in every tenth record of a sensor."""
    return {"lat": 48.1, "lon": 11.5} if record["seq"] // _SENSORS % 10 == 0 else {}


def _message(record: Record) -> Record:
    """A text with a JSON object of five fields."""
    called = {"user": f"u{record['seq']}", "code": 200, "took_ms": 1.5, "path": "/a", "cached": True}
    return {"message": json.dumps(called)}


def _login(record: Record) -> Record:
    """A text with an e-mail address and an IPv4 address."""
    number = record["seq"]
    return {"message": f"login of user{number}@example.com from 192.0.2.{number % 255} after 3 tries"}


def _spike(record: Record) -> Record:
    """A value out of range in every hundredth record."""
    return {"value": 900.0} if record["seq"] % 100 == 0 else {}


def _repeated(records: list[Record]) -> list[Record]:
    """Every tenth record comes twice."""
    some = len(records) // 10
    return [*records, *(record.copy() for record in records[:some])]


CASES: Mapping[str, StepCase] = {
    "filter": StepCase(
        options={"where": f"value > {by_hand.LEAST_VALUE} and ok"},
        what="two conditions, most records pass",
        by_hand=by_hand.filters,
        by_hand_what="a list comprehension with the same conditions",
    ),
    "set": StepCase(
        options={"fields": {"value": "value * 1.8 + 32", "unit": '"F"'}},
        what="two fields, one computed",
        by_hand=by_hand.sets,
        by_hand_what="{**record, …} with the same values",
    ),
    "select": StepCase(
        options={"fields": ["ts", "sensor", "value"]},
        what="three of seven fields",
        by_hand=by_hand.selects,
        by_hand_what="a dict display of the same fields and the metadata",
    ),
    "drop": StepCase(
        options={"fields": ["ok", "site"]},
        what="two of seven fields",
        by_hand=by_hand.drops,
        by_hand_what="two calls of pop",
    ),
    "rename": StepCase(
        options={"fields": {"sensor": "device", "value": "celsius"}},
        what="two of seven fields",
        by_hand=by_hand.renames,
        by_hand_what="two calls of pop, which put the renamed fields last",
    ),
    "flatten": StepCase(
        options={},
        what="an object of three fields",
        by_hand=by_hand.flattens,
        by_hand_what="two nested loops over the items",
        suited=_with(lambda _: {"gps": {"lat": 48.1, "lon": 11.5, "alt": 519.0}}),
    ),
    "split": StepCase(
        options={"field": "values"},
        what="a list of four values makes four records (cost of the one that comes in)",
        by_hand=by_hand.splits,
        by_hand_what="{**record, …} for each value",
        suited=_with(lambda _: {"values": [20.1, 20.2, 20.3, 20.4]}),
    ),
    "merge": StepCase(
        options={"key": ["sensor"], "fields": ["lat", "lon"], "max_age": "1h"},
        what="a position from every tenth record of 1,000 sensors",
        by_hand=by_hand.merges,
        by_hand_what="a dict of the last positions, of any age",
        suited=_with(_position),
    ),
    "parse": StepCase(
        options={"field": "message", "format": "json"},
        what="a JSON object of five fields in a text",
        by_hand=by_hand.parses,
        by_hand_what="{**record, **json.loads(text)}",
        suited=_with(_message),
    ),
    "parse_time": StepCase(
        options={"field": "ts"},
        what="ISO 8601 with microseconds and an offset",
        by_hand=by_hand.parses_time,
        by_hand_what="datetime.fromisoformat, astimezone and strftime",
        suited=_with(lambda record: {"ts": f"{record['ts'][:-1]}+02:00"}),
    ),
    "convert": StepCase(
        options={"fields": {"value": {"from": "C", "to": "F", "digits": 2}}},
        what="°C to °F, rounded",
        by_hand=by_hand.converts,
        by_hand_what="{**record, …} with the rounded product",
    ),
    "lookup": StepCase(
        options={"path": "rooms.csv", "key": ["sensor"], "fields": ["room"]},
        what="one field from a table of 1,000 rows",
        by_hand=by_hand.looks_up,
        by_hand_what="a dict that csv.reader has filled",
        files={"rooms.csv": by_hand.ROOMS},
    ),
    "python": StepCase(
        options={"function": "steps.py:one"},
        what="a function that adds a field, inline",
        by_hand=by_hand.calls,
        by_hand_what="the same function, called with a copy",
        files={"steps.py": by_hand.FUNCTION},
    ),
    "redact": StepCase(
        options={"rules": [{"fields": ["message"], "detect": ["email", "ip"], "action": "mask"}]},
        what="an e-mail address and an IPv4 address are found in a text and masked",
        by_hand=by_hand.redacts,
        by_hand_what="two calls of re.sub with simple patterns",
        suited=_with(_login),
    ),
    "dedupe": StepCase(
        options={"key": ["sensor", "seq"], "within": f"{by_hand.WITHIN_S:g}s"},
        what="two key fields, 10 s, every eleventh record repeats one",
        by_hand=by_hand.dedupes,
        by_hand_what="an OrderedDict of the keys, without a bound of their number",
        suited=_repeated,
    ),
    "throttle": StepCase(
        options={"key": ["sensor"], "per": f"{by_hand.PER_S:g}s"},
        what="one record in 10 s from each of 1,000 sensors",
        by_hand=by_hand.throttles,
        by_hand_what="a dict of the times, without a bound of its size",
    ),
    "statsd_aggregate": StepCase(
        options={"interval": f"{statsd_by_hand.INTERVAL_S}s"},
        what="counters of 1,000 names, ten values in an interval",
        by_hand=statsd_by_hand.sums,
        by_hand_what="a dict of sums and counts, without tags, sample rates and a bound of its size",
        suited=lambda records: [statsd_by_hand.counter(record) for record in records],
    ),
    "sample": StepCase(
        options={"key": ["sensor"], "one_in": by_hand.ONE_IN},
        what="a tenth of the sensors",
        by_hand=by_hand.samples,
        by_hand_what="a list comprehension with the same hash",
    ),
    "sequence": StepCase(
        options={"number": "n", "key": ["sensor"], "window": 8},
        what="1,000 sensors, no gaps",
        by_hand=by_hand.counts_gaps,
        by_hand_what="a dict of the last numbers, without late records, duplicates and restarts",
        suited=_with(lambda record: {"n": record["seq"] // _SENSORS}),
    ),
    "expect": StepCase(
        options={"key": ["sensor"], "every": "10s"},
        what="1,000 sensors, none late",
        by_hand=by_hand.expects,
        by_hand_what="a dict of the last times, without reports",
    ),
    "anomaly": StepCase(
        options={"field": "value", "key": ["sensor"]},
        what="ewma of 1,000 sensors",
        by_hand=by_hand.scores,
        by_hand_what="a dict of mean and variance, with the same band and score",
    ),
    "river": StepCase(
        options={"model": "models.py:build", "fields": ["value", "seq"], "learn": "ok"},
        what="a scaler and a logistic regression of two fields, with the accuracy",
        by_hand=by_hand.learns,
        by_hand_what="river alone: predict_one, the metric, learn_one",
        files={"models.py": by_hand.MODEL},
        extra="analytics",
    ),
    "capture": StepCase(
        options={
            "when": f"value > {by_hand.CAPTURED_ABOVE}",
            "key": ["sensor"],
            "before": f"{by_hand.REMEMBERED_S:.0f}s",
        },
        what="the last ten seconds of 1,000 sensors, no record flagged",
        by_hand=by_hand.remembers,
        by_hand_what="a dict with a deque of copies for each sensor, in three times the memory",
    ),
    "forecast": StepCase(
        options={"field": "value", "key": ["sensor"], "every": f"{forecast_by_hand.EVERY_S:.0f}s"},
        what="1,000 sensors, ten values in an interval",
        by_hand=forecast_by_hand.forecasts,
        by_hand_what="a dict of level and trend, with the same records, without a band",
    ),
    "drift": StepCase(
        options={
            "value": "value",
            "key": ["sensor"],
            "method": "cusum",
            "min_samples": by_hand.REFERENCE,
            "threshold": by_hand.SUM,
        },
        what="cusum of 1,000 sensors",
        by_hand=by_hand.finds_changes,
        by_hand_what="a dict of the sums, without the levels and without records of changes",
    ),
    "validate": StepCase(
        options={
            "rules": [
                {"field": "sensor", "check": "not_null"},
                {
                    "field": "value",
                    "check": "range",
                    "ge": by_hand.LOW,
                    "le": by_hand.HIGH,
                    "on_error": "reject",
                },
                {"field": "unit", "check": "one_of", "values": ["C", "F"]},
            ]
        },
        what="three rules, one record in 100 is rejected",
        by_hand=by_hand.validates,
        by_hand_what="if and elif with the same conditions",
        suited=_with(_spike),
    ),
}
"""By the type of the step."""
