"""The encoder `syslog`."""

import re
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from streamd.core.batch import Record
from streamd.core.contracts import Encoder, RecordOrigin
from streamd.core.errors import BadData
from streamd.core.settings import Settings
from streamd.core.timestamp import canonical, from_epoch
from streamd.encoding.values import json_text

Facility = Literal[
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
]  # fmt: skip
Severity = Literal["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"]

_FACILITIES = {name: number for number, name in enumerate(Facility.__args__)}  # type: ignore[attr-defined]  # of a Literal
_SEVERITIES = {name: number for number, name in enumerate(Severity.__args__)} | {  # type: ignore[attr-defined]
    "emergency": 0, "panic": 0, "critical": 2, "fatal": 2, "error": 3, "warn": 4, "informational": 6,
    "trace": 7,
}  # fmt: skip
_HEADER_LENGTHS = {"hostname": 255, "appname": 48, "procid": 128, "msgid": 32}
_FIELDS = frozenset((
    "timestamp", "facility", "severity", *_HEADER_LENGTHS, "structured_data", "message",
))  # fmt: skip
_HEADER = re.compile(r"[!-~]+")
_NAME = re.compile(r"[!#-<>-\\^-~]{1,32}")
_TAG = re.compile(r"[!-9;-Z\\^-~]{1,48}")
_ESCAPED = re.compile(r'(["\\\]])')
_PORT = re.compile(r":\d+\Z")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_BYTE_ORDER_MARK = "\ufeff"


class Syslog(Encoder["Syslog.Config"]):
    """Makes a syslog message of each record: RFC 5424, or RFC 3164 for older receivers.

    The fields are those of the codec `syslog`: `timestamp`, `facility` and `severity` (numbers or names),
    `hostname`, `appname`, `procid`, `msgid`, `structured_data` (the parameters of each SD-ID) and `message`.
    Without `timestamp` it is the time at which the record was received, without `hostname` the address of
    its sender. A record without `message` has its other fields as JSON in the message; otherwise these are
    left out, unless `extra_id` names an element for them.

    A message may have line feeds. `tcp` sends it with its length (RFC 6587, `octet_counting`); in a file and
    with `framing = "newline"`, a message with a line feed is rejected (`newline`).

    A record is rejected if the format has no place for a value: a header field with a blank or over its
    length (`syslog:header`), a facility or severity that does not exist (`syslog:priority`), structured data
    that is no table of tables (`syslog:structured_data`), a time that is none (`timestamp:…`).
    """

    separation = "octet_counting"
    line_feeds = "anywhere"
    begins: ClassVar[bytes] = b"<"

    class Config(Settings):
        """The format, and what a record does not say."""

        format: Literal["rfc5424", "rfc3164"] = Field(
            "rfc5424",
            description="rfc5424, or rfc3164: seconds without year and zone, no structured data and no msgid",
        )
        facility: Facility = Field("user", description="facility of records without one")
        severity: Severity = Field("notice", description="severity of records without one")
        appname: str | None = Field(
            None, pattern=f"^{_HEADER.pattern}$", max_length=48, description="appname of records without one"
        )
        extra_id: str | None = Field(
            None,
            pattern=f"^{_NAME.pattern}$",
            description="SD-ID, like fields@32473, of an element for the fields that have no other place."
            " Default: they are left out if there is a message",
        )
        timezone: str = Field("UTC", description="time zone in which rfc3164 writes the time")

        @field_validator("timezone")
        @classmethod
        def _zone_exists(cls, timezone: str) -> str:
            _zone(timezone)
            return timezone

        @model_validator(mode="after")
        def _has_an_effect(self) -> Self:
            if self.format == "rfc3164" and self.extra_id is not None:
                raise ValueError("extra_id: rfc3164 has no structured data; remove it, or use rfc5424")
            if self.format == "rfc5424" and self.timezone != "UTC":
                raise ValueError("timezone has no effect with rfc5424, whose times have an offset; remove it")
            return self

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._facility = _FACILITIES[config.facility]
        self._severity = _SEVERITIES[config.severity]

    def encode_one(self, record: Record, origin: RecordOrigin) -> bytes:
        """The message of a record. Raises `BadData`."""
        facility = _number(record.get("facility"), _FACILITIES, self._facility, "facility")
        severity = _number(record.get("severity"), _SEVERITIES, self._severity, "severity")
        stamp = record.get("timestamp")
        time = from_epoch(origin.received_at) if stamp is None else canonical(stamp, timezone="UTC")
        hostname = _header(record, "hostname") or _host(origin.peer)
        appname = _header(record, "appname") or self.config.appname or "-"
        procid = _header(record, "procid") or "-"
        head = f"<{facility * 8 + severity}>"
        if self.config.format == "rfc3164":
            _refuse_tag(appname)
            head += f"{_short(time, self.config.timezone)} {hostname} {appname}"
            head += ":" if procid == "-" else f"[{procid}]:"
        else:
            msgid = _header(record, "msgid") or "-"
            data = self._structured_data(record)
            head += f"1 {time} {hostname} {appname} {procid} {msgid} {data}"
        message = self._message(record)
        try:
            return b"%b %b" % (head.encode(), message) if message else head.encode()
        except UnicodeEncodeError as error:
            raise BadData("row:json", f"not expressible as UTF-8: {error.reason}") from None

    def _message(self, record: Record) -> bytes:
        value = record.get("message")
        if value is None:
            others = {key: other for key, other in record.items() if key not in _FIELDS}
            return b"" if self.config.extra_id is not None or not others else json_text(others).encode()
        if isinstance(value, bytes):
            return value
        text = value if isinstance(value, str) else json_text(value)
        if text.startswith(_BYTE_ORDER_MARK):
            text = _BYTE_ORDER_MARK + text  # readers take the first one off
        try:
            return text.encode()
        except UnicodeEncodeError as error:
            raise BadData("row:json", f"not expressible as UTF-8: {error.reason}") from None

    def _structured_data(self, record: Record) -> str:
        elements = record.get("structured_data")
        if elements is None:
            elements = {}
        if not isinstance(elements, dict):
            raise BadData("syslog:structured_data", "no table of SD-IDs")
        if (extra_id := self.config.extra_id) is not None:
            others = {key: value for key, value in record.items() if key not in _FIELDS}
            if others:
                elements = {**elements, extra_id: others | elements.get(extra_id, {})}
        return "".join([_element(name, parameters) for name, parameters in elements.items()]) or "-"


