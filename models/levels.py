"""Which limits a send is under, from the whole system down to one config.

Every level that limits has a bucket; all of them are taken from at once.

| level | whose | by default |
| --- | --- | --- |
| `system` | everybody's | `SYSTEM_RATE_PER_S` |
| `provider` | the platform's own account, which managed configs share | 100/s |
| `tenant` | one tenant's, whatever it sends by | none, until an override sets one |
| `config` | one config's, fixed when the batch was sealed | by provider |
| `requests` | an account's calls, where they are counted too | the provider's |

An override in Postgres replaces what a level has by default. What a provider tells of
its own limit lowers its account's level besides: that is the limiter's to know.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from models.capabilities import Capabilities
from models.limit import Bucket, Counts, Limit, Shortage

Name = Literal["system", "provider", "tenant", "config", "requests"]
Source = Literal["default", "config", "override"]

#: What all managed configs of one provider may send in a second.
MANAGED_PER_S = 100.0
#: No provider allows more calls; what it tells may raise its default up to this.
MOST_REQUESTS_PER_S = 1e6


@dataclass(frozen=True, slots=True)
class Sending:
    """What decides under which limits something is sent.

    Attributes:
        tenant_id: Whose it is, as text.
        config_id: By which config, as text.
        provider: The provider's name.
        able: What the provider can do.
        managed: It is sent by the platform's own account.
        limit: The config's own, in what the provider counts.
    """

    tenant_id: str
    config_id: str
    provider: str
    able: Capabilities
    managed: bool
    limit: Limit


@dataclass(frozen=True, slots=True)
class Level:
    """One level's limit and where it comes from.

    Attributes:
        name: Which level it is.
        bucket: Its scope, limit and what it counts.
        source: Whether the limit is a default, the config's own, or an override.
    """

    name: Name
    bucket: Bucket
    source: Source


def levels(
    sending: Sending, overrides: Mapping[str, Limit], *, system_per_s: float
) -> tuple[Level, ...]:
    """Return the levels that limit a send; `overrides` are limits by scope."""
    account = account_scope(sending)
    managed = managed_limit(sending.able) if sending.managed else None
    counted = sending.able.counts
    found = (
        _level("system", "system", Limit.of(system_per_s), overrides),
        _level("provider", account, managed, overrides) if managed else None,
        _level("tenant", f"tenant:{sending.tenant_id}", None, overrides),
        _level("config", _config(sending), sending.limit, overrides, counts=counted),
        _requests(sending, f"requests:{account}", overrides),
    )
    return tuple(level for level in found if level is not None)


def managed_limit(able: Capabilities) -> Limit:
    """Return what all managed configs of a provider share by default."""
    return able.default_limit(MANAGED_PER_S)


def account_scope(sending: Sending) -> str:
    """Return the scope that a provider's word about its account is for."""
    if sending.managed:
        return f"provider:{sending.provider}"
    return _config(sending)


def _config(sending: Sending) -> str:
    return f"config:{sending.config_id}"


def _level(
    name: Name,
    scope: str,
    limit: Limit | None,
    overrides: Mapping[str, Limit],
    *,
    counts: Counts = "recipients",
) -> Level | None:
    if scope in overrides:
        return Level(name, Bucket(scope, overrides[scope], counts), "override")
    if limit is None:
        return None
    source: Source = "config" if name == "config" else "default"
    return Level(name, Bucket(scope, limit, counts), source)


def _requests(
    sending: Sending, scope: str, overrides: Mapping[str, Limit]
) -> Level | None:
    if scope in overrides:
        return _level("requests", scope, None, overrides, counts="requests")
    if sending.able.requests_per_s is None:
        return None
    limit = Limit.of(sending.able.requests_per_s)
    # The default is a guess: the provider's headers know this account's real one.
    bucket = Bucket(scope, limit, "requests", MOST_REQUESTS_PER_S)
    return Level("requests", bucket, "default")


def described(level: Level, shortage: Shortage) -> str:
    """Return what is waited for, such as `limited by the config's 50/s`."""
    per_s = shortage.bucket.limit.per_s
    unit = " requests" if level.bucket.counts == "requests" else ""
    owner = "provider" if level.name == "requests" else level.name
    text = f"limited by the {owner}'s {_figure(per_s)}{unit}/s"
    if shortage.per_s < per_s * 0.999:
        text += f", of which {_figure(shortage.per_s)}/s may be used now"
    return text


def _figure(per_s: float) -> str:
    return f"{per_s:,.3f}".rstrip("0").rstrip(".")
