"""Who may do what: tokens of programs, sessions of people in a browser, secret links of those who asked.

A session is a signed cookie that names a token; it ends with the token, after some hours, or when its holder logs out of
that browser. Forms carry a token of their own (CSRF), made from the session.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from efface.errors import InputError
from efface.ledger.opening import Ledger
from efface.server.limits import Rates
from efface.server.tokens import Caller, Role, digest_of, holder_named, holder_of

REMEMBERED = 5.0
"""Seconds for which a token that was found valid is taken to be so: a revoked one is refused after that."""
MOST_REMEMBERED = 1000
SESSION_SECONDS = 8 * 3600
COOKIE = "efface"
WRONG_PER_MINUTE = 20
PUBLIC_PER_MINUTE = 120
"""Wrong tokens, and calls without a token, of one address."""


class Access:
    """What the service knows of its callers."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.rates = Rates(ledger.policy.service.calls_per_minute)
        self.wrong = Rates(WRONG_PER_MINUTE)
        self.public = Rates(PUBLIC_PER_MINUTE)
        self._known: dict[str, tuple[Caller, float]] = {}

    async def holder(self, token: str, address: str) -> Caller:
        """Whose token this is; raises 401, or 429 for who calls too often, or guesses."""
        known = self._known.get(digest := digest_of(token))
        if known is not None and known[1] > time.monotonic():
            caller = known[0]
        else:
            self._known.pop(digest, None)
            if wait := self.wrong.wait(address, count=False):
                raise too_often(wait)
            found = await run_in_threadpool(self._holder, token)
            if found is None:
                self.wrong.wait(address)
                raise HTTPException(401, "the token is not valid", {"WWW-Authenticate": "Bearer"})
            caller = found
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[digest] = (caller, time.monotonic() + REMEMBERED)
        if wait := self.rates.wait(caller.name):
            raise too_often(wait)
        return caller

    def _holder(self, token: str) -> Caller | None:
        with self.ledger.reading() as session:
            return holder_of(session, token)

    def session_cookie(self, caller: Caller) -> str:
        """What the browser of this caller keeps."""
        body = f"{caller.name}|{int(time.time()) + SESSION_SECONDS}|{secrets.token_urlsafe(12)}"
        return f"{body}|{self._signed('session', body)}"

    def in_session(self, cookie: str) -> Caller | None:
        """Whose session a cookie is, while it lasts and its token is valid."""
        body, _, signature = cookie.rpartition("|")
        name, _, rest = body.partition("|")
        ends = rest.partition("|")[0]
        if not hmac.compare_digest(self._signed("session", body).encode(), signature.encode()):
            return None
        if int(ends) < time.time():
            return None
        with self.ledger.reading() as session:
            return holder_named(session, name)

    def form_token(self, cookie: str) -> str:
        """What a form must hold to be taken from this session (or link)."""
        return self._signed("form", cookie)

    def check_form(self, cookie: str, given: object) -> None:
        """Raise 403 unless the form was made for this session (or link)."""
        if not hmac.compare_digest(
            self.form_token(cookie).encode(), str(given or "").encode("utf-8", "replace")
        ):
            raise HTTPException(
                403, "the form is not from this session, or older than it; go back, load the page anew"
            )

    def _signed(self, what: str, text: str) -> str:
        key = hmac.digest(self.ledger.key, b"efface service", hashlib.sha256)
        return hmac.digest(key, f"{what} {text}".encode("utf-8", "replace"), hashlib.sha256).hex()


def address_of(request: Request) -> str:
    """Where a call comes from; behind a proxy on this machine, where that says it comes from."""
    return request.client.host if request.client else "?"


def too_often(wait: int) -> HTTPException:
    """The answer to whom calls too often."""
    return HTTPException(429, f"too many calls; wait {wait} s", {"Retry-After": str(wait)})


def access_of(request: Request) -> Access:
    """The service's."""
    access: Access = request.app.state.access
    return access


def may(*roles: Role) -> Callable[..., Awaitable[Caller]]:
    """A dependency: the caller, who must have one of these roles (default: any)."""

    async def caller(request: Request) -> Caller:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise HTTPException(
                401, "a token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
            )
        holder = await access_of(request).holder(token.strip(), address_of(request))
        if roles and holder.role not in roles:
            raise HTTPException(
                403, f"this is for {' and '.join(roles)}; the token of {holder.name} is for {holder.role}"
            )
        return holder

    return caller


async def in_public(request: Request) -> None:
    """A dependency of what needs no token: bounds how often one address calls."""
    if wait := access_of(request).public.wait(address_of(request)):
        raise too_often(wait)


def officer(request: Request) -> Caller:
    """A dependency of the officer's pages: whose session this is; raises 401, which leads to the login."""
    access = access_of(request)
    try:
        caller = access.in_session(request.cookies.get(COOKIE, ""))
    except (ValueError, InputError):
        caller = None
    if caller is None or caller.role in (Role.intake, Role.agent):
        raise HTTPException(401, "log in first")
    if wait := access.rates.wait(caller.name):
        raise too_often(wait)
    return caller
