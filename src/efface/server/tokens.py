"""Tokens: who may do what, until when. A token is shown once, when it is made; the ledger keeps its sha256.

That is enough for 32 random bytes: there is nothing to guess, so a slow hash would protect nothing.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from efface.documents import Described
from efface.errors import InputError
from efface.ledger import events
from efface.ledger.tables import Token

PREFIX = "efface_"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
VERIFY_KEY = re.compile(r"[0-9a-fA-F]{64}")


class Role(StrEnum):
    """What the holder of a token may do."""

    intake = "intake"
    agent = "agent"
    reviewer = "reviewer"
    approver = "approver"
    auditor = "auditor"


MEANINGS: Mapping[Role, str] = {
    Role.intake: "hand in requests and photos, and see the state of those it handed in",
    Role.agent: "the same by the Data Rights Protocol, with messages signed with its key",
    Role.reviewer: "see requests with person and pictures, hand in, confirm and reject located images",
    Role.approver: "the same, and approve, refuse and withdraw requests",
    Role.auditor: "see requests, events and evidence, but no picture and nothing of the person",
}


@dataclass(frozen=True)
class Caller:
    """Who calls: the holder of a valid token."""

    name: str
    role: Role


class TokenFacts(Described):
    """What is told of a token."""

    name: str = Field(description="who holds it")
    role: Role = Field(description="what the holder may do")
    added: str = Field(description="when it was made, in UTC")
    expires: str = Field(description="until when it holds, in UTC")
    state: str = Field(
        description="valid, expired, revoked, or waiting (an agent that has not fetched its token)"
    )


def add_token(
    session: Session, name: str, role: Role, days: int, actor: str, verify_key: str | None = None
) -> str | None:
    """Make a token and return it; None for an agent, which fetches its own. Raises `InputError` with all faults."""
    faults = []
    if not NAME.fullmatch(name):
        faults.append(f"{name!r} is no name of a token: letters, digits and _.@- only, at most 64")
    elif session.scalar(select(Token.id).where(Token.name == name)) is not None:
        faults.append(f"{name} has a token already, revoked or not: names stay in the events; take another")
    if (role == Role.agent) != (verify_key is not None):
        faults.append("an agent needs --verify-key, and nobody else has one")
    if verify_key is not None and not VERIFY_KEY.fullmatch(verify_key):
        faults.append("a verify key has 64 hexadecimal digits (Ed25519)")
    if faults:
        raise InputError(*faults)
    token = None if role == Role.agent else new_secret()
    now = datetime.now(UTC)
    session.add(
        Token(
            name=name,
            role=role,
            digest=token and digest_of(token),
            verify_key=verify_key and verify_key.lower(),
            added=now,
            expires=now + timedelta(days=days),
        )
    )
    events.append(session, "token-added", actor, token=name, role=role)
    return token


def revoke_token(session: Session, name: str, actor: str) -> None:
    """End a token at once; raises `InputError` where there is none, or it was revoked before."""
    token = token_named(session, name)
    if token.revoked is not None:
        raise InputError(f"the token of {name} was revoked {token.revoked:%Y-%m-%d %H:%M} UTC")
    token.revoked = datetime.now(UTC)
    events.append(session, "token-revoked", actor, token=name)


def token_named(session: Session, name: str) -> Token:
    """The token of this holder; raises `InputError` where there is none."""
    token = session.scalar(select(Token).where(Token.name == name))
    if token is None:
        raise InputError(f"nobody has a token under the name {name}; see: efface requests token list")
    return token


def list_tokens(session: Session) -> list[TokenFacts]:
    """All tokens, the first first."""
    return [_facts(token) for token in session.scalars(select(Token).order_by(Token.id))]


def holder_of(session: Session, token: str) -> Caller | None:
    """Whose valid token this is."""
    row = session.scalar(select(Token).where(Token.digest == digest_of(token)))
    return Caller(row.name, Role(row.role)) if row is not None and _state(row) == "valid" else None


def holder_named(session: Session, name: str) -> Caller | None:
    """The holder of this name, if that token is still valid."""
    row = session.scalar(select(Token).where(Token.name == name))
    return Caller(row.name, Role(row.role)) if row is not None and _state(row) == "valid" else None


def new_secret() -> str:
    """A token that nobody has."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "backslashreplace")).hexdigest()


def _state(token: Token) -> str:
    if token.revoked is not None:
        return "revoked"
    if token.expires <= datetime.now(UTC):
        return "expired"
    return "valid" if token.digest else "waiting"


def _facts(token: Token) -> TokenFacts:
    return TokenFacts(
        name=token.name,
        role=Role(token.role),
        added=token.added.isoformat(timespec="seconds"),
        expires=token.expires.isoformat(timespec="seconds"),
        state=_state(token),
    )
