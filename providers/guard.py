"""Which addresses a tenant's endpoint may have: the public internet's, no others.

Without this a tenant could make our workers call what only they can reach: a database
inside, a cloud's metadata, ourselves. It is asked with the addresses to which the
connection is then made, so a name that changes its address meanwhile gains nothing.
It fails closed: what is not certainly public is refused.

Source: OWASP's cheat sheet on server-side request forgery.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from models.errors import InvalidInputError

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Ranges that lead on to an IPv4 address of somebody's choice, or to nobody's.
_TUNNELS = tuple(
    ipaddress.ip_network(text)
    for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")
)


@dataclass(frozen=True, slots=True)
class Guard:
    """What may be connected to.

    Attributes:
        ports: Ports of public addresses.
        networks: Networks inside that are allowed all the same, on every port.
    """

    ports: frozenset[int] = frozenset({80, 443})
    networks: tuple[_Network, ...] = ()

    @classmethod
    def of(cls, *, ports: str, networks: str) -> Self:
        """Return the guard that two settings describe, values separated by commas.

        Raises:
            InvalidInputError: A port is no number, or a network is not like
                `10.0.0.0/8`.
        """
        try:
            return cls(
                frozenset(int(port) for port in _items(ports)),
                tuple(ipaddress.ip_network(text) for text in _items(networks)),
            )
        except ValueError as error:
            raise InvalidInputError(
                "ENDPOINT_PORTS must be like 80,443 and ENDPOINT_NETWORKS like "
                "10.0.0.0/8,fd00::/8.",
                field="ENDPOINT_NETWORKS",
            ) from error

    def refusal(self, addresses: Iterable[str], port: int) -> str | None:
        """Return why a server at these addresses may not be called, if so.

        One bad address is enough: the next connection might be made to it.
        """
        outside = [a for a in map(_address, addresses) if not self._is_allowed(a)]
        if not all(_is_public(address) for address in outside):
            return "its address is not on the public internet"
        if outside and port not in self.ports:
            return f"the port {port} is not allowed"
        return None

    def _is_allowed(
        self, address: ipaddress.IPv4Address | ipaddress.IPv6Address
    ) -> bool:
        return any(address in network for network in self.networks)


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    # A scope such as %eth0 names our own interface.
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in tunnel for tunnel in _TUNNELS)
    )
