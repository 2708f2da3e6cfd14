"""Removing every stored message that holds a text, so that nobody can read it again."""

import base64
from collections.abc import Sequence
from typing import Any

from brokers.errors import ApiError
from brokers.letters import MESSAGE_NOT_FOUND, NOT_DELETED
from brokers.link import Link

#: Streams that are buckets: their values are replaced, not collected.
_BUCKETS = ("KV_", "OBJ_")


async def erase(link: Link, texts: Sequence[str]) -> int:
    """Remove the messages of all streams that hold one of the texts; return how many.

    Letters match in both cases. What JSON escapes is found as JSON has it. Every
    message stored when it begins is read, one by one: this is for rare use. Again, it
    finds what is left.
    """
    wanted = [text.lower().encode() for text in texts]
    return sum([await _erase_from(link, name, wanted) for name in await _names(link)])


async def _names(link: Link) -> list[str]:
    found: list[str] = []
    while True:
        page = await link.api("STREAM.NAMES", {"offset": len(found)})
        names = page.get("streams") or []
        found += names
        if not names or len(found) >= page["total"]:
            return [name for name in found if not name.startswith(_BUCKETS)]


async def _erase_from(link: Link, stream: str, wanted: Sequence[bytes]) -> int:
    state = (await link.api(f"STREAM.INFO.{stream}"))["state"]
    sequence, erased = state["first_seq"], 0
    while sequence <= state["last_seq"]:
        message = await _next(link, stream, sequence)
        if message is None:
            break
        sequence = message["seq"] + 1
        if _holds(message, wanted):
            erased += await _remove(link, stream, message["seq"])
    return erased


async def _next(link: Link, stream: str, sequence: int) -> dict[str, Any] | None:
    wanted = {"seq": sequence, "next_by_subj": ">"}
    try:
        answer = await link.api(f"STREAM.MSG.GET.{stream}", wanted)
    except ApiError as error:
        if error.err_code == MESSAGE_NOT_FOUND:
            return None
        raise
    message: dict[str, Any] = answer["message"]
    return message


def _holds(message: dict[str, Any], wanted: Sequence[bytes]) -> bool:
    parts = (message.get("hdrs") or "", message.get("data") or "")
    content = b"\n".join(map(base64.b64decode, parts)).lower()
    return any(text in content for text in wanted)


async def _remove(link: Link, stream: str, sequence: int) -> bool:
    """Remove a message and overwrite it; tell whether it was still there."""
    request = {"seq": sequence, "no_erase": False}
    try:
        await link.api(f"STREAM.MSG.DELETE.{stream}", request)
    except ApiError as error:
        # Whoever worked on it acknowledged it meanwhile.
        if error.err_code not in (NOT_DELETED, MESSAGE_NOT_FOUND):
            raise
        return False
    return True
