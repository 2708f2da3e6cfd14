"""Any HTTP endpoint of the tenant's own: it gets the messages as JSON.

A call is a POST of an array of messages, or of one message where `maxBatch` is 1. With
a key it carries `Idempotency-Key`; with a secret it is signed as Standard Webhooks say,
with `webhook-id`, `webhook-timestamp` and `webhook-signature`.

What its answer means (design, section 5 rule 5: *refused* needs proof):

| answer | means |
| --- | --- |
| 2xx, an array of as many items as messages | each item for its message, see below |
| 2xx, an array of another length | unanswered |
| 2xx, said to be JSON and not readable | unanswered |
| 2xx, one object for one message | it is that message's item |
| 2xx, anything else or nothing | all accepted |
| 408, 409, 425, 1xx, 5xx | unanswered |
| 429 | refused for now, `Retry-After` obeyed |
| 3xx, other 4xx | refused for good; 401 and 403 name the credentials |
| no connection, so no byte left | refused for now |
| time over, reset, short or too long | unanswered |

| item | means |
| --- | --- |
| an object, its `status` absent or `accepted` | accepted; `id` is the message's id |
| `rejected` | refused for good; `error` is the reason |
| `retry` | refused for now |
| anything else | unanswered |
"""

import email.utils
import http.client
import time
from collections.abc import Mapping, Sequence
from datetime import UTC
from http import HTTPStatus
from typing import Any, Self

import orjson

from models import bits
from models.capabilities import Capabilities
from models.custom_settings import CustomSettings
from models.outcome import Answer
from providers.http import HttpAnswer, HttpSession, NoAnswer, NotSent
from providers.provider import Call
from providers.signatures import standard_webhooks_key, standard_webhooks_signature

#: Most that a reason from the endpoint may take in our records.
MAX_REASON = 300
#: The longest wait that an endpoint can ask for, in seconds.
MAX_RETRY_AFTER_S = 86_400.0

_UNANSWERED = frozenset({408, 409, 425})
_CREDENTIALS = frozenset({401, 403})


class CustomWebhook:
    """A tenant's endpoint."""

    def __init__(self, settings: CustomSettings, key: bytes | None) -> None:
        self._settings = settings
        self._key = key
        self._session = HttpSession()
        self.capabilities = Capabilities(
            max_batch=settings.max_batch,
            keeps_idempotency_keys=settings.idempotency_keys,
            reports_events=False,
            counts=settings.limit_unit,
        )

    @classmethod
    def of(cls, settings: Mapping[str, Any], credentials: Mapping[str, str]) -> Self:
        """Return the provider of a send config.

        Raises:
            InvalidInputError: A setting or the credential `secret` is wrong.
        """
        secret = credentials.get("secret")
        key = standard_webhooks_key(secret) if secret else None
        return cls(CustomSettings.of(settings), key)

    def send(self, call: Call) -> Answer:
        """Post the messages once; the module tells what an answer means."""
        is_single = self._settings.max_batch == 1
        body = orjson.dumps(call.messages[0] if is_single else call.messages)
        found = self._session.post(
            self._settings.url,
            body,
            self._headers(call, body),
            deadline_s=call.deadline_s,
        )
        return answer_of(found, len(call.messages))

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def _headers(self, call: Call, body: bytes) -> dict[str, str]:
        headers = {"User-Agent": "BatchSender", **self._settings.headers}
        headers["Content-Type"] = "application/json"
        if call.key is not None:
            headers["Idempotency-Key"] = call.key
        if self._key is not None:
            first, last = call.messages[0]["seq"], call.messages[-1]["seq"]
            # Without a key the same recipients still have the same id.
            message_id = call.key or f"{call.batch_id}:{first}-{last}"
            now_s = int(time.time())
            headers["webhook-id"] = message_id
            headers["webhook-timestamp"] = str(now_s)
            headers["webhook-signature"] = standard_webhooks_signature(
                self._key, message_id=message_id, timestamp_s=now_s, body=body
            )
        return headers


def answer_of(found: HttpAnswer | NotSent | NoAnswer, size: int) -> Answer:
    """Return what became of a call of `size` messages (the module's tables)."""
    everyone = bits.everyone(size)
    if isinstance(found, NotSent):
        return Answer(taken_up=False, reason=found.reason)
    if isinstance(found, NoAnswer):
        return Answer(unanswered=everyone, reason=found.reason)
    if 200 <= found.status < 300:
        return _accepted(found, size)
    retry_after_s = _retry_after_s(found.headers.get("retry-after"))
    phrase = http.client.responses.get(found.status, "")
    reason = f"The endpoint answered {found.status} {phrase}".rstrip() + "."
    if found.status == HTTPStatus.TOO_MANY_REQUESTS:
        return Answer(taken_up=False, retry_after_s=retry_after_s, reason=reason)
    if found.status in _UNANSWERED or not 300 <= found.status < 500:
        return Answer(unanswered=everyone, retry_after_s=retry_after_s, reason=reason)
    if found.status in _CREDENTIALS:
        reason = f"{reason[:-1]}: check the send config's credentials."
    elif found.status < 400:
        reason = f"{reason[:-1]}: redirects are not followed, give the last address."
    return Answer(failed=dict.fromkeys(range(size), reason), reason=reason)


def _accepted(found: HttpAnswer, size: int) -> Answer:
    everyone = bits.everyone(size)
    try:
        answer = orjson.loads(found.body) if found.body.strip() else None
    except orjson.JSONDecodeError:
        if "json" not in found.headers.get("content-type", "").lower():
            return Answer(accepted=everyone)
        reason = "The endpoint's answer is not the JSON that it says."
        return Answer(unanswered=everyone, reason=reason)
    if isinstance(answer, Mapping) and size == 1:
        return _by_item([answer])
    if not isinstance(answer, list):
        return Answer(accepted=everyone)
    if len(answer) != size:
        reason = f"The endpoint answered {len(answer)} items for {size} messages."
        return Answer(unanswered=everyone, reason=reason)
    return _by_item(answer)


def _by_item(items: Sequence[Any]) -> Answer:
    statuses = [
        item.get("status", "accepted") if isinstance(item, Mapping) else None
        for item in items
    ]
    known = ("accepted", "rejected", "retry")
    accepted = [i for i, status in enumerate(statuses) if status == "accepted"]
    unanswered = [i for i, status in enumerate(statuses) if status not in known]
    ids = [
        str(item["id"]) if status == "accepted" and item.get("id") is not None else None
        for item, status in zip(items, statuses, strict=True)
    ]
    reason = "The endpoint asked to try again." if "retry" in statuses else ""
    return Answer(
        accepted=bits.of_positions(accepted),
        failed={
            i: _reason(items[i]) for i, s in enumerate(statuses) if s == "rejected"
        },
        unanswered=bits.of_positions(unanswered),
        provider_ids=ids if any(ids) else (),
        reason="The endpoint's answer has an unknown status." if unanswered else reason,
    )


def _reason(item: Mapping[str, Any]) -> str:
    error = item.get("error")
    return str(error)[:MAX_REASON] if error else "The endpoint rejected the message."


def _retry_after_s(text: str | None) -> float | None:
    """Return the seconds in a `Retry-After`, a number or a date (RFC 9110, 10.2.3)."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return min(float(text), MAX_RETRY_AFTER_S)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    wait_s = date.replace(tzinfo=date.tzinfo or UTC).timestamp() - time.time()
    return min(max(0.0, wait_s), MAX_RETRY_AFTER_S)
