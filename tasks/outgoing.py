"""Outgoing webhooks: one attempt to deliver events to a tenant's own endpoint.

A POST of JSON, signed as Standard Webhooks say, with `webhook-id` (the delivery's, the
same in every attempt), `webhook-timestamp` and `webhook-signature`. A second copy of an
attempt finds that it is not the delivery's next, and does nothing; an attempt whose end
was not noted is made again. What an answer means:

| answer | means |
| --- | --- |
| 2xx | delivered |
| 410 | the endpoint is disabled |
| anything else, a redirect too, or none in time | tried again, `Retry-After` obeyed |
"""

import logging
import time
from datetime import timedelta

import orjson

from models import credentials
from models.database import Database
from models.errors import InvalidInputError
from models.jobs import DeliverWebhook
from models.outgoing import Secrets, body_of, wait_s
from models.queries import deliveries, endpoints
from models.queries.deliveries import Attempt, Due
from providers.guard import Guard
from providers.http import HttpAnswer, HttpSession, NoAnswer, NotSent
from providers.rate_headers import retry_after_s
from providers.signatures import standard_webhooks_key, standard_webhooks_signature
from settings import Settings
from telemetry import OUTGOING_ATTEMPTS

log = logging.getLogger("batchsender.outgoing")

#: Of an endpoint's answer only so many characters are kept.
RESPONSE_CHARACTERS = 200
_GONE = 410


class Deliverer:
    """Delivers, for many threads; connects at its first use."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._keys = settings.credentials_key.get_secret_value()
        self._deadline_s = settings.outgoing_deadline_s
        self._disable_after_s = settings.outgoing_disable_after_s
        guard = Guard.of(
            ports=settings.endpoint_ports, networks=settings.endpoint_networks
        )
        self._session = HttpSession(guard)

    def deliver(self, job: DeliverWebhook) -> None:
        """Make one attempt, unless it was made.

        Raises `NeighbourUnavailableError` while Postgres is away: after a POST that
        means that it is made again.
        """
        with self._database.statement() as connection:
            found = deliveries.due(connection, job)
        if found is None:
            return
        answer = self._posted(job, found)
        attempt = _ended(answer, job.attempts + 1)
        OUTGOING_ATTEMPTS.labels("failed" if attempt.error else "delivered").inc()
        if attempt.error is None:
            with self._database.statement() as connection:
                deliveries.mark_delivered(connection, job, attempt)
        else:
            self._note_failure(job, found, attempt)

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def _posted(
        self, job: DeliverWebhook, found: Due
    ) -> HttpAnswer | NotSent | NoAnswer:
        try:
            kept = Secrets.of(credentials.unseal(found.secret, self._keys))
        except InvalidInputError as error:
            log.warning("Endpoint %s is not called: %s", job.endpoint_id, error)
            return NotSent("Its secret cannot be read: rotate it")
        body = orjson.dumps(body_of(found.groups, found.addresses, at=found.created_at))
        now_s = int(time.time())
        signatures = [
            standard_webhooks_signature(
                standard_webhooks_key(secret),
                message_id=job.delivery_id,
                timestamp_s=now_s,
                body=body,
            )
            for secret in kept.signing(now_s)
        ]
        headers = {
            "User-Agent": "BatchSender",
            "Content-Type": "application/json",
            "webhook-id": job.delivery_id,
            "webhook-timestamp": str(now_s),
            "webhook-signature": " ".join(signatures),
        }
        return self._session.post(found.url, body, headers, deadline_s=self._deadline_s)

    def _note_failure(self, job: DeliverWebhook, found: Due, attempt: Attempt) -> None:
        reason = None
        with self._database.transaction() as connection:
            failing_s = deliveries.mark_failed(connection, job, attempt)
            if attempt.status == _GONE:
                reason = "It answered 410 Gone."
            elif failing_s is not None and failing_s >= self._disable_after_s:
                lasted = timedelta(seconds=int(failing_s))
                reason = f"Nothing was delivered for {lasted}: {attempt.error}"
            if reason and endpoints.disable(connection, job.endpoint_id, reason):
                log.warning(
                    "Webhook endpoint %s of tenant %s is disabled. %s",
                    *(job.endpoint_id, found.tenant_id, reason),
                )


def _ended(answer: HttpAnswer | NotSent | NoAnswer, attempts: int) -> Attempt:
    """Return how the so-manieth attempt ended (the module's table)."""
    if not isinstance(answer, HttpAnswer):
        return Attempt(error=answer.reason, wait_s=wait_s(attempts))
    said = answer.body[: RESPONSE_CHARACTERS * 4].decode(errors="replace")
    # Postgres' text holds no NUL.
    said = said.replace("\0", "\ufffd")[:RESPONSE_CHARACTERS]
    if 200 <= answer.status < 300:
        return Attempt(answer.status, response=said)
    error = f"The endpoint answered {answer.status}."
    if answer.status == _GONE:
        return Attempt(answer.status, error, said)
    asked_s = retry_after_s(answer.headers) or 0.0
    return Attempt(answer.status, error, said, wait_s(attempts, asked_s=asked_s))
