"""What the local sink itself wrote down about a batch."""

from pathlib import Path
from urllib.parse import urlsplit

from cli.api import Api, Json
from cli.machine import Machine, running_machine, sink_ledger
from cli.report import Deliveries
from embedded.sink_ledger import read


def local_deliveries(data_dir: Path, api: Api, batch: Json) -> Deliveries | None:
    """Return what the sink here was sent; None when the batch went elsewhere."""
    machine = running_machine(data_dir)
    if machine is None or api.url != machine.url("web"):
        return None
    config = api.config(batch["sendConfig"])
    if not is_local_sink(machine, config["settings"].get("url", "")):
        return None
    return deliveries(data_dir, batch["id"])


def is_local_sink(machine: Machine, url: str) -> bool:
    """Tell whether the address is that of the machine's own sink."""
    return urlsplit(url).netloc == urlsplit(machine.url("sink")).netloc


def deliveries(data_dir: Path, batch_id: str) -> Deliveries:
    """Return what the sink's ledger says about a batch, maybe nothing yet."""
    ledger = read(sink_ledger(data_dir))
    accepted = ledger.accepted(batch_id)
    # The ledger counts up to 255 deliveries of one recipient.
    every = sum(ledger.deliveries.get(batch_id, b""))
    return Deliveries(accepted, every - accepted)
