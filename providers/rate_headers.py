"""What answers say about when to come back, and about the provider's own limit."""

import email.utils
import time
from collections.abc import Mapping
from datetime import UTC

from models.outcome import ReportedRate

#: The longest wait that an answer can ask for, in seconds.
MAX_RETRY_AFTER_S = 86_400.0
#: A reset that is larger than this is a time since 1970, not a number of seconds.
_LEAST_EPOCH_S = 1e9


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds in `retry-after`, a number or a date (RFC 9110, 10.2.3).

    None where there is no such header or nobody can read it.
    """
    text = headers.get("retry-after", "")
    if (seconds := _number(text)) is not None:
        return min(seconds, MAX_RETRY_AFTER_S)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    wait_s = date.replace(tzinfo=date.tzinfo or UTC).timestamp() - time.time()
    return min(max(0.0, wait_s), MAX_RETRY_AFTER_S)


def reported_rate(headers: Mapping[str, str], *, prefix: str) -> ReportedRate | None:
    """Return the limit in `<prefix>limit`, `…remaining` and `…reset`.

    A reset is in seconds from now or since 1970. None unless all three are numbers.
    """
    names = ("limit", "remaining", "reset")
    limit, left, reset_s = (_number(headers.get(prefix + name, "")) for name in names)
    if limit is None or left is None or reset_s is None:
        return None
    if reset_s > _LEAST_EPOCH_S:
        reset_s = max(0.0, reset_s - time.time())
    return ReportedRate(limit, left, min(reset_s, MAX_RETRY_AFTER_S))


def _number(text: str) -> float | None:
    text = text.strip()
    is_number = text.isascii() and text.replace(".", "", 1).isdecimal()
    return float(text) if is_number else None
