"""What never gets into ClickHouse: addresses and secrets (ADR 0045)."""

import re
from collections.abc import Mapping
from typing import Any

#: What stands for an address or a secret that was left out.
LEFT_OUT = "***"

#: Mail addresses, and numbers as people and providers write them in a text.
_ADDRESS = re.compile(r"[^\s<>\"'(),;:]+@[^\s<>\"'(),;:]+|\+[0-9][0-9 ().-]{5,18}[0-9]")

#: Names of fields whose value is nobody's business, in any spelling.
_SECRET = re.compile(
    r"secret|password|passwd|token|credential|authorization|cookie|signature"
    r"|(api|access|private|signing|encryption)[_-]?key([_-]?id)?$|^(key|api[_-]?id)$",
    re.IGNORECASE,
)


def without_addresses(text: str) -> str:
    """Return a text such as a provider's reason with every address left out.

    So reasons that differ in nothing but the address are one reason, too.
    """
    if "@" not in text and "+" not in text:
        return text
    return _ADDRESS.sub(LEFT_OUT, text)


def without_secrets(value: Any) -> Any:
    """Return a value of JSON with secrets, by their field's name, and addresses out."""
    if isinstance(value, Mapping):
        return {
            str(name): LEFT_OUT if _SECRET.search(str(name)) else without_secrets(held)
            for name, held in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(held) for held in value]
    return without_addresses(value) if isinstance(value, str) else value
