"""Whoever is let in works; whoever is not is told what to do, and no secret shows."""

import base64
import hashlib
import json
import os
import ssl
import time
from urllib.parse import quote

import dramatiq
import nkeys
import pytest
import trustme
from dramatiq import Message
from dramatiq.errors import BrokerConnectionError

from brokers import JetStreamBroker
from brokers.direct import WORTH_PER_S
from brokers.encoding import ENCODER
from brokers.health import server_health
from tests.integration.brokers.conftest import Server, until

SECRET = "s3:cr@t/"


@pytest.fixture
def serve(tmp_path):
    """Start a server with a configuration of its own; return its address."""
    servers = []

    def start(config):
        server = Server(tmp_path / f"server-{len(servers)}", config)
        server.start()
        servers.append(server)
        return f"127.0.0.1:{server.port}"

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def stored():
    """Store a message through a new broker; return how many there are."""
    brokers = []

    def store(url, **options):
        broker = JetStreamBroker(url, middleware=[], **options)
        brokers.append(broker)
        broker.enqueue(Message("default", "note", (), {}, {}))
        return broker.stored("default")[""]

    dramatiq.set_encoder(ENCODER)
    yield store
    for broker in brokers:
        broker.close()


def assert_refused(stored, url, *, told, **options):
    """Say it at once, as an error that Dramatiq takes for a lost connection."""
    begin = time.monotonic()
    with pytest.raises(BrokerConnectionError, match=told) as refused:
        stored(url, publish_timeout_s=60, **options)
    assert time.monotonic() - begin < 30
    assert SECRET not in str(refused.value)
    assert quote(SECRET, safe="") not in str(refused.value)


# --- Logins


def new_seed(kind):
    return nkeys.encode_seed(os.urandom(32), kind)


def public(seed):
    return nkeys.from_seed(bytearray(seed)).public_key.decode()


def signed(issuer, subject, claims):
    """Return claims as a JWT in NATS's manner."""

    def part(value):
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    body = {"iss": public(issuer), "sub": subject, "iat": int(time.time())}
    body |= {"name": subject, "nats": claims | {"version": 2}}
    digest = hashlib.sha256(json.dumps(body).encode()).digest()
    body["jti"] = base64.b32encode(digest).rstrip(b"=").decode()
    text = f"{part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{part(body)}"
    signature = nkeys.from_seed(bytearray(issuer)).sign(text.encode())
    return f"{text}.{part(signature)}"


class Operator:
    """An operator with a system account and one for us, both made now."""

    def __init__(self):
        self._seed = new_seed(nkeys.PREFIX_BYTE_OPERATOR)
        self._account = new_seed(nkeys.PREFIX_BYTE_ACCOUNT)

    def config(self):
        system = public(new_seed(nkeys.PREFIX_BYTE_ACCOUNT))
        ours = public(self._account)
        own = signed(self._seed, public(self._seed), {"type": "operator"})
        unlimited = dict.fromkeys(
            ["subs", "data", "payload", "imports", "exports", "conn", "leaf"], -1
        )
        storage = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
        accounts = {
            system: {"type": "account", "limits": unlimited},
            ours: {"type": "account", "limits": unlimited | storage},
        }
        lines = [
            f"{account}: {signed(self._seed, account, claims)}"
            for account, claims in accounts.items()
        ]
        return (
            f"operator: {own}\nresolver: MEMORY\nsystem_account: {system}\n"
            f"resolver_preload {{\n{chr(10).join(lines)}\n}}\n"
        )

    def credentials(self):
        """Return a new user's file."""
        user = new_seed(nkeys.PREFIX_BYTE_USER)
        claims = {"type": "user", "subs": -1, "data": -1, "payload": -1}
        jwt = signed(self._account, public(user), claims)
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.decode()}\n"
            "------END USER NKEY SEED------\n"
        )


def test_a_user_and_password_in_the_url(serve, stored):
    """Reserved characters are written as in any URL."""
    host = serve(f'authorization {{ user: "u@x", password: "{SECRET}" }}')
    url = f"nats://u%40x:{quote(SECRET, safe='')}@{host}"

    assert stored(url) == 1

    assert server_health(url).stored_bytes
    assert_refused(stored, f"nats://u%40x:wrong@{host}", told="refuses our login")
    assert_refused(stored, f"nats://{host}", told="refuses our login")


def test_a_token_in_the_url(serve, stored):
    host = serve(f'authorization {{ token: "{SECRET}" }}')

    assert stored(f"nats://{quote(SECRET, safe='')}@{host}") == 1

    assert_refused(stored, f"nats://wrong@{host}", told="refuses our login")


