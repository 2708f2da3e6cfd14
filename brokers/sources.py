"""Which source a queue's messages come from."""

from brokers.intake import Intake, Source
from brokers.priorities import Lanes
from brokers.pulls import Pulls
from brokers.ring import Ring


def source_for(intake: Intake) -> Source:
    """Return the source that fits the queue's route; it asks nobody yet."""
    if intake.route.by_tenant:
        return Ring(intake)
    return Lanes(intake) if intake.route.max_priority else Pulls(intake)
