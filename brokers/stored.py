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
