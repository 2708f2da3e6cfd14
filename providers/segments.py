"""How many parts a text message is sent in, and in which alphabet.

Networks carry 140 bytes a part. The GSM alphabet packs 160 characters of 7 bits into
them; a text with any other character is sent as UCS-2, 70 characters of 16 bits. Of
several parts each loses 7 bytes to its place in the order. Neither an escaped
character nor a surrogate pair is cut in two.

Source: 3GPP TS 23.038, sections 6.2.1 and 6.2.1.1, and TS 23.040, section 9.2.3.24.1.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
#: Each of these takes two places, the first of them an escape.
_GSM_ESCAPED = frozenset("\f^{}\\[~]|€")
#: Places in a message of one part, and in each part of several.
_PLACES = {"gsm7": (160, 153), "ucs2": (70, 67)}

Alphabet = Literal["gsm7", "ucs2"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a text takes on its way.

    Attributes:
        alphabet: `gsm7` if all of it fits there, else `ucs2`.
        places: Characters as the alphabet counts them.
        segments: Parts, each of which is paid for; 0 of an empty text.
    """

    alphabet: Alphabet
    places: int
    segments: int


def parts_of(text: str, alphabet: Alphabet | None = None) -> Parts:
    """Return what a text takes, in its shortest alphabet or in the one given.

    In `gsm7` a character outside of it counts as one place: see `fits_gsm`.
    """
    chosen = alphabet or ("gsm7" if fits_gsm(text) else "ucs2")
    if chosen == "gsm7":
        widths = [2 if character in _GSM_ESCAPED else 1 for character in text]
    else:
        widths = [2 if ord(character) > 0xFFFF else 1 for character in text]
    alone, each = _PLACES[chosen]
    places = sum(widths)
    segments = _filled(widths, each) if places > alone else min(1, places)
    return Parts(chosen, places, segments)


def fits_gsm(text: str) -> bool:
    """Tell whether the GSM alphabet holds all of a text."""
    return _GSM.union(_GSM_ESCAPED).issuperset(text)


def _filled(widths: Iterable[int], each: int) -> int:
    """Return how many parts of `each` places hold these, none of them cut."""
    segments, used = 1, 0
    for width in widths:
        if used + width > each:
            segments, used = segments + 1, 0
        used += width
    return segments
