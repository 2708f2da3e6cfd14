"""A link stands for one recipient, and nobody else can make it."""

from uuid import UUID

import pytest

from models.errors import InvalidInputError
from models.unsubscribe import Links, Subscription, Unsubscribing, subscription_of

BATCH = UUID("0193c0de-0000-7000-8000-000000000001")
OLD, NEW = "o" * 32, "n" * 40


def links(keys=OLD):
    return Links.of(Unsubscribing.now("https://x.io/", keys), str(BATCH), keys)


def token_of(url):
    return url.removeprefix("https://x.io/u/")


def test_a_link_leads_back_to_its_recipient():
    """Each has its own; the header fits into what SES takes of one."""
    urls = links()(4_000_000_000, 3)

    found = [subscription_of(token_of(url), OLD) for url in urls]

    assert found == [Subscription(BATCH, 4_000_000_000 + i) for i in range(3)]
    assert len(urls[0]) < 100
    assert links()(4_000_000_001, 1) == urls[1:2]


def test_links_outlive_their_key():
    """Old mails verify by the old key; a batch goes on with the key of its start."""
    made = Unsubscribing.now("https://x.io", OLD)
    [before] = Links.of(made, str(BATCH), OLD)(7, 1)

    [after] = Links.of(Unsubscribing.of(made.as_json()), str(BATCH), f"{NEW},{OLD}")(
        7, 1
    )

    assert after == before
    assert subscription_of(token_of(before), f"{NEW},{OLD}") == Subscription(BATCH, 7)
    assert Unsubscribing.now("https://x.io", f"{NEW}, {OLD}") != made
    with pytest.raises(InvalidInputError, match="put it back"):
        Links.of(made, str(BATCH), NEW)


def test_every_changed_letter_is_noticed():
    """No token but ours is anybody's."""
    [url] = links()(7, 1)
    token = token_of(url)

    for place, letter in enumerate(token):
        other = "A" if letter != "A" else "B"
        changed = token[:place] + other + token[place + 1 :]
        assert subscription_of(changed, OLD) is None


@pytest.mark.parametrize("token", ["", "x", "é" * 52, "=" * 52, "-" * 52, "A" * 52])
def test_what_is_no_token_is_nobodys(token):
    """It raises nothing: everybody may call the page."""
    assert subscription_of(token, OLD) is None


def test_without_the_key_a_token_is_nobodys():
    """Another key of the same length neither."""
    token = token_of(links()(7, 1)[0])

    assert subscription_of(token, NEW) is None
    assert subscription_of(token, "") is None


@pytest.mark.parametrize("keys", ["", ",", "short", f"{OLD},short"])
def test_weak_keys_sign_nothing(keys):
    """They could be guessed."""
    with pytest.raises(InvalidInputError, match="UNSUBSCRIBE_KEYS"):
        Unsubscribing.now("https://x.io", keys)


def test_a_key_is_not_shown():
    """Nor is it in what the plan keeps."""
    assert OLD not in repr(links())
    assert OLD not in repr(Unsubscribing.now("https://x.io", OLD).as_json())
