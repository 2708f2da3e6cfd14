"""Sets and words are the same bits in another order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hot_state.bits import pieces, to_words

_CHUNKS = st.integers(1, 600).flatmap(
    lambda size: st.tuples(st.just(size), st.integers(0, 2**size - 1))
)


@given(_CHUNKS, st.integers(0, 10_000))
def test_pieces_tile_the_range_and_hold_the_set(chunk, first):
    """Written one after the other, the pieces spell the set, position 0 first."""
    size, members = chunk

    arguments = pieces(members, first, size)

    text, offset = "", first
    for kind, at, word in zip(
        arguments[1::4], arguments[2::4], arguments[3::4], strict=True
    ):
        assert at == offset
        text += f"{word:0{kind[1:]}b}"
        offset += int(kind[1:])
    assert text == f"{members:0{size}b}"[::-1]


def test_the_empty_set_needs_no_words():
    """Most statuses of most chunks hold nobody; they cost nothing to send."""
    assert to_words(0, 500) == b""


def test_a_set_never_reaches_into_the_neighbours_range():
    """Position 7 of a chunk of 7 would be the next chunk's first recipient."""
    with pytest.raises(ValueError, match="beyond its chunk"):
        to_words(1 << 7, 7)
