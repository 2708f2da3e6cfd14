"""A Dramatiq broker over NATS JetStream; knows nothing of batches."""

from brokers.batching import BatchedMessage
from brokers.calls import calls
from brokers.cancelling import Cancellation
from brokers.dead_letters import DeadLetter
from brokers.delivery import Delivery, current_delivery
from brokers.errors import LetterNotFound, MessageTooLarge
from brokers.figures import QueueFigures
from brokers.jetstream import JetStreamBroker
from brokers.letters import DeadLetters
from brokers.routes import Route
from brokers.tenants import TenantShare
from brokers.unique import is_duplicate

__all__ = [
    "BatchedMessage",
    "Cancellation",
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "JetStreamBroker",
    "LetterNotFound",
    "MessageTooLarge",
    "QueueFigures",
    "Route",
    "TenantShare",
    "calls",
    "current_delivery",
    "is_duplicate",
]
