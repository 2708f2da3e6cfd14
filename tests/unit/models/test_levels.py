"""Which limits apply, and what is said of the one that is short."""

import pytest

from models.capabilities import capabilities
from models.levels import Sending, account_scope, described, levels, managed_limit
from models.limit import Limit, Shortage

CUSTOM = {"url": "https://example.com/"}


def sending(*, provider="custom", settings=None, managed=False) -> Sending:
    able = capabilities(provider, CUSTOM if settings is None else settings)
    return Sending("t", "c", provider, able, managed, Limit.of(50.0))


def shown(found) -> list[tuple[str, str, float, str]]:
    return [
        (one.name, one.bucket.scope, one.bucket.limit.per_s, one.source)
        for one in found
    ]


def test_a_tenants_own_account_has_its_config_and_the_system():
    """No provider's and no tenant's level, unless somebody sets one."""
    found = levels(sending(), {}, system_per_s=1000.0)

    assert shown(found) == [
        ("system", "system", 1000.0, "default"),
        ("config", "config:c", 50.0, "config"),
    ]
    assert account_scope(sending()) == "config:c"


def test_managed_configs_share_their_providers_level():
    """100/s for all of them; what the provider tells is for that level too."""
    managed = sending(managed=True)

    found = levels(managed, {}, system_per_s=1000.0)

    assert ("provider", "provider:custom", 100.0, "default") in shown(found)
    assert account_scope(managed) == "provider:custom"


def test_the_platforms_account_at_resend_is_used_up_to_its_rate():
    """Its calls are counted for all managed configs, and carry as many as needed."""
    managed = sending(provider="resend", settings={}, managed=True)

    _, shared, _, calls = levels(managed, {}, system_per_s=1000.0)

    assert shared.bucket.limit == managed_limit(managed.able) == Limit(100.0, 100.0)
    assert calls.bucket.scope == "requests:provider:resend"


def test_an_override_replaces_a_level_or_makes_one():
    """Each by its scope; others' overrides are not ours."""
    overrides = {
        "tenant:t": Limit.of(20.0),
        "config:c": Limit(70.0, 7.0),
        "config:other": Limit.of(1.0),
        "system": Limit.of(500.0),
    }

    found = levels(sending(), overrides, system_per_s=1000.0)

    assert shown(found) == [
        ("system", "system", 500.0, "override"),
        ("tenant", "tenant:t", 20.0, "override"),
        ("config", "config:c", 70.0, "override"),
    ]
    assert found[2].bucket.limit.burst == 7.0


def test_resend_counts_calls_besides():
    """By a default that its headers may raise; an override holds against them."""
    resend = sending(provider="resend", settings={})

    *_, guessed = levels(resend, {}, system_per_s=1000.0)
    override = {"requests:config:c": Limit.of(5.0)}
    *_, fixed = levels(resend, override, system_per_s=1000.0)

    assert (guessed.name, guessed.bucket.counts) == ("requests", "requests")
    assert guessed.bucket.most_per_s > guessed.bucket.limit.per_s
    assert fixed.bucket.most_per_s == 5.0


@pytest.mark.parametrize(
    ("per_s", "now_per_s", "said"),
    [
        (50.0, 50.0, "limited by the config's 50/s"),
        (0.25, 0.25, "limited by the config's 0.25/s"),
        (50.0, 1.0, "limited by the config's 50/s, of which 1/s may be used now"),
    ],
)
def test_what_is_short_is_said_in_a_sentence(per_s, now_per_s, said):
    """The level and its rate, and what is left of it at the moment."""
    override = {"config:c": Limit.of(per_s)}
    level = levels(sending(), override, system_per_s=1000.0)[1]

    assert described(level, Shortage(level.bucket, now_per_s, 1.0)) == said


def test_two_calls_of_what_the_rate_needs_fit_into_resends_burst():
    """100/s by 2 calls a second are calls of 50."""
    able = capabilities("resend", {})

    assert able.default_limit(100.0) == Limit(100.0, 100.0)
    assert able.default_limit(10_000.0).most_at_once >= able.max_batch
    assert capabilities("custom", CUSTOM).default_limit(50.0) == Limit(50.0, 25.0)
