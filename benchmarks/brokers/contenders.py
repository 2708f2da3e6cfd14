"""Who is compared: each with its server, its workers and its producer."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from embedded.data_dir import choose_ports
from embedded.nats_server import NatsServer
from embedded.network import answers
from embedded.process import Process, ProcessSpec
from embedded.valkey_server import ValkeyServer

#: Debian's wrapper of the same name gives up root; this one runs as we do.
_RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_DRAMATIQ = (
    *("-m", "dramatiq", "benchmarks.brokers.dramatiq_app"),
    *("--processes", "2", "--threads", "8"),
)
_CELERY = (
    *("-m", "celery", "-A", "benchmarks.brokers.celery_app", "worker"),
    *("--pool", "prefork", "--concurrency", "2", "-O", "fair"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    *("--loglevel", "WARNING"),
)


@dataclass(frozen=True, slots=True)
class Contender:
    """A library with a broker.

    Attributes:
        name: What tables call it.
        server: `nats`, `redis` or `rabbitmq`.
        app: The module with its actors.
        worker: The arguments of Python that start its workers.
        jobs: How many of them are processed; slow ones get fewer.
        env: For its processes.
        needs: Modules that must be installed.
    """

    name: str
    server: str
    app: str
    worker: tuple[str, ...]
    jobs: int
    env: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    def lacks(self) -> str:
        """Return what is missing to run it; `""` where nothing is."""
        missing = [name for name in self.needs if find_spec(name) is None]
        if missing:
            return f"pip install {' '.join(missing)}"
        if self.server == "rabbitmq" and not _RABBITMQ.exists():
            return "apt-get install rabbitmq-server"
        return ""


_APP = "benchmarks.brokers.dramatiq_app"
_PREFETCH_1000 = {"dramatiq_queue_prefetch": "1000"}
OURS = Contender("ours", "nats", _APP, _DRAMATIQ, 100_000, needs=("pika",))
PEERS = (
    Contender("dramatiq-redis", "redis", _APP, _DRAMATIQ, 15_000, needs=("pika",)),
    Contender(
        "dramatiq-redis-1000",
        "redis",
        _APP,
        _DRAMATIQ,
        30_000,
        env=_PREFETCH_1000,
        needs=("pika",),
    ),
    Contender(
        "dramatiq-rabbitmq-1000",
        "rabbitmq",
        _APP,
        _DRAMATIQ,
        30_000,
        env=_PREFETCH_1000,
        needs=("pika",),
    ),
    Contender(
        "celery-redis",
        "redis",
        "benchmarks.brokers.celery_app",
        _CELERY,
        8_000,
        needs=("celery",),
    ),
)


class RabbitmqServer(Process):
    """One RabbitMQ node of Debian's package, without plugins.

    Args:
        data_dir: Where its folder is made.
        port: Where it listens, on loopback.
        names_port: Of Erlang's name service, which must run.
        peers_port: For other nodes, of which there are none.
    """

    def __init__(
        self, data_dir: Path, port: int, *, names_port: int, peers_port: int
    ) -> None:
        self._home = data_dir.absolute() / "rabbitmq"
        self.url = f"amqp://guest:guest@127.0.0.1:{port}"
        super().__init__(
            ProcessSpec(
                name="rabbitmq",
                argv=(str(_RABBITMQ),),
                port=port,
                log_path=data_dir / "logs" / "rabbitmq.log",
                ready=lambda: answers(port, send=b"AMQP\0\0\x09\x01", expect=b"\x01"),
                env={
                    "HOME": str(self._home),
                    "ERL_EPMD_PORT": str(names_port),
                    "RABBITMQ_NODENAME": f"bench-{secrets.token_hex(4)}@localhost",
                    "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
                    "RABBITMQ_NODE_PORT": str(port),
                    "RABBITMQ_DIST_PORT": str(peers_port),
                    "RABBITMQ_MNESIA_BASE": str(self._home / "data"),
                    "RABBITMQ_LOG_BASE": str(self._home / "logs"),
                    "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._home / "plugins"),
                },
                start_timeout_s=90.0,
                stop_timeout_s=30.0,
            )
        )

    def prepare(self) -> None:
        """Make its folder, and switch all plugins off."""
        self._home.mkdir(parents=True, exist_ok=True)
        (self._home / "plugins").write_text("[].\n")


@contextmanager
def serving(kind: str, data_dir: Path) -> Iterator[tuple[str, Process]]:
    """Run the server that a contender needs; give its URL and the server."""
    ports = choose_ports(data_dir, ("server", "names", "peers"), explicit={})
    password, port = secrets.token_hex(12), ports["server"]
    with ExitStack() as stack:
        made: NatsServer | ValkeyServer | RabbitmqServer
        if kind == "nats":
            made = NatsServer(data_dir, port, password)
        elif kind == "redis":
            made = ValkeyServer(data_dir, port, password)
        else:
            _start(stack, _names_service(data_dir, ports["names"]))
            made = RabbitmqServer(
                data_dir, port, names_port=ports["names"], peers_port=ports["peers"]
            )
        _start(stack, made)
        yield made.url, made


def _names_service(data_dir: Path, port: int) -> Process:
    return Process(
        ProcessSpec(
            name="epmd",
            argv=("epmd", "-address", "127.0.0.1", "-port", str(port)),
            port=port,
            log_path=data_dir / "logs" / "epmd.log",
            ready=lambda: answers(port),
        )
    )


def _start(stack: ExitStack, process: Process) -> None:
    stack.callback(process.stop)
    process.start()
