"""`sink`: a provider on this machine that writes down who was sent what."""

from pathlib import Path

import click

from embedded.sink import SinkOptions, serve


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default="free")
@click.option(
    "--latency-ms",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="How long each call waits for its answer.",
)
@click.option(
    "--fail-rate",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="The share of recipients that it rejects.",
)
@click.option(
    "--ledger",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("sink.ndjson"),
    show_default=True,
    help="The file that every call is added to.",
)
@click.option("--keyed", is_flag=True, help="Keep Idempotency-Key as a provider does.")
def sink(
    port: int, latency_ms: float, fail_rate: float, ledger: Path, *, keyed: bool
) -> None:
    """Run a local sink that accepts messages and writes down each call."""
    serve(SinkOptions(port, ledger, latency_ms, fail_rate, keyed))
