"""How a report is stored before its provider hears that it was."""

from dramatiq.errors import BrokerError

from brokers import JetStreamBroker, MessageTooLarge, dispatch
from models.errors import InvalidInputError, NeighbourUnavailableError
from models.jobs import RecordWebhook
from settings import Settings
from webhook_app.receive import Publish


def publisher(settings: Settings) -> Publish:
    """Return what stores a report in NATS; nothing is connected yet."""
    broker = dispatch.connect(
        settings.nats_url,
        # Whoever reports waits no longer; it reports again after a 503.
        publish_timeout_s=10,
        **settings.nats_options(),
    )
    return _Stored(broker)


class _Stored:
    def __init__(self, broker: JetStreamBroker) -> None:
        self._broker = broker

    def __call__(self, job: RecordWebhook, *, dedup_id: str) -> None:
        try:
            dispatch.send(self._broker, job, dedup_id=dedup_id)
        except MessageTooLarge as error:
            raise InvalidInputError("The report is too large.") from error
        except BrokerError as error:
            raise NeighbourUnavailableError(
                "NATS did not confirm the report; send it again."
            ) from error
