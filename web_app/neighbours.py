"""The servers that only show something, as the web app asks them."""

from functools import partial

from analytics import client as event_log
from analytics import reports
from hot_state import client as hot_state
from hot_state.breaker import Breakers
from hot_state.outcomes import Outcomes
from hot_state.shortages import Shortages
from settings import Settings
from web_app.services import Neighbours


def neighbours(settings: Settings) -> Neighbours:
    """Return Dragonfly and ClickHouse; neither is connected yet."""
    dragonfly = hot_state.connect(settings.dragonfly_url.get_secret_value())
    clickhouse = event_log.connect(settings.clickhouse_url.get_secret_value())
    return Neighbours(
        live_counts=Outcomes(dragonfly).counts,
        breaker=Breakers(dragonfly).of_config,
        shortages=Shortages(dragonfly).of,
        event_log=clickhouse,
        batch_stats=partial(reports.batch_stats, clickhouse),
        pings={
            "dragonfly": partial(hot_state.ask, dragonfly, "PING"),
            "clickhouse": partial(clickhouse.command, "SELECT 1"),
        },
    )
