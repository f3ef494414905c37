"""The key of a ledger: ids of images are made with it, so that no record or event tells an image to whom lacks it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from efface.files import replacing
from efface.runs.folder import KEY_BYTES, key_in


def new_key() -> bytes:
    """A key that nobody has."""
    return secrets.token_bytes(KEY_BYTES)


def write_key(place: Path, key: bytes) -> None:
    """Write a key file, its owner's alone."""
    with replacing(place) as temporary:
        temporary.write_text(key.hex() + "\n", encoding="ascii")


def read_key(place: Path) -> bytes:
    """The key in a file; raises `InputError` where it is gone or damaged."""
    return key_in(place)


def keyed_id(key: bytes, digest: str) -> str:
    """What stands for the image with this sha256: the same id as in `ImageSet.keyed_ids`."""
    return hmac.digest(key, digest.encode(), hashlib.sha256).hex()
