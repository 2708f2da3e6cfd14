"""A Dramatiq broker over NATS JetStream; knows nothing of batches."""

from brokers.delivery import Delivery, current_delivery
from brokers.errors import MessageTooLarge
from brokers.jetstream import JetStreamBroker
from brokers.tenants import TenantShare
from brokers.topology import Route

__all__ = [
    "Delivery",
    "JetStreamBroker",
    "MessageTooLarge",
    "Route",
    "TenantShare",
    "current_delivery",
]
