"""`up`: everything on this machine, in this shell or behind it."""

import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import click

from cli.credentials import data_option
from cli.machine import Machine, running_machine
from cli.starting import check_down, started_machine
from models.errors import BatchSenderError

#: The first start makes a Postgres data directory, on a slow disk too.
_READY_IN_S = 180.0


@click.command()
@click.option("--detach", is_flag=True, help="Return when everything is ready.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Where the API listens; a free port, always the same, when not given.",
)
@data_option
def up(*, detach: bool, port: int | None, data_dir: Path) -> None:
    """Start the servers and BatchSender on this machine; Ctrl-C stops them."""
    if detach:
        _print_addresses(_detached(data_dir, port), "`batchsender down`")
        return
    with (
        started_machine(data_dir, web_port=port) as machine,
        suppress(KeyboardInterrupt),
    ):
        _print_addresses(machine, "Ctrl-C or `batchsender down`")
        while True:
            signal.pause()


def _print_addresses(machine: Machine, stop: str) -> None:
    click.echo("BatchSender is up:")
    click.echo(f"  API       {machine.url('web')}")
    click.echo(f"  webhooks  {machine.url('webhook')}")
    click.echo(f"  sink      {machine.url('sink')}")
    click.echo(f"  data      {machine.data_dir}")
    click.echo(f"  API key   in {machine.data_dir / 'credentials.json'}")
    click.echo(f"Stop it with {stop}.")


def _detached(data_dir: Path, port: int | None) -> Machine:
    check_down(data_dir)
    log_path = data_dir / "logs" / "up.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    arguments = ["up", "--data", str(data_dir)]
    if port is not None:
        arguments += ["--port", str(port)]
    with log_path.open("wb") as log:
        child = subprocess.Popen(  # noqa: S603  (It is our own program.)
            [sys.executable, "-m", "cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        return _ready(child, data_dir, log_path)
    except BaseException:
        child.terminate()
        child.wait()
        raise


def _ready(child: subprocess.Popen[bytes], data_dir: Path, log_path: Path) -> Machine:
    deadline = time.monotonic() + _READY_IN_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            said = log_path.read_text(errors="replace").strip()
            raise BatchSenderError(said.removeprefix("Error: ") or f"See {log_path}.")
        if machine := running_machine(data_dir):
            return machine
        time.sleep(0.05)
    raise BatchSenderError(
        f"BatchSender was not ready in {_READY_IN_S:.0f} s: see {log_path.parent}."
    )
