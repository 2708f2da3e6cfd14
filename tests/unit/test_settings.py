"""The environment is read once, named whole, and never shown."""

from pathlib import Path

import pytest
import trustme

from models.errors import InvalidInputError
from settings import FailoverSettings, Settings, load

EXAMPLE = Path(__file__).parents[2] / ".env.example"
NEEDED = {
    "DATABASE_URL": "postgresql://user:hush@127.0.0.1/x",
    "NATS_URL": "nats://user:hush@127.0.0.1:4222",
    "DRAGONFLY_URL": "redis://:hush@127.0.0.1/0",
    "CLICKHOUSE_URL": "http://user:hush@127.0.0.1:8123/x",
}


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """Only what is needed; no `.env` and nothing from outside."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def lines():
    return EXAMPLE.read_text().splitlines()


def test_the_example_names_every_setting_and_no_other():
    """Each once, on its own line."""
    named = [line.partition("=")[0] for line in lines() if line[:1].isupper()]

    known = [*Settings.model_fields, *FailoverSettings.model_fields]
    assert sorted(named) == sorted(name.upper() for name in known)


def test_each_setting_has_a_line_that_says_what_for():
    """Right above it."""
    for above, line in zip(lines(), lines()[1:], strict=False):
        if line[:1].isupper():
            assert above.startswith("# "), line


def test_the_example_gives_the_defaults(environment):
    """Whoever copies it gets what the code would do without it."""
    example = Settings(_env_file=EXAMPLE)

    assert example == Settings()


def test_secrets_have_no_default_and_are_not_shown(environment):
    settings = load()

    assert "hush" not in repr(settings)
    assert settings.credentials_key.get_secret_value() == ""
    assert settings.timing.lease_s == 45


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("CHUNK_SIZE", "hush", "CHUNK_SIZE"),
        ("CHUNK_SIZE", "5001", "CHUNK_SIZE"),
        ("SYSTEM_RATE_PER_S", "0", "SYSTEM_RATE_PER_S"),
        ("NATS_REPLICAS", "hush", "NATS_REPLICAS"),
        ("EMAIL_SHARDS", "0", "EMAIL_SHARDS"),
        ("POSTGRES_SYNC_ENABLED", "hush", "POSTGRES_SYNC_ENABLED"),
        ("LEASE_S", "34", "LEASE_S"),
        ("ACK_WAIT_S", "54", "ACK_WAIT_S"),
        ("CALL_DEADLINE_S", "31", "LEASE_S"),
        ("UNKNOWN_WINDOW_S", "89", "UNKNOWN_WINDOW_S"),
    ],
)
def test_a_bad_value_is_told_in_one_sentence_without_it(environment, name, value, told):
    """The variable is named, and no value of any."""
    environment.setenv(name, value)

    with pytest.raises(InvalidInputError) as refused:
        load()

    sentence = str(refused.value)
    assert told in sentence
    assert "hush" not in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


def test_all_that_is_missing_is_named_at_once(environment):
    for name in NEEDED:
        environment.delenv(name)

    with pytest.raises(InvalidInputError) as refused:
        load()

    assert all(name in str(refused.value) for name in NEEDED)


def test_a_login_to_nats_is_none_by_default(environment):
    assert load().nats_options() == {"replicas": 1, "tls": None, "credentials": None}


def test_the_ca_of_nats_is_trusted_and_our_certificate_shown(environment, tmp_path):
    ca = trustme.CA()
    ours = ca.issue_cert("us")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    ours.private_key_and_cert_chain_pem.write_to_path(tmp_path / "ours.pem")
    environment.setenv("NATS_CA", str(tmp_path / "ca.pem"))
    environment.setenv("NATS_CERTIFICATE", str(tmp_path / "ours.pem"))

    context = load().nats_tls

    assert len(context.get_ca_certs()) == 1


def test_a_file_of_nats_that_cannot_be_used_is_told(environment, tmp_path):
    environment.setenv("NATS_CA", str(tmp_path / "absent.pem"))

    with pytest.raises(InvalidInputError, match="NATS_CA"):
        _ = load().nats_tls
