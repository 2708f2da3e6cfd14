"""What of BatchSender runs on this machine, and where."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.credentials import Credentials, saved_credentials
from embedded.state import running_state


@dataclass(frozen=True, slots=True)
class Machine:
    """What runs on this machine.

    Attributes:
        data_dir: Where everything is kept.
        ports: By the name of the service that listens.
        credentials: For the API.
    """

    data_dir: Path
    ports: Mapping[str, int]
    credentials: Credentials

    def url(self, name: str) -> str:
        """Return the address of `web`, `webhook` or `sink`."""
        return f"http://127.0.0.1:{self.ports[name]}"


def running_machine(data_dir: Path) -> Machine | None:
    """Return the machine that another process keeps up here; None when it is down."""
    state = running_state(data_dir)
    credentials = saved_credentials(data_dir)
    # The services are in the state only once every one is ready.
    if state is None or credentials is None or "web" not in state.processes:
        return None
    return Machine(data_dir, state.ports, credentials)


def sink_ledger(data_dir: Path) -> Path:
    """Return where the local sink writes down what it was sent."""
    return data_dir.absolute() / "sink.ndjson"
