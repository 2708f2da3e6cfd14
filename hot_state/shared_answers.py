"""What one process has asked for all of them, kept for a while.

It saves questions. Whoever cannot reach Dragonfly asks himself (fail open).
"""

import redis

from hot_state import keys
from hot_state.client import ask
from hot_state.lock import Lease

#: Who asks has so long to bring the answer; then another may ask.
ASKING_S = 12.0


class SharedAnswers:
    """Answers by what was asked; safe for several threads and processes."""

    def __init__(self, client: redis.Redis) -> None:
        """Begin without a connection; the client is `hot_state.client.connect`'s."""
        self._client = client

    def find(self, question: str) -> str | None:
        """Return what another has been told; none: nobody, or too long ago.

        Raises:
            NeighbourUnavailableError: Dragonfly does not answer.
        """
        found = ask(self._client, "GET", keys.answer(question))
        return None if found is None else bytes(found).decode()

    def is_mine_to_ask(self, question: str) -> bool:
        """Tell whether nobody else is asking at this moment.

        Raises:
            NeighbourUnavailableError: Dragonfly does not answer.
        """
        return Lease(self._client, f"ask:{question}", ttl_s=ASKING_S).acquire()

    def keep(self, question: str, answer: str, *, for_s: float) -> None:
        """Let the others read an answer for so long.

        Raises:
            NeighbourUnavailableError: Dragonfly does not answer; they ask themselves.
        """
        ask(self._client, "SET", keys.answer(question), answer, "EX", round(for_s))
