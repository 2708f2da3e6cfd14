"""`dead-letters`: what nobody works on any more, looked at, sent back or dropped."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from brokers import DeadLetter, DeadLetters, LetterNotFound
from cli.audit import written_down
from cli.chunk_letters import reopened
from cli.credentials import data_option, json_option
from cli.neighbours import opened_broker, opened_ledger, servers_of
from hot_state.outcomes import Outcomes
from models.database import Database
from models.errors import ConflictError, InvalidInputError, NotFoundError
from models.jobs import SendChunk, SendMessage

#: Letters that are handled between two words to the user.
_PAGE = 100
#: The queues whose letters are rows of the ledger.
_OF_CHUNKS = frozenset({SendChunk.queue, SendMessage.queue})

_queue_option: Callable[..., Any] = click.option("--queue", help="Only this queue's.")
_all_option: Callable[..., Any] = click.option(
    "--all", "everything", is_flag=True, help="Those of all queues."
)
_yes_option: Callable[..., Any] = click.option(
    "--yes", is_flag=True, help="Do not ask before many are touched."
)
_sequences: Callable[..., Any] = click.argument(
    "sequences", metavar="[NUMBER]...", type=click.IntRange(min=1), nargs=-1
)


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at messages that nobody works on any more; send them back or drop them."""


@dead_letters.command("list")
@_queue_option
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--after", type=int, default=0, help="Only those behind this number.")
@json_option
@data_option
def list_letters(
    queue: str | None, *, limit: int, after: int, as_json: bool, data_dir: Path
) -> None:
    """List dead letters, the oldest first."""
    with opened_broker(servers_of(data_dir)) as broker:
        letters = broker.dead_letters(queue)
        found = list(islice(_behind(letters, after), limit))
        count = letters.count()
    if as_json:
        click.echo(json.dumps([_as_json(one) for one in found]))
        return
    table = Table("number", "queue", "died", "deliveries", "reason", "error")
    for one in found:
        table.add_row(
            str(one.sequence),
            one.queue,
            f"{one.died_at:%Y-%m-%d %H:%M:%S}",
            str(one.deliveries),
            one.reason,
            (one.error or "").partition("\n")[0],
        )
    Console().print(table)
    if count > len(found):
        click.echo(f"{len(found):,} of {count:,}; --after and --limit show others.")


def _behind(letters: DeadLetters, after: int) -> Iterator[DeadLetter]:
    while page := letters.page(after=after):
        yield from page
        after = page[-1].sequence


@dead_letters.command()
@click.argument("number", type=click.IntRange(min=1))
@click.option("--body", is_flag=True, help="Also the message: it may name people.")
@json_option
@data_option
def show(number: int, *, body: bool, as_json: bool, data_dir: Path) -> None:
    """Show one dead letter with its traceback."""
    with opened_broker(servers_of(data_dir)) as broker, _letters_named():
        letter = broker.dead_letters().show(number)
    told = _as_json(letter, body=body)
    if as_json:
        click.echo(json.dumps(told))
        return
    trace = told.pop("traceback") or ""
    for name, value in told.items():
        click.echo(f"{name}: {'-' if value is None else value}")
    click.echo(trace.rstrip())


def _as_json(letter: DeadLetter, *, body: bool = False) -> dict[str, Any]:
    message = letter.message
    told = {
        "number": letter.sequence,
        "queue": letter.queue,
        "actor": message.actor_name if message else None,
        "messageId": message.message_id if message else None,
        "reason": letter.reason,
        "deliveries": letter.deliveries,
        "diedAt": letter.died_at.isoformat(),
        "error": letter.error,
        "traceback": letter.traceback,
    }
    if body:
        told["body"] = letter.body.decode(errors="replace")
    return told


@dead_letters.command()
@_sequences
@_queue_option
@_all_option
@_yes_option
@data_option
def replay(
    sequences: tuple[int, ...],
    *,
    queue: str | None,
    everything: bool,
    yes: bool,
    data_dir: Path,
) -> None:
    """Send dead letters back to their queues.

    A chunk's recipients who were sent or may have been sent are left alone.
    """
    _check(sequences, queue, everything=everything)
    settings = servers_of(data_dir)
    with (
        opened_broker(settings) as broker,
        opened_ledger(settings) as ledger,
        _letters_named(),
    ):
        letters = broker.dead_letters(queue)
        _confirm("Replay", sequences, letters, yes=yes)
        with written_down(settings, "dead_letters.replayed", "dead_letters") as told:
            done, refused = _replayed(letters, ledger, _chosen(letters, sequences))
            told.update(queue=queue, letters=done, refused=len(refused))
    click.echo(f"{done:,} replayed.")
    if refused:
        raise ConflictError("\n".join(refused))


def _replayed(
    letters: DeadLetters,
    ledger: tuple[Database, Outcomes],
    chosen: Iterator[DeadLetter],
) -> tuple[int, list[str]]:
    """Return how many letters were sent back, and why others were not."""
    done, refused = 0, list[str]()
    for page in _pages(chosen):
        chunks = [one for one in page if one.queue in _OF_CHUNKS]
        for letter in chunks:
            try:
                people = reopened(*ledger, letter)
            except ConflictError as error:
                refused.append(str(error))
                continue
            done += letters.drop([letter])
            click.echo(f"{letter.sequence}: {people:,} recipients are sent now.")
        done += letters.replay(one for one in page if one not in chunks)
    return done, refused


@dead_letters.command()
@_sequences
@_queue_option
@_all_option
@_yes_option
@data_option
def drop(
    sequences: tuple[int, ...],
    *,
    queue: str | None,
    everything: bool,
    yes: bool,
    data_dir: Path,
) -> None:
    """Drop dead letters for good."""
    _check(sequences, queue, everything=everything)
    settings = servers_of(data_dir)
    with opened_broker(settings) as broker, _letters_named():
        letters = broker.dead_letters(queue)
        _confirm("Drop", sequences, letters, yes=yes)
        with written_down(settings, "dead_letters.dropped", "dead_letters") as told:
            dropped = letters.drop(sequences or None)
            told.update(queue=queue, letters=dropped)
    click.echo(f"{dropped:,} dropped.")


def _check(sequences: tuple[int, ...], queue: str | None, *, everything: bool) -> None:
    if bool(sequences) + (queue is not None) + everything != 1:
        raise InvalidInputError(
            "Say which: numbers as `batchsender dead-letters list` shows them,"
            " --queue NAME, or --all."
        )


def _confirm(
    verb: str, sequences: tuple[int, ...], letters: DeadLetters, *, yes: bool
) -> None:
    if yes or len(sequences) == 1:
        return
    count = len(sequences) or letters.count()
    if count > 1:
        click.confirm(f"{verb} {count:,} dead letters?", abort=True, err=True)


def _chosen(letters: DeadLetters, sequences: tuple[int, ...]) -> Iterator[DeadLetter]:
    if not sequences:
        return iter(letters)
    return (letters.show(sequence) for sequence in sequences)


def _pages(letters: Iterator[DeadLetter]) -> Iterator[list[DeadLetter]]:
    while page := list(islice(letters, _PAGE)):
        yield page


@contextmanager
def _letters_named() -> Iterator[None]:
    try:
        yield
    except LetterNotFound as error:
        raise NotFoundError(f"{error} See `batchsender dead-letters list`.") from error
