"""Syslog messages: RFC 5424, RFC 3164, and what devices send instead. Texts in, fields out.

`message` says what a message has, `any_format` recognises its format. `rfc5424` and `rfc3164` read a header,
`stamps` its time and `structured_data` its elements. `contents` reads formats inside the message: `@cee:`
JSON, CEF and LEEF. `columns` reads a whole batch.
"""
