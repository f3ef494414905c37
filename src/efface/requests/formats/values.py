"""What the formats have in common: hashes of images, moments with a zone, addresses to call back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from efface.errors import InputError

IMAGES = "image_sha256"
"""The key under which every JSON format names images: a list of sha256 digests of the image files, hexadecimal."""
SHA256 = re.compile(r"[0-9a-fA-F]{64}")
MOST_IMAGES = 100_000
MOST_TEXT = 20_000
SLACK = timedelta(days=1)
"""How far a sender's clock may be ahead."""


class Foreign(BaseModel):
    """A part of a document that others write: fields that it does not know are left alone, for formats grow."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


def _digest(text: str) -> str:
    if not SHA256.fullmatch(text):
        raise ValueError("a sha256 has 64 hexadecimal digits")
    return text.lower()


def _moment(value: object) -> datetime:
    """A time with its zone, which is not in the future."""
    if not isinstance(value, str):
        raise ValueError("a time is a text such as 2026-11-03T09:00:00Z")
    try:
        when = datetime.fromisoformat(value.strip())
    except ValueError:
        raise ValueError("no time; write it as 2026-11-03T09:00:00Z") from None
    if when.tzinfo is None:
        raise ValueError("the time has no zone; write it as 2026-11-03T09:00:00Z or with +01:00")
    if not 1970 <= when.year <= 9000:
        raise ValueError("the time lies before 1970, or thousands of years ahead")
    return when


def _past(when: datetime) -> datetime:
    if when > datetime.now(UTC) + SLACK:
        raise ValueError("the time is in the future")
    return when


def _callback(url: str) -> str:
    try:
        parts = urlsplit(url)
        whole = parts.scheme == "https" and parts.hostname and not parts.username and (parts.port or 443)
    except ValueError:
        whole = None
    if not whole or not url.isascii() or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError("an address to call back begins with https:// and names a host, and no user")
    return url


Sha256 = Annotated[str, AfterValidator(_digest)]
Sha256s = Annotated[tuple[Sha256, ...], Field(max_length=MOST_IMAGES)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
PastMoment = Annotated[Moment, AfterValidator(_past)]
CallbackUrl = Annotated[str, Field(max_length=2000), AfterValidator(_callback)]
Text = Annotated[str, Field(max_length=MOST_TEXT)]
Id = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s\x00-\x1f\x7f]+$")]


def keyed_values(value: JsonValue, where: str) -> dict[str, JsonValue]:
    """A JSON object; raises `InputError` for anything else."""
    if not isinstance(value, dict):
        raise InputError(f"{where} must hold keys and values, not a {type(value).__name__}")
    return value
