"""Credentials can be read only with the key that sealed them."""

import base64

import pytest

from models.credentials import seal, unseal
from models.errors import InvalidInputError

KEY = base64.b64encode(b"k" * 32).decode()


def test_what_was_sealed_comes_back_and_shows_nothing():
    sealed = seal({"secret": "hush"}, KEY)

    assert b"hush" not in sealed
    assert unseal(sealed, KEY) == {"secret": "hush"}
    assert seal({"secret": "hush"}, KEY) != sealed
    assert unseal(None, "") == {}


@pytest.mark.parametrize("key", ["", "short", "é", base64.b64encode(b"x").decode()])
def test_without_a_proper_key_nothing_is_sealed(key):
    with pytest.raises(InvalidInputError, match="CREDENTIALS_KEY"):
        seal({"secret": "hush"}, key)


def test_another_key_and_a_changed_box_are_refused():
    sealed = seal({"secret": "hush"}, KEY)

    with pytest.raises(InvalidInputError, match="another CREDENTIALS_KEY"):
        unseal(sealed, base64.b64encode(b"o" * 32).decode())
    with pytest.raises(InvalidInputError):
        unseal(sealed[:-1] + bytes([sealed[-1] ^ 1]), KEY)
