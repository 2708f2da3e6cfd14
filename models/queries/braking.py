"""What became of the messages of each config lately, for the automatic brake.

The fold and reports count into hours, each in the statement that moves recipients, so
the figures are exact however often a report comes. Resuming a config begins anew.
"""

from collections.abc import Iterable, Mapping
from uuid import UUID

from sqlalchemy import Connection, text

from models.brake import WINDOW_H, Rates

_RATES = text(
    """
    select config_id, sum(sent)::int as sent, sum(hard_bounces)::int as hard_bounces,
        sum(complaints)::int as complaints
    from config_rates
    where config_id = any(cast(:config_ids as uuid[]))
        and hour > clock_timestamp() - make_interval(hours => :window_h)
    group by config_id order by config_id
    """
)
_FORGET = text(
    """
    delete from config_rates
    where hour < clock_timestamp() - make_interval(hours => 2 * :window_h)
    """
)


def recent_rates(
    connection: Connection, config_ids: Iterable[UUID]
) -> Mapping[UUID, Rates]:
    """Return what the window holds, by config; a config without sends is left out."""
    given = {"config_ids": list(config_ids), "window_h": WINDOW_H}
    return {
        row.config_id: Rates(row.sent, row.hard_bounces, row.complaints)
        for row in connection.execute(_RATES, given)
    }


def forget_old_rates(connection: Connection) -> int:
    """Delete hours that no window reaches any more; returns how many."""
    return connection.execute(_FORGET, {"window_h": WINDOW_H}).rowcount
