"""Sets of positions as the 32-bit words that scripts and BITFIELD take.

A bitmap's first bit is the highest of its first word, a set's first position the
lowest bit of its integer (see `models.bits`). The last word is only as wide as what
is left of the chunk, and stands at the right, so that a neighbour's bits are never
touched.
"""

from struct import unpack

from models.bits import to_bit_string

_WIDTH = 32


def to_words(members: int, size: int) -> bytes:
    """Return the set as big-endian words of four bytes; none for the empty set.

    Raises:
        ValueError: The set holds a position outside the chunk.
    """
    if members >> size:
        raise ValueError(f"A set reaches beyond its chunk of {size} recipients.")
    if not members:
        return b""
    text = to_bit_string(members, size)
    left = size % _WIDTH
    if left:
        text = text[:-left] + text[-left:].zfill(_WIDTH)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def pieces(members: int, first: int, size: int) -> list[str | int]:
    """Return what BITFIELD takes to write exactly this range of a bitmap."""
    count = -(-size // _WIDTH)
    words = unpack(f">{count}I", to_words(members, size) or bytes(4 * count))
    arguments: list[str | int] = []
    for start, word in zip(range(0, size, _WIDTH), words, strict=True):
        width = min(_WIDTH, size - start)
        arguments += ["SET", f"u{width}", first + start, word]
    return arguments
