"""The secret link with which a person sees the own request, without an account.

It is made from the ledger's key and stored nowhere. A new key ends all links that were given out.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

BYTES = 24


def secret_of(key: bytes, request: str) -> str:
    """What the link of a request holds besides its id: 192 bits that nobody can guess without the key."""
    made = hmac.digest(hmac.digest(key, b"efface links", hashlib.sha256), request.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(made[:BYTES]).decode()


def is_secret_of(key: bytes, request: str, secret: str) -> bool:
    """Whether a link holds the secret of its request."""
    return hmac.compare_digest(secret_of(key, request).encode(), secret.encode("utf-8", "replace"))


def link_to(key: bytes, request: str, public_url: str) -> str:
    """The address of a person's page."""
    return f"{public_url.rstrip('/')}/person/{request}/{secret_of(key, request)}"
