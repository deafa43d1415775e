"""The W3C trace context of a record: the header `traceparent`, carried on to what the record caused."""

import re

from messages.codec import Headers

TRACEPARENT = "traceparent"
# https://www.w3.org/TR/trace-context/#traceparent-header
TRACEPARENT_PATTERN = "^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?$"
MAX_TRACEPARENT_BYTES = 256
_FORM = re.compile(TRACEPARENT_PATTERN.removesuffix("$").encode())


def trace_of(headers: Headers) -> Headers:
    """Return the `traceparent` among the headers alone, or none: a malformed or doubled one is not carried."""
    if not headers:
        return ()
    found = [header for header in headers if header[0] == TRACEPARENT]
    return (found[0],) if len(found) == 1 and is_traceparent(found[0][1]) else ()


def is_traceparent(value: bytes) -> bool:
    """Whether the value has the W3C form: version-trace-parent-flags, in lower-case hex, ids not all zero."""
    if len(value) > MAX_TRACEPARENT_BYTES or (match := _FORM.fullmatch(value)) is None:
        return False
    return match[1] is None or not value.startswith(b"00")  # only a version after 00 may say more behind the flags
