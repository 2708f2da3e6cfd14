"""Which addresses may be called."""

import pytest

from models.errors import InvalidInputError
from providers.guard import Guard


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 - it is refused
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.1.2.3",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.1.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::10.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::a00:1",
        "2001::1",
        "2001:db8::1",
        "2002:a00:1::1",
        "fc00::1",
        "fd12::1",
        "fe80::1",
        "fe80::1%eth0",
        "ff02::1",
    ],
)
def test_what_is_not_public_is_refused_however_it_is_written(address):
    """Also beside a public one: the next connection might be made to it."""
    guard = Guard()

    assert guard.refusal([address], 443)
    assert guard.refusal(["93.184.216.34", address], 443)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1"])
def test_the_public_internet_may_be_called_at_its_usual_ports(address):
    """Other ports lead to what speaks no HTTP."""
    assert Guard().refusal([address], 443) is None
    assert Guard().refusal([address], 80) is None
    assert "25" in Guard().refusal([address], 25)
    assert Guard.of(ports="443, 8443", networks="").refusal([address], 8443) is None


def test_an_allowed_network_may_be_called_at_every_port():
    """And nothing else inside."""
    guard = Guard.of(ports="443", networks="10.1.0.0/16, fd00::/8")

    assert guard.refusal(["10.1.2.3", "fd00::1"], 8080) is None
    assert guard.refusal(["::ffff:10.1.2.3"], 8080) is None
    assert guard.refusal(["10.2.0.1"], 443)


@pytest.mark.parametrize(
    ("ports", "networks"), [("http", ""), ("80", "10.0.0.1/8"), ("80", "localhost")]
)
def test_a_wrong_setting_is_refused(ports, networks):
    """Rather than be taken for another one."""
    with pytest.raises(InvalidInputError):
        Guard.of(ports=ports, networks=networks)
