"""Which shard is a tenant's, and what streams earlier numbers of shards have left."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from zlib import crc32

from brokers.link import Link
from brokers.routes import Route


def shard(parts: Sequence[Route], options: Mapping[str, Any]) -> Route:
    """Return the part of a route that a message with these options belongs to."""
    if len(parts) == 1:
        return parts[0]
    return parts[crc32(str(options.get("tenant", "")).encode()) % len(parts)]


async def earlier_parts(link: Link, route: Route) -> list[Route]:
    """Return the route within the streams of earlier numbers of shards.

    Only a route by tenant can have any. The streams exist, and may be empty.

    Raises:
        ApiError: JetStream refused.
        UnavailableError: JetStream did not answer.
    """
    if not route.by_tenant:
        return []
    whole = replace(route, shards=1)
    present = {part.stream for part in route.parts()}
    found = []
    for stream in sorted(await _stream_names(link) - present):
        base, _, number = stream.rpartition("-")
        if stream == route.stream:
            found.append(whole)
        elif base == route.stream and number.isdecimal():
            found.append(whole.part(int(number)))
    return found


async def _stream_names(link: Link) -> set[str]:
    names: set[str] = set()
    while True:
        answer = await link.api("STREAM.NAMES", {"offset": len(names)})
        page = answer.get("streams") or []
        names |= set(page)
        if not page or len(names) >= answer.get("total", 0):
            return names