def _element(name: Any, parameters: Any) -> str:
    if not isinstance(parameters, dict):
        raise BadData("syslog:structured_data", f"no table of parameters in {name!r:.64}")
    text = f"[{_name(name)}"
    for key, values in parameters.items():
        for value in values if isinstance(values, list) else [values]:
            shown = value if isinstance(value, str) else json_text(value)
            escaped = _ESCAPED.sub(r"\\\1", shown)
            text += f' {_name(key)}="{escaped}"'
    return text + "]"


def _name(name: Any) -> str:
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise BadData("syslog:structured_data", f"no name of structured data: {name!r:.64}")
    return name


def _header(record: Record, name: str) -> str:
    """The value of a field of the header; empty if the record has none."""
    value = record.get(name)
    if value is None or value == "":
        return ""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or len(text) > _HEADER_LENGTHS[name] or _HEADER.fullmatch(text) is None:
        most = _HEADER_LENGTHS[name]
        raise BadData("syslog:header", f"{name}: not 1 to {most} characters of ASCII: {value!r:.64}")
    return text


def _number(value: Any, names: dict[str, int], otherwise: int, what: str) -> int:
    if value is None:
        return otherwise
    found = names.get(value.lower()) if isinstance(value, str) else value
    highest = max(names.values())
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= highest:
        raise BadData("syslog:priority", f"no {what}: {value!r:.64}")
    return found


def _host(peer: str | None) -> str:
    """The address of a sender without its port; `-` for a process of this host, and without a sender."""
    if not peer or "=" in peer or _HEADER.fullmatch(peer) is None:
        return "-"
    return _PORT.sub("", peer).strip("[]") or "-"


def _refuse_tag(appname: str) -> None:
    if _TAG.fullmatch(appname) is None:
        raise BadData("syslog:header", f"appname: no tag of RFC 3164: {appname!r:.64}")


@lru_cache(16)
def _zone(name: str) -> ZoneInfo:
    """Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ValueError(f"there is no time zone {name!r}; an example is Asia/Shanghai") from None


@lru_cache(1024)
def _short(time: str, timezone: str) -> str:
    """`Jan  2 08:00:00` in the time zone. Raises `BadData` where the year of the zone would be no year."""
    try:
        at = datetime.fromisoformat(time).astimezone(_zone(timezone))
    except OverflowError:
        raise BadData("timestamp:range", f"not expressible in {timezone}: {time}") from None
    return f"{_MONTHS[at.month - 1]} {at.day:2d} {at:%H:%M:%S}"
