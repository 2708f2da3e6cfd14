"""Any HTTP endpoint of the tenant's own: it gets the messages as JSON.

A call is a POST of an array of messages, or of one message where `maxBatch` is 1. With
a key it carries `Idempotency-Key`; with a secret it is signed as Standard Webhooks say,
with `webhook-id`, `webhook-timestamp` and `webhook-signature`. A batch's files are in
each message, as `attachments`, their `content` in base64.

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
| 401, 403, 410 | refused for now, and the config is held: a person must act |
| 3xx, other 4xx | refused for good |
| no connection, so no byte left | refused for now |
| an address that is not public | refused for now, and the config is held |
| time over, reset, short or too long | unanswered |

| item | means |
| --- | --- |
| an object, its `status` absent or `accepted` | accepted; `id` is the message's id |
| `rejected` | refused for good; `error` is the reason |
| `retry` | refused for now |
| anything else | unanswered |
"""

import http.client
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import orjson

from models import bits
from models.capabilities import of_custom
from models.custom_settings import CustomSettings
from models.outcome import Answer
from providers.guard import Guard
from providers.http import HttpAnswer, HttpSession, NoAnswer, NotSent
from providers.provider import Account, Call, File
from providers.signatures import standard_webhooks_key, standard_webhooks_signature
from providers.verdicts import (
    NOT_READABLE,
    ErrorTable,
    Then,
    Verdict,
    judged,
    whole,
)

#: Most that a reason from the endpoint may take in our records.
MAX_REASON = 300

_CREDENTIALS = ": check the send config's credentials."

#: Sentences go on after “The endpoint answered 503 Service Unavailable”.
ERRORS: ErrorTable = {
    "401": Verdict(Then.PAUSE, "refused", _CREDENTIALS),
    "403": Verdict(Then.PAUSE, "refused", _CREDENTIALS),
    "408": Verdict(Then.RETRY, "none", "."),
    "409": Verdict(Then.RETRY, "none", "."),
    "410": Verdict(Then.PAUSE, "refused", ": it is not there any more."),
    "425": Verdict(Then.RETRY, "none", "."),
    "429": Verdict(Then.RETRY, "refused", "."),
    "1xx": Verdict(Then.RETRY, "none", "."),
    "3xx": Verdict(
        Then.FAIL, "refused", ": redirects are not followed, give the last address."
    ),
    "4xx": Verdict(Then.FAIL, "refused", "."),
    "5xx": Verdict(Then.RETRY, "none", "."),
}


class CustomWebhook:
    """A tenant's endpoint."""

    def __init__(
        self, settings: CustomSettings, key: bytes | None, *, guard: Guard
    ) -> None:
        self._settings = settings
        self._key = key
        self._session = HttpSession(guard)
        self.capabilities = of_custom(settings)

    @classmethod
    def of(
        cls,
        settings: Mapping[str, Any],
        credentials: Mapping[str, str],
        *,
        guard: Guard,
    ) -> Self:
        """Return the provider of a send config.

        Raises:
            InvalidInputError: A setting or the credential `secret` is wrong.
        """
        secret = credentials.get("secret")
        key = standard_webhooks_key(secret) if secret else None
        return cls(CustomSettings.of(settings), key, guard=guard)

    def send(self, call: Call) -> Answer:
        """Post the messages once; the module tells what an answer means."""
        is_single = self._settings.max_batch == 1
        messages = _with_files(call)
        body = orjson.dumps(messages[0] if is_single else messages)
        found = self._session.post(
            self._settings.url,
            body,
            self._headers(call, body),
            deadline_s=call.deadline_s,
        )
        return answer_of(found, len(call.messages))

    def account(self) -> Account | None:
        """Return none: an endpoint's limit is what the config says."""
        return None

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


def _with_files(call: Call) -> Sequence[Mapping[str, Any]]:
    if not call.files:
        return call.messages
    files = [_file(one) for one in call.files]
    return [{**message, "attachments": files} for message in call.messages]


def _file(one: File) -> dict[str, str]:
    about = one.about
    found = {"filename": about.filename, "contentType": about.content_type}
    if about.content_id is not None:
        found["contentId"] = about.content_id
    return {**found, "content": one.base64}


def answer_of(found: HttpAnswer | NotSent | NoAnswer, size: int) -> Answer:
    """Return what became of a call of `size` messages (the module's tables)."""
    verdict = judged(found, ERRORS)
    if not isinstance(found, HttpAnswer):
        return whole(verdict or NOT_READABLE, size)
    if verdict is None:
        return _accepted(found, size)
    phrase = f"{found.status} {http.client.responses.get(found.status, '')}".rstrip()
    told = replace(verdict, says=f"The endpoint answered {phrase}{verdict.says}")
    return whole(
        told,
        size,
    )


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
