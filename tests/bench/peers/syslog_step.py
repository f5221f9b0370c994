"""RFC 5424 in a user's own step: the header becomes fields, structured data stays in the message."""

import re
from typing import Any

import streamd

_LINE = re.compile(r"<(\d{1,3})>1 (\S+) (\S+) (\S+) (\S+) (\S+) (.*)", re.DOTALL)


def parse(record: dict[str, Any]) -> dict[str, Any]:
    """The message as fields."""
    found = _LINE.fullmatch(record["message"])
    if found is None:
        raise streamd.Reject("no message of RFC 5424")
    pri, at, host, app, pid, msgid, message = found.groups()
    return {
        "at": at,
        "host": host,
        "app": app,
        "pid": pid,
        "msgid": msgid,
        "pri": int(pri),
        "message": message,
    }
