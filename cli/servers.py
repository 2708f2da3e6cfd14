"""`down` and `status`: the processes on this machine."""

import contextlib
import json
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import click
import psutil
from rich.console import Console
from rich.table import Table

from cli.api import Api, Json
from cli.credentials import data_option, json_option
from cli.machine import running_machine
from cli.report import waits_for
from embedded.services import metrics_name
from embedded.state import RunningProcess, State, running_state
from embedded.state import down as stop_everything
from models.errors import BatchSenderError

_ACTIVE = frozenset({"queued", "processing", "paused"})
#: An active batch that is older than so many others is not looked for.
_LOOKED_AT = 200


@click.command()
@data_option
def down(data_dir: Path) -> None:
    """Stop everything that `up` started; nothing is lost."""
    if stop_everything(data_dir):
        click.echo("BatchSender is down.")
    else:
        click.echo("BatchSender was not up.")


@dataclass(frozen=True, slots=True)
class _Row:
    """One process and its descendants; what cannot be told is None.

    Attributes:
        metrics_port: Where its `/metrics` is.
        rss_mb: Memory, a page shared by two of them counted twice.
        cpu_s: CPU seconds since they began.
    """

    name: str
    pid: int
    port: int | None
    running: bool
    restarts: int
    metrics_port: int | None = None
    rss_mb: float | None = None
    cpu_s: float | None = None


@click.command()
@json_option
@data_option
@click.pass_context
def status(context: click.Context, data_dir: Path, *, as_json: bool) -> None:
    """Show the processes, the neighbours and the batches that are on their way."""
    state = running_state(data_dir)
    found = _status(data_dir, state) if state else {"up": False}
    if as_json:
        click.echo(json.dumps(found))
    elif state:
        _show(found)
    else:
        click.echo("BatchSender is down; start it with `batchsender up`.")
    context.exit(0 if state else 1)


def _status(data_dir: Path, state: State) -> Json:
    names = [name for name in state.processes if name != "supervisor"]
    rows = [_row("supervisor", state.supervisor, state)]
    rows += [_row(name, state.processes[name], state) for name in names]
    return {
        "up": True,
        "startedAt": state.started_at,
        "processes": [asdict(row) for row in rows],
        **_seen_by_api(data_dir),
    }


def _row(name: str, who: RunningProcess, state: State) -> _Row:
    process = who.found()
    restarts = state.restarts.get(name, 0)
    row = _Row(
        name,
        who.pid,
        state.ports.get(name),
        bool(process),
        restarts,
        metrics_port=state.ports.get(metrics_name(name)),
    )
    if process is None:
        return row
    # The supervisor's children have rows of their own.
    family = [process] if name == "supervisor" else _family(process)
    rss_bytes, cpu_s = 0, 0.0
    for member in family:
        with contextlib.suppress(psutil.Error):
            rss_bytes += member.memory_info().rss
            times = member.cpu_times()
            cpu_s += times.user + times.system
    return replace(row, rss_mb=round(rss_bytes / 1e6, 1), cpu_s=round(cpu_s, 1))


def _family(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [process, *process.children(recursive=True)]
    return []


def _seen_by_api(data_dir: Path) -> Json:
    machine = running_machine(data_dir)
    if machine is None:
        return {"api": None, "neighbours": {}, "activeBatches": []}
    api = Api(machine.credentials)
    try:
        newest = islice(api.batches(), _LOOKED_AT)
        return {
            "api": api.url,
            "neighbours": api.neighbours(),
            "activeBatches": [one for one in newest if one["status"] in _ACTIVE],
        }
    except BatchSenderError as error:
        return {
            "api": api.url,
            "neighbours": {"api": str(error)},
            "activeBatches": [],
        }


def _show(found: Json) -> None:
    console = Console()
    columns = ("process", "pid", "port", "metrics", "memory", "CPU", "restarts", "")
    table = Table(*columns)
    for row in found["processes"]:
        table.add_row(
            row["name"],
            str(row["pid"]),
            str(row["port"] or ""),
            str(row["metrics_port"] or ""),
            f"{row['rss_mb']:,.0f} MB" if row["running"] else "",
            f"{row['cpu_s']:,.1f} s" if row["running"] else "",
            str(row["restarts"]),
            "" if row["running"] else "gone",
        )
    console.print(table)
    for name, said in found["neighbours"].items():
        console.print(f"{name}: {said}", markup=False)
    for batch in found["activeBatches"]:
        console.print(
            f"{batch['id']} {batch['name']}: {batch['status']},"
            f" {batch['recipients']:,} recipients"
            + (f", {waits_for(batch)}" if waits_for(batch) else ""),
            markup=False,
        )
    if not found["activeBatches"]:
        console.print("No batch is on its way.")
