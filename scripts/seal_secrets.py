"""Make a cluster's secrets, and seal them so that only that cluster can read them.

`new DIRECTORY` writes a file for each value, `DIRECTORY/<secret>/<key>`: random where
nobody else decides it, empty where somebody does. Values that are there stay.
`seal DIRECTORY --certificate FILE` prints them as SealedSecrets, which may be
committed; the directory may not. docs/deploy.md has both steps.

The scheme is that of https://github.com/bitnami-labs/sealed-secrets: a fresh AES key
for each value, wrapped by RSA-OAEP with `namespace/name` as its label, so that a value
opens only where it belongs.
"""

import base64
import os
import re
import secrets
import sys
from pathlib import Path
from urllib.parse import quote

import click
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NAMESPACE = "batchsender"
#: Each secret with its keys. Those in capitals are environment variables.
SECRETS = {
    "database-url": ("DATABASE_URL",),
    "provider-api-keys": (
        "RESEND_API_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "TELNYX_API_KEY",
        "LIME_USER",
        "LIME_API_ID",
    ),
    "webhook-signing-keys": (
        "RESEND_WEBHOOK_SECRET",
        "SES_WEBHOOK_SECRET",
        "TELNYX_PUBLIC_KEY",
        "CUSTOM_WEBHOOK_SECRET",
    ),
    "nats-credentials": ("NATS_URL",),
    "nats-server": ("NATS_USER", "NATS_PASSWORD"),
    "nats-tls": ("ca.crt", "tls.crt", "tls.key"),
    "dragonfly-url": ("DRAGONFLY_URL",),
    "dragonfly-server": ("DRAGONFLY_PASSWORD",),
    "clickhouse-url": ("CLICKHOUSE_URL",),
    "clickhouse-server": (
        "BATCHSENDER_PASSWORD",
        "COLD_ENDPOINT",
        "COLD_ACCESS_KEY_ID",
        "COLD_SECRET_ACCESS_KEY",
    ),
    "credentials-key": ("CREDENTIALS_KEY",),
    "webhook-secrets-key": ("WEBHOOK_SECRETS_KEY",),
    "web-app-keys": ("SESSION_SECRET", "UNSUBSCRIBE_KEYS"),
    "public-tls": ("tls.crt", "tls.key"),
    "dns-failover": (
        "CLOUDFLARE_API_TOKEN",
        "CLOUDFLARE_ZONE_ID",
        "FALKENSTEIN_IP",
        "ASHBURN_IP",
        "ALERT_WEBHOOK",
    ),
}
#: What the Ingress insists on.
_TYPES = {"public-tls": "kubernetes.io/tls"}


@click.group()
def main() -> None:
    """Make and seal the secrets of one cluster."""


@main.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
def new(directory: Path) -> None:
    """Write a file for each value; those that are there stay as they are."""
    made = _made(directory)
    for secret, keys in SECRETS.items():
        for key in keys:
            file = directory / secret / key
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                file.touch(mode=0o600)
                file.write_text(made.get(key, ""))
    empty = [one for one in _files(directory) if not one.read_text().strip()]
    for file in empty:
        click.echo(f"empty: {file}", err=True)


@main.command()
@click.argument("directory", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--certificate",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="The controller's, as `kubeseal --fetch-cert` prints it.",
)
def seal(directory: Path, certificate: Path) -> None:
    """Print all secrets, sealed for the cluster that the certificate is from."""
    public = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    if not isinstance(public, rsa.RSAPublicKey):
        raise click.ClickException("The certificate's key is not RSA.")
    missing = [str(one) for one in _files(directory) if not one.exists()]
    if missing:
        raise click.ClickException(f"These are missing: {', '.join(missing)}")
    for secret, keys in SECRETS.items():
        values = {key: _value(directory / secret / key) for key in keys}
        sys.stdout.write("---\n" + yaml.safe_dump(sealed(public, secret, values)))


def sealed(
    public: rsa.RSAPublicKey, name: str, values: dict[str, bytes]
) -> dict[str, object]:
    """Return a SealedSecret, which only the key's owner opens, and only here."""
    label = f"{NAMESPACE}/{name}".encode()
    metadata = {"name": name, "namespace": NAMESPACE}
    return {
        "apiVersion": "bitnami.com/v1alpha1",
        "kind": "SealedSecret",
        "metadata": metadata,
        "spec": {
            "encryptedData": {
                key: _encrypted(public, value, label) for key, value in values.items()
            },
            "template": {"metadata": metadata, "type": _TYPES.get(name, "Opaque")},
        },
    }


def _encrypted(public: rsa.RSAPublicKey, value: bytes, label: bytes) -> str:
    session = os.urandom(32)
    wrapped = public.encrypt(
        session, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label)
    )
    # The key is used once, so that its nonce may be fixed.
    body = AESGCM(session).encrypt(bytes(12), value, None)
    return base64.b64encode(len(wrapped).to_bytes(2, "big") + wrapped + body).decode()


def _made(directory: Path) -> dict[str, str]:
    """Return the values that nobody else decides, fitting those that are there."""

    def password(secret: str, key: str) -> str:
        kept = directory / secret / key
        text = kept.read_text().strip() if kept.exists() else ""
        # NATS reads one that begins with a digit as a number.
        return text or f"p{secrets.token_hex(24)}"

    nats = password("nats-server", "NATS_PASSWORD")
    dragonfly = password("dragonfly-server", "DRAGONFLY_PASSWORD")
    clickhouse = password("clickhouse-server", "BATCHSENDER_PASSWORD")
    return {
        "NATS_USER": "batchsender",
        "NATS_PASSWORD": nats,
        "NATS_URL": f"tls://batchsender:{quote(nats, safe='')}@nats:4222",
        "DRAGONFLY_PASSWORD": dragonfly,
        "DRAGONFLY_URL": f"redis://:{quote(dragonfly, safe='')}@dragonfly:6379/0",
        "BATCHSENDER_PASSWORD": clickhouse,
        "CLICKHOUSE_URL": (
            f"http://batchsender:{quote(clickhouse, safe='')}"
            "@clickhouse:8123/batchsender"
        ),
        "CREDENTIALS_KEY": base64.b64encode(os.urandom(32)).decode(),
        "WEBHOOK_SECRETS_KEY": base64.b64encode(os.urandom(32)).decode(),
        "SESSION_SECRET": secrets.token_hex(32),
        "UNSUBSCRIBE_KEYS": secrets.token_hex(32),
    }


def _files(directory: Path) -> list[Path]:
    return [directory / name / key for name, keys in SECRETS.items() for key in keys]


def _value(file: Path) -> bytes:
    """Return a file's content; a variable's line end is the editor's, not its own."""
    content = file.read_bytes()
    is_variable = re.fullmatch(r"[A-Z_]+", file.name)
    return content.strip() if is_variable else content


if __name__ == "__main__":
    main()
