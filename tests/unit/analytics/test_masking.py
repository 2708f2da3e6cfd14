"""What never gets into ClickHouse."""

import pytest

from analytics.masking import without_addresses, without_secrets


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("550 5.1.1 <ann@example.com>: unknown", "550 5.1.1 <***>: unknown"),
        ("No route to +1 (415) 555-0123.", "No route to ***."),
        ("mailbox full", "mailbox full"),
        ("error +1", "error +1"),
    ],
)
def test_a_reason_keeps_its_words_and_loses_its_address(said, kept):
    """So it can be counted, and kept when somebody is erased."""
    assert without_addresses(said) == kept


def test_secrets_are_left_out_by_name_however_deep():
    """Names stay, to show what was changed."""
    details = {
        "rateLimit": 5,
        "credentials": {"apiKey": "abc"},
        "provider": {"access_key_id": "AKIA", "region": "eu"},
        "to": ["ann@example.com"],
    }

    assert without_secrets(details) == {
        "rateLimit": 5,
        "credentials": "***",
        "provider": {"access_key_id": "***", "region": "eu"},
        "to": ["***"],
    }
