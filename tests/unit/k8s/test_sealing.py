"""Secrets are made, sealed for one cluster, and fit the manifests that use them."""

import base64
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import NameOID

from scripts.seal_secrets import SECRETS, main
from tests.unit.k8s.cluster import K8S, rendered
from tests.unit.k8s.schemas import faults


@pytest.fixture(scope="module")
def private_key():
    """The controller's."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def certificate(private_key, tmp_path):
    """The file that its owner hands out."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sealed-secrets")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(private_key, hashes.SHA256())
    )
    file = tmp_path / "controller.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
def run():
    """Run the script; it must succeed."""

    def run(*arguments):
        done = CliRunner().invoke(main, [str(one) for one in arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def opened(private_key, text, label):
    """Return what a sealed value holds, as the controller opens it."""
    raw = base64.b64decode(text)
    end = 2 + int.from_bytes(raw[:2], "big")
    session = private_key.decrypt(
        raw[2:end],
        padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label),
    )
    return AESGCM(session).decrypt(bytes(12), raw[end:], None)


def test_what_is_sealed_is_opened_by_its_cluster_alone(
    run, certificate, private_key, tmp_path
):
    """And a value under another secret's name by nobody."""
    run("new", tmp_path / "kept")
    password = (tmp_path / "kept/nats-server/NATS_PASSWORD").read_text()

    overlay = overlay_with(
        run("seal", tmp_path / "kept", "--certificate", certificate), tmp_path
    )

    sealed = {
        one["metadata"]["name"]: one
        for one in rendered(overlay)
        if one["kind"] == "SealedSecret"
    }
    text = sealed["nats-server"]["spec"]["encryptedData"]["NATS_PASSWORD"]
    assert opened(private_key, text, b"batchsender/nats-server") == password.encode()
    with pytest.raises((ValueError, InvalidTag)):
        opened(private_key, text, b"batchsender/database-url")
    assert [fault for one in sealed.values() for fault in faults(one)] == []
    assert {
        name: tuple(one["spec"]["encryptedData"]) for name, one in sealed.items()
    } == {name: tuple(sorted(keys)) for name, keys in SECRETS.items()}


def overlay_with(sealed, tmp_path):
    """Return a copy of production that has these SealedSecrets."""
    shutil.copytree(K8S, tmp_path / "k8s")
    overlay = tmp_path / "k8s/overlays/production"
    (overlay / "sealed-secrets.yaml").write_text(sealed)
    kustomization = overlay / "kustomization.yaml"
    text = kustomization.read_text()
    kustomization.write_text(
        text.replace("resources:\n", "resources:\n  - sealed-secrets.yaml\n")
    )
    return overlay


def test_made_again_nothing_changes(run, tmp_path):
    """A key that changed would open nothing any more."""
    run("new", tmp_path)
    before = {one: one.read_text() for one in tmp_path.rglob("*") if one.is_file()}

    run("new", tmp_path)

    assert {one: one.read_text() for one in before} == before
    assert before[tmp_path / "nats-server/NATS_PASSWORD"][0] == "p"
    assert all(one.stat().st_mode & 0o077 == 0 for one in before)


def test_a_url_has_the_password_that_was_there(run, tmp_path):
    """Also where only one of the two was lost."""
    run("new", tmp_path)
    (tmp_path / "nats-credentials/NATS_URL").unlink()

    run("new", tmp_path)

    password = (tmp_path / "nats-server/NATS_PASSWORD").read_text()
    assert password in (tmp_path / "nats-credentials/NATS_URL").read_text()
