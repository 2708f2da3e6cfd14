"""Our own processes, as one machine runs them beside the servers."""

import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from embedded.network import answers
from embedded.process import ProcessSpec

#: The services that listen, so that each gets a port.
LISTENING = ("sink", "webhook", "web")
#: The services that serve metrics, each on a port of its own beside the one that it
#: listens on, and counts in a directory of its own.
WATCHED = ("worker", "priority", "scheduler", "webhook", "web")
#: Where the endpoints may be that are called from one machine for its own user.
LOOPBACK = "127.0.0.0/8,::1/128"
#: The services that call providers.
_SENDING = ("worker", "priority", "outgoing")
_HOME = Path(__file__).absolute().parent.parent


def services(
    urls: Mapping[str, str], ports: Mapping[str, int], data_dir: Path
) -> list[ProcessSpec]:
    """Return the commands of all our processes, in the order of their start.

    Args:
        urls: The environment that says where the servers are; the processes get it
            and everything in our own.
        ports: One for each of `LISTENING`, and by `metrics_name` for those of
            `WATCHED` that shall serve metrics.
        data_dir: Where their logs go.
    """
    # The sink is on this machine, as is whatever its only user wants to try.
    environment = {"ENDPOINT_NETWORKS": LOOPBACK, **urls, "PYTHONUNBUFFERED": "1"}
    build = partial(_service, environment=environment, ports=ports, data_dir=data_dir)
    return [
        build("sink", ("embedded.sink", "--port", str(ports["sink"])), ports["sink"]),
        build("worker", _worker()),
        build("priority", _priority_worker()),
        build("outgoing", _outgoing_worker()),
        build("scheduler", ("scheduler",)),
        build("webhook", _receiver(ports["webhook"]), ports["webhook"]),
        build("web", _granian("web_app", ports["web"], threads=4), ports["web"]),
    ]


def metrics_name(service: str) -> str:
    """Return what the port is called on which a service serves its metrics."""
    return f"metrics-{service}"


def metrics_dir(data_dir: Path) -> Path:
    """Return where services count, each in a directory of its own."""
    return data_dir.absolute() / "metrics"


def _service(
    name: str,
    module: tuple[str, ...],
    port: int | None = None,
    *,
    environment: Mapping[str, str],
    ports: Mapping[str, int],
    data_dir: Path,
) -> ProcessSpec:
    if metrics_port := ports.get(metrics_name(name)):
        environment = {
            **environment,
            "METRICS_PORT": str(metrics_port),
            "PROMETHEUS_MULTIPROC_DIR": str(metrics_dir(data_dir) / name),
        }
    return ProcessSpec(
        name=name,
        argv=(sys.executable, "-m", *module),
        env=environment,
        cwd=_HOME,
        log_path=data_dir / "logs" / f"{name}.log",
        port=port,
        ready=partial(_serves, port),
        # A worker finishes the groups it has begun; a call may take 20 s.
        stop_timeout_s=40.0 if name in _SENDING else 10.0,
    )


def _serves(port: int | None) -> bool:
    # Who does not listen is ready when it lives: work waits for it. Who does is ready
    # with its first answer, whatever it says; granian listens before the app is there.
    request = b"GET /health HTTP/1.0\r\n\r\n"
    return port is None or answers(port, send=request, expect=b"HTTP/1.")


def _worker() -> tuple[str, ...]:
    processes = os.environ.get("WORKER_PROCESSES", "2")
    threads = os.environ.get("WORKER_THREADS", "8")
    return (*_dramatiq(processes, threads), "batch", "chunk", "webhook")


def _priority_worker() -> tuple[str, ...]:
    # A process of its own: neither its threads nor its interpreter are ever busy with
    # a batch (docs/decisions/0038).
    return (*_dramatiq("1", os.environ.get("PRIORITY_THREADS", "8")), "priority")


def _outgoing_worker() -> tuple[str, ...]:
    # Its threads may all wait for tenants' servers; nothing else waits with them.
    return (*_dramatiq("1", os.environ.get("OUTGOING_THREADS", "16")), "outgoing")


def _dramatiq(processes: str, threads: str) -> tuple[str, ...]:
    return (
        *("dramatiq", "tasks", "--processes", processes, "--threads", threads),
        "--queues",
    )


def _receiver(port: int) -> tuple[str, ...]:
    # Its threads only wait for NATS, which takes the reports of all of them together.
    return _granian("webhook_app", port, threads=32)


def _granian(package: str, port: int, *, threads: int) -> tuple[str, ...]:
    return (
        "granian",
        *("--interface", "wsgi", "--factory"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--workers", "1", "--blocking-threads", str(threads)),
        f"{package}:create_app",
    )
