"""How many bad reports one sender may send before it has to slow down.

Everything is in this process' memory and bounded. Nobody else is slowed down, and
neither is an address that has also sent genuine reports lately: a provider sends for
many customers from the same few addresses, and one of them may be no friend of ours.
"""

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

from models.errors import BatchSenderError, InvalidInputError

#: So many bad reports may come at once, and then so many a second.
BURST = 50
PER_S = 1.0
#: For how long an address is known to send genuine reports too.
GENUINE_S = 3600.0
#: So many addresses are remembered; the ones heard of longest ago go first.
MAX_SOURCES = 10_000

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Any = TypeVar("_Any")


class SlowDownError(BatchSenderError):
    """The sender must wait.

    Attributes:
        wait_s: For so many whole seconds.
    """

    def __init__(self, message: str, wait_s: int) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Budget:
    """What each sender has left; any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By source: what is left, and when that was so.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._genuine: OrderedDict[str, float] = OrderedDict()

    def check(self, source: str) -> None:
        """Return if a report of this source is to be looked at.

        Raises:
            SlowDownError: It has nothing left and never sent a genuine one.
        """
        if self.is_suspect(source) and not self._is_known(source):
            wait_s = int((1 - self._tokens(source)) / PER_S) + 1
            raise SlowDownError("Too many reports proved nothing.", wait_s)

    def is_suspect(self, source: str) -> bool:
        """Tell whether the source has nothing left, whatever else it sent."""
        return source in self._left and self._tokens(source) < 1

    def take(self, source: str) -> None:
        """Note a bad report."""
        with self._lock:
            self._left[source] = (max(0.0, self._tokens(source) - 1), time.monotonic())
            _trim(self._left, source)

    def trust(self, source: str) -> None:
        """Note a genuine report: the source is as good as new."""
        now = time.monotonic()
        # Once a minute is often enough, and costs the others nothing.
        if source not in self._left and now - self._genuine.get(source, -60.0) < 60:
            return
        with self._lock:
            self._left.pop(source, None)
            self._genuine[source] = now
            _trim(self._genuine, source)

    def _is_known(self, source: str) -> bool:
        since = self._genuine.get(source)
        return since is not None and time.monotonic() - since < GENUINE_S

    def _tokens(self, source: str) -> float:
        left, since = self._left.get(source, (float(BURST), 0.0))
        return min(float(BURST), left + (time.monotonic() - since) * PER_S)


def _trim(sources: OrderedDict[str, _Any], used: str) -> None:
    sources.move_to_end(used)
    while len(sources) > MAX_SOURCES:
        sources.popitem(last=False)


def source_of(environ: Mapping[str, str], proxies: Sequence[Network]) -> str:
    """Return who sent a request: an address, of IPv6 its first 64 bits.

    Args:
        environ: The request's, as WSGI has it.
        proxies: Networks of our own proxies; what they say in `X-Forwarded-For` is
            believed, and nobody else's word is.
    """
    told = environ.get("HTTP_X_FORWARDED_FOR", "") if proxies else ""
    return _source(environ.get("REMOTE_ADDR", ""), told, tuple(proxies))


@lru_cache(maxsize=4096)
def _source(peer: str, told: str, proxies: tuple[Network, ...]) -> str:
    way = [*told.split(","), peer] if told else [peer]
    address = None
    for text in reversed(way):
        address = _address(text.strip())
        if address is None or not any(address in network for network in proxies):
            break
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address or "unknown")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def networks(text: str) -> tuple[Network, ...]:
    """Return the networks in a setting, separated by commas.

    Raises:
        InvalidInputError: One is not like `10.0.0.0/8`.
    """
    try:
        return tuple(
            ipaddress.ip_network(item.strip()) for item in text.split(",") if item
        )
    except ValueError as error:
        raise InvalidInputError(
            "TRUSTED_PROXIES must be like 10.0.0.0/8,fd00::/8.",
            field="TRUSTED_PROXIES",
        ) from error
