"""Counting what a stream holds, subject by subject."""

from brokers.link import Link


async def stored_by_subject(
    link: Link, stream: str, subjects: str
) -> tuple[dict[str, int], int]:
    """Return the messages stored by subject, and the stream's last sequence.

    More than 100,000 subjects come in pages; what changes meanwhile may be missed.

    Raises:
        ApiError: JetStream refused, for instance because there is no such stream.
        UnavailableError: JetStream did not answer.
    """
    found: dict[str, int] = {}
    while True:
        answer = await link.api(
            f"STREAM.INFO.{stream}",
            {"subjects_filter": subjects, "offset": len(found)},
        )
        page = answer["state"].get("subjects") or {}
        found |= page
        if not page or len(found) >= answer.get("total", 0):
            return found, answer["state"]["last_seq"]


async def count_subjects(link: Link, stream: str, subjects: str) -> tuple[int, int]:
    """Return how many subjects have messages, and the stream's last sequence.

    However many there are, their names do not travel.

    Raises:
        ApiError: JetStream refused, for instance because there is no such stream.
        UnavailableError: JetStream did not answer.
    """
    beyond = {"subjects_filter": subjects, "offset": 10**9}
    answer = await link.api(f"STREAM.INFO.{stream}", beyond)
    return answer.get("total", 0), answer["state"]["last_seq"]
