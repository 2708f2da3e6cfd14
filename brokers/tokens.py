"""Any text as one token of a subject, and back."""

import re

_OTHER = re.compile(r"[^A-Za-z0-9_-]")
_ESCAPED = re.compile(r"=([0-9A-F]{2})")


def escaped_token(text: str) -> str:
    """Return any text as one token of a subject; `unescaped_token` undoes it."""
    if not text:
        return "="
    return _OTHER.sub(
        lambda match: "".join(f"={byte:02X}" for byte in match[0].encode()), text
    )


def plain_token(text: str) -> str:
    """Return the text with `_` for what no bucket's name may have; not undone."""
    return _OTHER.sub("_", text)


def unescaped_token(token: str) -> str:
    """Return the text that `escaped_token` made the token of."""
    if "=" not in token:
        return token
    raw = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), token.rstrip("="))
    return raw.encode("latin-1").decode()
