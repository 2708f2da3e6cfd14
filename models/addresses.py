"""Addresses by channel: how they are written, which are good, how lists know them."""

import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any


class Channel(StrEnum):
    """What a recipient is reached by; decides what an address looks like."""

    EMAIL = "email"
    SMS = "sms"
    WEBHOOK = "webhook"


_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++"
_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}+(?<!-)"
_IS_ADDRESS: Mapping[Channel, Callable[[str], Any]] = {
    # RFC 5321's dot-atoms; quoted local parts and address literals are left out.
    Channel.EMAIL: re.compile(
        rf"{_ATOM}(?:\.{_ATOM})*+@(?:{_LABEL}\.)+(?=[0-9-]*[A-Za-z]){_LABEL}"
    ).fullmatch,
    # E.164: a plus sign, then up to 15 digits that do not begin with 0.
    Channel.SMS: re.compile(r"\+[1-9][0-9]{6,14}").fullmatch,
    Channel.WEBHOOK: str.isprintable,
}
_MOST_CHARACTERS = {Channel.EMAIL: 254, Channel.SMS: 16, Channel.WEBHOOK: 320}
_MOST_LOCAL_CHARACTERS = 64
#: What is said of an address that is not good.
WRONG_ADDRESS = {
    Channel.EMAIL: "The address is not a mail address.",
    Channel.SMS: "The address is not a number like +14155550123.",
    Channel.WEBHOOK: "The address is empty, too long or not printable.",
}


def spelled(addresses: Sequence[str], channel: Channel) -> list[str]:
    """Return the addresses as we write them, in order."""
    found = [address.strip() for address in addresses]
    if channel is Channel.EMAIL:
        return [a if a.islower() else _lower_domain(a) for a in found]
    if channel is Channel.SMS:
        return [_bare_number(a) for a in found]
    return found


def are_good(addresses: list[str], channel: Channel) -> list[Any]:
    """Return something true or false for each address."""
    good = list(map(_IS_ADDRESS[channel], addresses))
    lengths = list(map(len, addresses))
    if 0 < min(lengths, default=1) <= max(lengths, default=1) <= _MOST_LOCAL_CHARACTERS:
        return good
    most = _MOST_CHARACTERS[channel]
    return [
        is_good
        and 0 < len(address) <= most
        and (
            channel is not Channel.EMAIL or address.index("@") <= _MOST_LOCAL_CHARACTERS
        )
        for is_good, address in zip(good, addresses, strict=True)
    ]


def listed_as(address: str, channel: str) -> str:
    """Return how an address that `read` gave stands on a suppression list.

    Two spellings of a mailbox are two recipients, but who wants no mail at one of them
    wants none at the other.
    """
    return address.lower() if channel == Channel.EMAIL else address


#: What stands between the digits of a number for the eye alone.
_FOR_THE_EYE = str.maketrans("", "", " \u00a0()-./")


def _bare_number(number: str) -> str:
    bare = number.translate(_FOR_THE_EYE)
    # The way in which many countries dial abroad.
    return f"+{bare[2:]}" if bare.startswith("00") else bare


def _lower_domain(address: str) -> str:
    local, at, domain = address.rpartition("@")
    return local + at + domain.lower()
