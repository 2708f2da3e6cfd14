"""The configuration of NATS that the overlays carry is started for real."""

import os
import subprocess

import pytest
import trustme

from embedded.nats_server import binary
from tests.unit.k8s.cluster import OVERLAYS, cluster


@pytest.fixture
def home(tmp_path):
    """What a pod has beside its configuration: a certificate, and room."""
    ca = trustme.CA()
    ours = ca.issue_cert("nats", "127.0.0.1")
    ca.cert_pem.write_to_path(tmp_path / "ca.crt")
    ours.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    ours.private_key_pem.write_to_path(tmp_path / "tls.key")
    return tmp_path


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nats_takes_the_configuration_of_each_overlay(overlay, home):
    """With the names and passwords that its pod's environment has."""
    check(overlay, home)


def test_a_misspelt_word_is_refused(home):
    """The test above can fail."""
    with pytest.raises(AssertionError, match="unknown field"):
        check("production", home, more="mispelt: 1\n")


def check(overlay, home, more=""):
    """Let nats-server read an overlay's files, as the pod would."""
    for name, text in cluster(overlay).data("nats-config").items():
        here = text.replace("/etc/nats-tls", str(home)).replace("/data", str(home))
        (home / name).write_text(here)
    with (home / "nats.conf").open("a") as config:
        config.write(more)
    environment = {
        **os.environ,
        "POD_NAME": "nats-0",
        "NATS_USER": "batchsender",
        "NATS_PASSWORD": "p0123",
    }
    done = subprocess.run(
        [binary(), "-t", "-c", str(home / "nats.conf")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
