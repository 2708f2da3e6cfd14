"""`dns-failover`: one look at both regions, and the names led to one that answers.

Run every minute, in both regions. What was seen before is kept as the comment of each
record, so that it outlives a region, and both watchers know the same.
"""

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address

import click
import requests

from cli.cloudflare import URL, Record, Zone
from cli.failover import Decision, Note, Patience, Region, decide
from cli.region_doors import DOORS, Door, Looker
from models.errors import InvalidInputError, NeighbourUnavailableError
from settings import FailoverSettings

_ALERT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Watch:
    """One look, and what comes of it.

    Attributes:
        addresses: Where each region's doors are.
        looks: Tells whether a door answers at an address.
        alert: Tells people; never raises.
        dry: Whether to say what would be done, and do nothing.
    """

    zone: Zone
    addresses: Mapping[Region, str]
    looks: Callable[[str, Door], bool]
    alert: Callable[[str], None]
    patience: Patience = field(default_factory=Patience)
    dry: bool = False

    def look(self, doors: Sequence[Door], *, now: datetime) -> None:
        """Lead each door's name to a region that answers.

        Raises:
            NeighbourUnavailableError: Cloudflare does not answer, or a record leads
                somewhere else; people were told. The other names were looked after.
        """
        failures = [failure for door in doors if (failure := self._tended(door, now))]
        if failures:
            raise NeighbourUnavailableError(" ".join(failures))

    def _tended(self, door: Door, now: datetime) -> str:
        """Look after one name; return what went wrong, or nothing."""
        try:
            self._tend(door, now)
        except NeighbourUnavailableError as error:
            self._tell(f"{door.host}: {error}")
            return str(error)
        return ""

    def _tend(self, door: Door, now: datetime) -> None:
        record = self.zone.record(door.host)
        current = self._region(record)
        healthy = frozenset(
            region
            for region, address in self.addresses.items()
            if self.looks(address, door)
        )
        note = Note.read(record.comment)
        decision = decide(current, healthy, note, now=now, patience=self.patience)
        states = ", ".join(
            f"{one} {'answers' if one in healthy else 'does not answer'}"
            for one in Region
        )
        click.echo(f"{door.host}: {states}; {_told(decision, current)}")
        self._carry_out(record, decision)
        if decision.alert:
            self._tell(f"{door.host}: {decision.alert}")

    def _carry_out(self, record: Record, decision: Decision) -> None:
        address = self.addresses[decision.region]
        comment = str(decision.note) if decision.note else ""
        if not comment and Note.read(record.comment) is None:
            # Somebody else's, and nothing of ours has to be kept there.
            comment = record.comment
        if (address, comment) != (record.address, record.comment) and not self.dry:
            self.zone.change(record, address=address, comment=comment)

    def _region(self, record: Record) -> Region:
        for region, address in self.addresses.items():
            if ip_address(address) == ip_address(record.address):
                return region
        raise NeighbourUnavailableError(
            f"{record.name} leads to neither region; set it to one of them."
        )

    def _tell(self, text: str) -> None:
        click.echo(text, err=True)
        if not self.dry:
            self.alert(text)


def _told(decision: Decision, current: Region) -> str:
    if decision.region is not current:
        return f"from {current} to {decision.region}"
    return f"stays in {current}" + (f" ({decision.note})" if decision.note else "")


def post_alert(url: str, text: str) -> None:
    """Post to a webhook as Slack (`text`) and Discord (`content`) read it.

    Fails open: what matters was done, and is in the log.
    """
    if not url:
        return
    body = {"text": text, "content": text}
    try:
        answer = requests.post(url, json=body, timeout=_ALERT_TIMEOUT_S)
    except requests.RequestException:
        click.echo("The alert could not be posted; see ALERT_WEBHOOK.", err=True)
        return
    if not answer.ok:
        click.echo(f"The alert was refused with {answer.status_code}.", err=True)


@click.command()
@click.option("--dry-run", is_flag=True, help="Look and tell; change and post nothing.")
@click.option("--down-after", default=120, show_default=True, metavar="SECONDS")
@click.option("--back-after", default=300, show_default=True, metavar="SECONDS")
def dns_failover(*, dry_run: bool, down_after: int, back_after: int) -> None:
    """Lead api. and webhooks.batchsender.com to a region that answers."""
    settings = FailoverSettings()
    watch = Watch(
        zone=Zone(
            settings.cloudflare_zone_id,
            settings.cloudflare_api_token.get_secret_value(),
            url=URL,
        ),
        addresses=region_addresses(settings),
        looks=Looker(tls=ssl.create_default_context()).answers,
        alert=partial(post_alert, settings.alert_webhook.get_secret_value()),
        patience=Patience(timedelta(seconds=down_after), timedelta(seconds=back_after)),
        dry=dry_run,
    )
    watch.look(DOORS, now=datetime.now(UTC))


def region_addresses(settings: FailoverSettings) -> dict[Region, str]:
    """Return where each region's doors are.

    Raises `InvalidInputError`, which names every variable that is missing or wrong.
    """
    needed = ("cloudflare_api_token", "cloudflare_zone_id")
    wrong = [name.upper() for name in needed if not getattr(settings, name)]
    addresses = {
        Region.FALKENSTEIN: settings.falkenstein_ip,
        Region.ASHBURN: settings.ashburn_ip,
    }
    for region, address in addresses.items():
        try:
            ip_address(address)
        except ValueError:
            wrong.append(f"{region.upper()}_IP")
    if not wrong and len(set(addresses.values())) == 1:
        wrong = ["ASHBURN_IP (the same as FALKENSTEIN_IP)"]
    if wrong:
        raise InvalidInputError(f"Set {', '.join(wrong)}; see .env.example.")
    return addresses
