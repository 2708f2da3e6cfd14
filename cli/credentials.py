"""Where a command finds the API and its key."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from embedded.data_dir import write_private
from models.errors import InvalidInputError

DEFAULT_DATA_DIR = Path(".batchsender")

data_option: Callable[..., Any] = click.option(
    "--data",
    "data_dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DATA_DIR,
    show_default=True,
    metavar="DIR",
    help="The data directory of `batchsender up`.",
)

json_option: Callable[..., Any] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON and nothing else."
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The API's address and a key to it."""

    url: str
    api_key: str

    def save(self, data_dir: Path) -> None:
        """Keep them in the data directory; only its owner may read them."""
        kept = {"url": self.url, "apiKey": self.api_key}
        write_private(data_dir / "credentials.json", json.dumps(kept, indent=2))


def find_credentials(data_dir: Path) -> Credentials:
    """Return them from the environment, or else from the data directory.

    Raises:
        InvalidInputError: They are in neither.
    """
    kept = saved_credentials(data_dir)
    url = os.environ.get("BATCHSENDER_URL") or (kept and kept.url)
    api_key = os.environ.get("BATCHSENDER_API_KEY") or (kept and kept.api_key)
    if not url or not api_key:
        raise InvalidInputError(
            "No API is known: run `batchsender up` first, "
            "or set BATCHSENDER_URL and BATCHSENDER_API_KEY."
        )
    return Credentials(url.rstrip("/"), api_key)


def saved_credentials(data_dir: Path) -> Credentials | None:
    """Return what `save` kept in the data directory; None when there is nothing.

    Raises:
        InvalidInputError: The file is there, but cannot be read.
    """
    path = data_dir / "credentials.json"
    try:
        kept = json.loads(path.read_text())
        return Credentials(kept["url"], kept["apiKey"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"{path} cannot be read; remove it and run `batchsender up` again."
        ) from error
