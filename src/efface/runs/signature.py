"""Signatures of the OpenSSF tool (`model_signing`), checked through that library against a public key that is shown.

A signature lies as `*.sig` in the run or in `model/`, and covers a file beside it (best `seal.json`, which names all
others), the run's folder, or the model's. What it covers it says itself, under the signature.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, Field, ValidationError

from efface.documents import read_bytes
from efface.errors import EffaceError, InputError
from efface.wording import counted, printable, several

SUFFIX: Final = ".sig"
NEEDS = "it takes the extra `sign`: pip install 'efface[sign]'"
UNSHOWN = "a signature; show the signer's public key with --public-key FILE"
OTHERWISE_SIGNED = (
    "it was made with a certificate or an identity, not with a key: `model_signing verify` checks those"
)
MOST = 16 << 20
MOST_KEY = 1 << 16

Outcome = Literal["matches", "differs", "not checked"]


class _Resource(BaseModel):
    name: str


class _Subject(BaseModel):
    name: str


class _Predicate(BaseModel):
    resources: list[_Resource] = Field(min_length=1)


class _Payload(BaseModel):
    subject: list[_Subject] = Field(min_length=1)
    predicate: _Predicate


class _Envelope(BaseModel):
    payload: str


class _Material(BaseModel):
    publicKey: dict[str, str] | None = None  # noqa: N815


class _Bundle(BaseModel):
    """What is read of a signature file before the library checks it: how it was made, and what it names."""

    verificationMaterial: _Material  # noqa: N815
    dsseEnvelope: _Envelope  # noqa: N815


@dataclass(frozen=True)
class Covered:
    """What a signature says that it covers. place: the file or folder; names: files in it."""

    place: Path
    names: Sequence[str]

    @property
    def words(self) -> str:
        if list(self.names) == ["."]:
            whole = ", and by its list every other file" if self.place.name == "seal.json" else ""
            return f"made with the key shown; it covers {self.place.name}{whole}"
        return f"made with the key shown; it covers {counted(len(self.names), 'file')}: {several(self.names)}"


def check_public_key(path: Path) -> None:
    """Raise `InputError` where there is no text of a public key at `path`."""
    if b"PUBLIC KEY-----" not in read_bytes(path, MOST_KEY, "the public key"):
        raise InputError(
            f"the public key {path} is none in PEM: `openssl ec -in signing.pem -pubout -out signing.pub` writes one"
        )


def checked(signature: Path, run: Path, public_key: Path | None) -> tuple[Outcome, str]:
    """How the check of a signature in a run ends, and why or what it covers.

    public_key: the signer's, in PEM; elliptic, as the tool takes them.
    """
    if public_key is None:
        return "not checked", UNSHOWN
    try:
        bundle, payload = _read(signature)
    except InputError as error:
        return "differs", str(error)
    if bundle.verificationMaterial.publicKey is None:
        return "not checked", OTHERWISE_SIGNED
    covered = _covered(payload, signature, run)
    try:
        fault = _fault(covered.place, signature, public_key)
    except ImportError as error:
        return "not checked", f"{NEEDS} ({error})"
    return ("differs", fault) if fault else ("matches", covered.words)


def covered_file(signature: Path) -> str | None:
    """The one file beside it that a signature says it covers; None for one of a folder, or none at all."""
    try:
        _, payload = _read(signature)
    except InputError:
        return None
    is_file = [resource.name for resource in payload.predicate.resources] == ["."]
    return payload.subject[0].name if is_file else None


def _read(signature: Path) -> tuple[_Bundle, _Payload]:
    try:
        bundle = _Bundle.model_validate_json(read_bytes(signature, MOST, "the signature"))
        payload = _Payload.model_validate_json(base64.b64decode(bundle.dsseEnvelope.payload, validate=True))
    except (ValidationError, binascii.Error, EffaceError):
        raise InputError("it is no signature of this tool, or damaged") from None
    return bundle, payload


def _fault(place: Path, signature: Path, public_key: Path) -> str | None:
    """What the library says against a signature; raises `ImportError` where it is not installed."""
    from cryptography.exceptions import InvalidSignature
    from model_signing.verifying import Config

    try:
        verifier = Config().use_elliptic_key_verifier(public_key=public_key)
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"the public key {public_key} is not one that model_signing takes: {error}"
        ) from None
    # what was laid beside the signed files later is for the seal to say
    verifier.set_ignore_unsigned_files(True)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the library prints remarks
            verifier.verify(place, signature)
    except InvalidSignature:
        return "the signature is not one of what it says, by this key"
    except (ValueError, KeyError, TypeError, OSError) as error:
        return printable(str(error)).strip()
    return None


def _covered(payload: _Payload, signature: Path, run: Path) -> Covered:
    """Which file or folder a signature speaks of: a file beside it, the model, or the folder in which it lies."""
    names = sorted(resource.name for resource in payload.predicate.resources)
    folder, model = signature.parent, run / "model"
    if names == ["."]:
        return Covered(folder / Path(payload.subject[0].name).name, names)
    of_model = folder == run and all((model / name).is_file() for name in names)
    return Covered(model if of_model and not (run / names[0]).is_file() else folder, names)
