"""Let an overlay run one image: `python scripts/set_image.py OVERLAY DIGEST`.

The digest is the registry's, `sha256:…`; it takes the place of the tag or digest that
is there, and nothing else of the file changes.
"""

import re
import sys
from pathlib import Path

_OVERLAYS = Path(__file__).absolute().parents[1] / "k8s" / "overlays"
_PIN = re.compile(r"(?m)^    (newTag|digest): .*$")


def pinned(text: str, digest: str) -> str:
    """Return a kustomization that names this image by its digest."""
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise SystemExit(f"{digest} is no digest; it begins with sha256:")
    changed, pins = _PIN.subn(f"    digest: {digest}", text)
    if pins != 1:
        raise SystemExit(f"The overlay names {pins} images; it should name one.")
    return changed


def main(overlay: str, digest: str) -> None:
    """Write it."""
    file = _OVERLAYS / overlay / "kustomization.yaml"
    file.write_text(pinned(file.read_text(), digest))


if __name__ == "__main__":
    main(*sys.argv[1:])
