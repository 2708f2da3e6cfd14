"""Parts of a text message, counted as networks do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.segments import Parts, fits_gsm, parts_of


@pytest.mark.parametrize(
    ("text", "alphabet", "places", "segments"),
    [
        ("", "gsm7", 0, 0),
        ("a", "gsm7", 1, 1),
        ("a" * 160, "gsm7", 160, 1),
        ("a" * 161, "gsm7", 161, 2),
        ("a" * 306, "gsm7", 306, 2),
        ("a" * 307, "gsm7", 307, 3),
        ("€" * 80, "gsm7", 160, 1),
        ("€" * 81, "gsm7", 162, 2),
        # 76 signs of two places fill 152 of 153: the next begins a part.
        ("€" * 153, "gsm7", 306, 3),
        ("你", "ucs2", 1, 1),
        ("你" * 70, "ucs2", 70, 1),
        ("你" * 71, "ucs2", 71, 2),
        ("a" * 69 + "你", "ucs2", 70, 1),
        ("😀" * 35, "ucs2", 70, 1),
        # 33 pairs fill 66 of 67 places.
        ("😀" * 67, "ucs2", 134, 3),
        ("`", "ucs2", 1, 1),
    ],
)
def test_parts_are_counted_as_networks_do(text, alphabet, places, segments):
    """160 and 153 places of the one alphabet, 70 and 67 of the other."""
    assert parts_of(text) == Parts(alphabet, places, segments)


def test_an_alphabet_can_be_asked_for():
    """A text of GSM signs sent as UCS-2 takes more parts."""
    assert parts_of("a" * 100, "ucs2").segments == 2


@given(st.text(), st.text())
def test_more_text_never_takes_fewer_parts(text, more):
    """And a longer text of one alphabet takes at most the sum of both."""
    alphabet = "gsm7" if fits_gsm(text + more) else "ucs2"
    whole, *halves = (parts_of(t, alphabet) for t in (text + more, text, more))

    assert whole.places == sum(half.places for half in halves)
    assert max(half.segments for half in halves) <= whole.segments
    assert parts_of(text).segments <= parts_of(text, "ucs2").segments
