"""Sets of positions inside a chunk, as integers, and their way in and out of Postgres.

A set is an `int` whose bit *i* stands for position *i* (0 is the chunk's first
recipient). Postgres and Dragonfly write position 0 first, so a set of size 4 that
holds positions 0 and 2 is the integer 5 and the bit string `1010`.
"""

from collections.abc import Iterable


def everyone(size: int) -> int:
    """Return the set of all positions of a chunk of `size` recipients."""
    return (1 << size) - 1


def of_positions(positions: Iterable[int]) -> int:
    """Return the set that holds exactly `positions`."""
    found = 0
    for position in positions:
        found |= 1 << position
    return found


def positions(members: int) -> list[int]:
    """Return the positions in the set, in order."""
    if members and members & (members + 1) == 0:
        return list(range(members.bit_length()))
    return [i for i, bit in enumerate(reversed(f"{members:b}")) if bit == "1"]


def to_bit_string(members: int, size: int) -> str:
    """Return `size` characters `0` or `1`, position 0 first."""
    return f"{members:0{size}b}"[::-1]


def from_bit_string(text: str | None) -> int:
    """Return the set that `to_bit_string` wrote; none is the empty set."""
    return int(text[::-1], 2) if text else 0
