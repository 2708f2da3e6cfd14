"""The queue, the ledger and the bitmaps, for commands that work on them directly."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from dramatiq.errors import BrokerConnectionError

from brokers import JetStreamBroker, dispatch
from cli.environment import adopt_running_servers
from hot_state.client import connect as connect_dragonfly
from hot_state.outcomes import Outcomes
from models.database import Database
from models.errors import NeighbourUnavailableError
from settings import Settings, load


def servers_of(data_dir: Path) -> Settings:
    """Return the settings, with the servers that run here where none are named.

    Raises:
        InvalidInputError: The environment is not complete, and nothing runs here.
    """
    adopt_running_servers(data_dir)
    return load()


@contextmanager
def opened_database(data_dir: Path) -> Iterator[Database]:
    """Give Postgres to a command of the operator's, by one connection."""
    url = servers_of(data_dir).database_url.get_secret_value()
    with closing(Database(url, pool_size=1)) as database:
        yield database


@contextmanager
def opened_broker(settings: Settings) -> Iterator[JetStreamBroker]:
    """Give a broker that knows the application's queues.

    Raises:
        NeighbourUnavailableError: NATS did not answer while it was used.
    """
    broker = dispatch.connect(
        settings.nats_url,
        replicas=settings.nats_replicas,
        email_shards=settings.email_shards,
        middleware=[],
    )
    with closing(broker):
        try:
            yield broker
        except BrokerConnectionError as error:
            raise NeighbourUnavailableError(
                "NATS does not answer; check NATS_URL and run `batchsender doctor`."
            ) from error


@contextmanager
def opened_ledger(settings: Settings) -> Iterator[tuple[Database, Outcomes]]:
    """Give the ledger and the bitmaps; neither is connected before it is used."""
    database = Database(settings.database_url.get_secret_value(), pool_size=1)
    client = connect_dragonfly(settings.dragonfly_url.get_secret_value())
    with closing(database), closing(client):
        yield database, Outcomes(client)
