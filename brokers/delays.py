"""Messages for later: the server keeps them and delivers them when they are due.

A schedule (NATS ADR-51) is a message in the same stream, under a subject that no
consumer covers. It survives restarts of server and workers, holds up no other message,
and is never early; late by 0.2 s as a rule and by up to about 1 s.
"""

import time
from datetime import UTC, datetime

from brokers.publishing import Outgoing
from brokers.routes import Route
from brokers.tokens import escaped_token


def delayed(
    message: Outgoing, route: Route, delay_ms: int, message_id: str
) -> Outgoing:
    """Return the message as one that waits for `delay_ms` in its stream.

    The time is counted by this machine's clock, from now. `Nats-Msg-Id` names the
    waiting message, so that it may be sent again and still waits only once; by
    `message_id`, the same for all copies, it is found to be cancelled.
    """
    due = datetime.fromtimestamp(time.time() + delay_ms / 1000, UTC)
    headers = message.headers | {
        "Nats-Schedule": f"@at {due:%Y-%m-%dT%H:%M:%S.%fZ}",
        "Nats-Schedule-Target": message.subject,
    }
    names = (message_id, message.headers["Nats-Msg-Id"])
    subject = ".".join([route.delayed, *map(escaped_token, names)])
    return Outgoing(message.stream, subject, message.body, headers)