def test_the_seed_of_an_nkey(serve, stored):
    seed, other = (new_seed(nkeys.PREFIX_BYTE_USER) for _ in range(2))
    host = serve(f"authorization {{ users: [ {{ nkey: {public(seed)} }} ] }}")

    assert stored(f"nats://{host}", nkey_seed=seed.decode()) == 1

    assert_refused(
        stored, f"nats://{host}", nkey_seed=other.decode(), told="refuses our login"
    )


@pytest.mark.parametrize("kind", [b"", nkeys.PREFIX_BYTE_ACCOUNT])
def test_what_is_no_users_seed_is_refused_at_once(kind):
    seed = new_seed(kind).decode() if kind else SECRET

    with pytest.raises(ValueError, match="no seed of a user") as refused:
        JetStreamBroker(nkey_seed=seed)

    assert seed not in str(refused.value)


def test_a_credentials_file(serve, stored, tmp_path):
    operator = Operator()
    host = serve(operator.config())
    right, wrong = tmp_path / "right.creds", tmp_path / "wrong.creds"
    right.write_text(operator.credentials())
    wrong.write_text(Operator().credentials())

    assert stored(f"nats://{host}", credentials=str(right)) == 1

    assert server_health(f"nats://{host}", credentials=str(right)).stored_bytes
    assert_refused(
        stored, f"nats://{host}", credentials=str(wrong), told="refuses our login"
    )


def test_a_file_that_is_none_is_named(serve, stored, tmp_path):
    host = serve(Operator().config())
    empty, absent = tmp_path / "empty.creds", tmp_path / "absent.creds"
    empty.write_text("")

    assert_refused(
        stored, f"nats://{host}", credentials=str(empty), told="empty.creds is no"
    )
    assert_refused(
        stored, f"nats://{host}", credentials=str(absent), told="absent.creds cannot"
    )


# --- TLS


@pytest.fixture
def ca():
    return trustme.CA()


@pytest.fixture
def serve_tls(serve, ca, tmp_path):
    """Start a server with a certificate for 127.0.0.1; return its address."""

    def start(more=""):
        issued = ca.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(tmp_path / "key.pem")
        issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
        ca.cert_pem.write_to_path(tmp_path / "ca.pem")
        return serve(
            f'tls {{ cert_file: "{tmp_path}/cert.pem", key_file: "{tmp_path}/key.pem", '
            f'ca_file: "{tmp_path}/ca.pem", {more} }}'
        )

    return start


def trust(ca):
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


def test_tls_with_the_servers_ca(serve_tls, stored, ca):
    host = serve_tls()

    assert stored(f"tls://{host}", tls=trust(ca)) == 1

    assert server_health(f"tls://{host}", tls=trust(ca)).stored_bytes
    assert_refused(
        stored, f"tls://{host}", tls=trust(trustme.CA()), told="is not trusted"
    )
    assert_refused(stored, f"tls://{host}", told="is not trusted")


def test_over_tls_no_message_passes_by_the_loop(serve_tls, stored, ca):
    """TLS is nats-py's; a line past it would be a login without it."""
    url = f"tls://{serve_tls()}"
    broker = JetStreamBroker(url, middleware=[], tls=trust(ca), namespace="fast")

    for _ in range(2 * WORTH_PER_S):
        broker.enqueue(Message("default", "note", (), {}, {}))
    shortcut = broker._connection.link()._shortcut
    until(lambda: not shortcut._opening)

    assert broker.stored("default") == {"": 2 * WORTH_PER_S}
    assert not shortcut.is_open
    broker.close()


def test_a_certificate_for_another_name_is_refused(serve_tls, stored, ca):
    port = serve_tls().rpartition(":")[2]

    assert_refused(stored, f"tls://localhost:{port}", tls=trust(ca), told="not trusted")


def test_a_server_without_tls_is_refused(serve, stored, ca):
    """Else whoever sits in between could talk us out of it."""
    host = serve("")

    assert_refused(stored, f"tls://{host}", tls=trust(ca), told="offers no TLS")


def test_tls_with_a_certificate_of_ours(serve_tls, stored, ca):
    host = serve_tls("verify: true")
    known, unknown = trust(ca), trust(ca)
    ca.issue_cert("us").configure_cert(known)
    trustme.CA().issue_cert("us").configure_cert(unknown)

    assert stored(f"tls://{host}", tls=known) == 1

    for context in (trust(ca), unknown):
        assert_refused(stored, f"tls://{host}", tls=context, told="client certificate")
