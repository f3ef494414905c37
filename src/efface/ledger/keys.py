"""The key of a ledger: ids of images are made with it, so that no record or event tells an image to whom lacks it."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from efface.errors import InputError
from efface.files import flush_folder, replacing, sha256_of_bytes
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


def commitment(key: bytes) -> str:
    """A digest by which a key is known, and which tells nothing of it."""
    return sha256_of_bytes(b"efface ledger key " + key)


def beside(place: Path) -> Path:
    """Where a new key lies until the ledger's ids are made with it."""
    return place.with_name(f"{place.name}.new")


def take_new(place: Path) -> None:
    """Let the new key take the place of the old one."""
    os.replace(beside(place), place)
    flush_folder(place.parent)


def key_of(place: Path, wanted: str) -> bytes:
    """The key in a file, if its digest is `wanted`; a rotation that was cut off is brought to its end.

    Raises `InputError` where the file is gone or damaged, or holds another key.
    """
    key = read_key(place)
    if commitment(key) == wanted:
        return key
    if beside(place).exists() and commitment(read_key(beside(place))) == wanted:
        take_new(place)
        return read_key(place)
    raise InputError(f"{place} is not the key of this ledger: put back the one with which its ids were made")
