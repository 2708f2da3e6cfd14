"""Tenants' webhook secrets, carried from Postgres to where the receiver reads them.

They stay sealed: this process does not have the key. See ADR 0041.
"""

import logging
import time
from uuid import UUID

from dramatiq.errors import BrokerError

from brokers import JetStreamBroker
from brokers.kv import Bucket
from models.database import Database
from models.errors import NeighbourUnavailableError
from models.queries import webhook_secrets
from models.queries.webhook_secrets import Unpublished
from models.webhook_secrets import BUCKET, carried, revision_of
from scheduler.timetable import Duty

log = logging.getLogger("batchsender.webhook_secrets")

#: Seconds between two rounds; with the receiver's two it is known within five.
EVERY_S = 1.0
#: Seconds between two looks for what the bucket has lost.
LOOK_EVERY_S = 60.0
#: Carried in one round; more are carried by the next.
_MOST = 500


def duty(database: Database, broker: JetStreamBroker) -> Duty:
    """Return the duty; nothing is connected yet."""
    secrets = WebhookSecrets(database, broker.bucket(BUCKET))
    return Duty("webhook secrets", EVERY_S, secrets.publish)


class WebhookSecrets:
    """Carries what has changed, and what the bucket has lost."""

    def __init__(self, database: Database, bucket: Bucket) -> None:
        self._database = database
        self._bucket = bucket
        self._looked_at = float("-inf")

    def publish(self) -> int:
        """Carry what the receiver has not heard of; returns how many it was.

        Raises:
            NeighbourUnavailableError: NATS does not answer; the next round tries
                again.
        """
        try:
            if time.monotonic() - self._looked_at > LOOK_EVERY_S:
                self._look_for_lost()
                self._looked_at = time.monotonic()
            return self._publish_changed()
        except BrokerError as error:
            raise NeighbourUnavailableError("NATS takes no webhook secrets.") from error

    def _publish_changed(self) -> int:
        with self._database.statement() as connection:
            found = webhook_secrets.unpublished_webhook_secrets(connection, most=_MOST)
        for one in found:
            self._put(one)
        with self._database.statement() as connection:
            webhook_secrets.mark_webhook_secrets_published(connection, found)
        return len(found)

    def _put(self, one: Unpublished) -> None:
        """Store a secret, unless another leader has stored a newer one."""
        key, value = str(one.config_id), carried(one.revision, one.sealed)
        while True:
            there = self._bucket.get(key)
            if there is not None and revision_of(there.value) >= one.revision:
                return
            revision = there.revision if there is not None else 0
            if self._bucket.update(key, value, revision) is not None:
                return

    def _look_for_lost(self) -> None:
        """Have carried again what the bucket should hold and does not."""
        there, after = self._bucket.keys(), None
        while page := self._known(after):
            after = page[-1]
            lost = [one for one in page if str(one) not in there]
            if lost:
                log.warning("%s webhook secrets are carried once more.", len(lost))
                with self._database.statement() as connection:
                    webhook_secrets.publish_webhook_secrets_again(connection, lost)

    def _known(self, after: UUID | None) -> list[UUID]:
        with self._database.statement() as connection:
            return webhook_secrets.configs_with_webhook_secrets(connection, after=after)
