"""Credentials can be read only with the key that sealed them."""

import base64

import pytest

from models.credentials import check_keys, fingerprint, resealed, seal, unseal
from models.errors import InvalidInputError

KEY = base64.b64encode(b"k" * 32).decode()
NEW = base64.b64encode(b"n" * 32).decode()


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


def test_the_first_key_encrypts_and_all_decrypt():
    """So a key is changed while everything runs."""
    old = seal({"secret": "hush"}, KEY)
    both = f"{NEW}, {KEY}"

    fresh = seal({"secret": "hush"}, both)

    assert unseal(old, both) == unseal(fresh, both) == unseal(fresh, NEW)
    with pytest.raises(InvalidInputError):
        unseal(fresh, KEY)


def test_what_is_under_an_old_key_is_sealed_anew_once():
    """Afterwards the old key may go."""
    old = seal({"secret": "hush"}, KEY)

    fresh = resealed(old, f"{NEW},{KEY}")

    assert unseal(fresh, NEW) == {"secret": "hush"}
    assert resealed(fresh, f"{NEW},{KEY}") is None
    with pytest.raises(InvalidInputError):
        resealed(old, NEW)


def test_one_malformed_key_of_several_is_told():
    """Before anything is taken for unreadable."""
    check_keys(f"{NEW},{KEY}")
    with pytest.raises(InvalidInputError):
        check_keys(f"{NEW},{KEY[:-4]}")


def test_a_fingerprint_changes_with_the_credentials_and_is_no_help_to_guess():
    """The order of names makes no difference; 32 bits fit too many secrets."""
    assert fingerprint({"a": "1", "b": "2"}) == fingerprint({"b": "2", "a": "1"})
    assert fingerprint({"a": "1"}) != fingerprint({"a": "2"})
    assert len(fingerprint({"a": "1"})) == 8
