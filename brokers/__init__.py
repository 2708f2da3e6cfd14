"""A Dramatiq broker over NATS JetStream; knows nothing of batches."""

from brokers.cancelling import Cancellation
from brokers.delivery import Delivery, current_delivery
from brokers.errors import MessageTooLarge
from brokers.jetstream import JetStreamBroker
from brokers.topology import Route
from brokers.unique import is_duplicate

__all__ = [
    "Cancellation",
    "Delivery",
    "JetStreamBroker",
    "MessageTooLarge",
    "Route",
    "current_delivery",
    "is_duplicate",
]
