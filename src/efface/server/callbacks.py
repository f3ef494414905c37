"""Telling senders of each new state of their requests, at the addresses that they gave.

Only hosts that the policy names are called (`service.callback_hosts`; Fides at `service.fides`), by https, and no redirect
is followed: whoever sends a request must not choose what this machine connects to. A failed call is made anew, later each
time.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx
from pydantic import JsonValue
from sqlalchemy import or_, select

from efface.ledger import events
from efface.ledger.opening import Ledger
from efface.ledger.policy import Policy
from efface.ledger.requests import RequestFacts, short_facts
from efface.ledger.states import State
from efface.ledger.tables import Callback, Request
from efface.requests.formats import fides
from efface.requests.formats.documents import status_document
from efface.server.signing import Signer

ACTOR = "service"
SECONDS = 10.0
MOST_ATTEMPTS = 12
AT_ONCE = 100
EVERY = 15.0
"""Seconds between two looks for what is to be told."""
Send = Callable[[str, bytes, dict[str, str]], int]
"""Posts a body with headers to an address; returns the status of the answer."""


@dataclass(frozen=True)
class Call:
    """A call that is to be made."""

    id: int
    request: str
    url: str
    state: State
    body: bytes | None
    """None where this state is nothing to this address."""
    headers: dict[str, str]


def deliver(ledger: Ledger, signer: Signer | None = None, send: Send | None = None) -> tuple[int, int]:
    """Call back what is due now; returns how many calls were answered well, and how many failed."""
    good = failed = 0
    for call in _due(ledger, signer):
        reason = None
        if call.body is not None:
            reason = _refused(ledger.policy, call.url)
            if reason is None:
                reason = _sent(send or _post, call)
        _written_down(ledger, call, reason)
        good, failed = good + (reason is None and call.body is not None), failed + (reason is not None)
    return good, failed


class Deliverer(threading.Thread):
    """Delivers every some seconds, until it is told to stop."""

    def __init__(self, ledger: Ledger, signer: Signer | None) -> None:
        super().__init__(name="callbacks", daemon=True)
        self.ledger, self.signer, self.over = ledger, signer, threading.Event()

    def run(self) -> None:
        while not self.over.wait(EVERY):
            try:
                deliver(self.ledger, self.signer)
            except Exception as error:  # the service goes on, whatever a sender or the database does
                logging.getLogger(__name__).warning("callbacks: %s", error)

    def stop(self) -> None:
        """End it, when the call in flight is over."""
        self.over.set()


def _due(ledger: Ledger, signer: Signer | None) -> list[Call]:
    now = datetime.now(UTC)
    query = (
        select(Callback)
        .join(Request)
        .where(Callback.due <= now, or_(Callback.told.is_(None), Callback.told != Request.state))
        .order_by(Callback.due, Callback.id)
        .limit(AT_ONCE)
    )
    with ledger.reading() as session:
        id_ = events.head(session).ledger
        return [_call(one, short_facts(session, one.request), id_, signer) for one in session.scalars(query)]


def _call(callback: Callback, facts: RequestFacts, ledger: str, signer: Signer | None) -> Call:
    body: dict[str, JsonValue] | None = status_document(facts, ledger)
    headers = {"Content-Type": "application/json"}
    if facts.format == "fides":
        body = _for_fides(callback.url, facts)
        headers["Authorization"] = f"Bearer {callback.secret}"
    elif facts.format == "opendsr" and body is not None:
        body["status_callback_url"] = callback.url
    data = None if body is None else json.dumps(body).encode()
    if data is not None and facts.format == "opendsr" and signer is not None:
        headers |= signer.headers(data)
    return Call(callback.id, facts.id, callback.url, facts.state, data, headers)


def _for_fides(url: str, facts: RequestFacts) -> dict[str, JsonValue] | None:
    """What Fides is told at this path; None as long as there is nothing to tell.

    A refused erasure is not told to the connector, for Fides would take any call for its end: a person must see to it.
    """
    if url.endswith("/eligible"):
        return {} if facts.state in fides.ELIGIBLE else None
    if url.endswith("/not-eligible"):
        return {} if facts.state in fides.NOT_ELIGIBLE else None
    if facts.state in (State.done, State.not_found):
        return {"rows_masked": fides.status(facts).rows_masked or 0}
    return None


def _refused(policy: Policy, url: str) -> str | None:
    """Why an address is not called."""
    parts = urlsplit(url)
    own = policy.service.fides.rstrip("/")
    if own and url.startswith(own + "/"):
        return None
    if parts.scheme == "https" and parts.hostname in policy.service.callback_hosts:
        return None
    return f"{parts.hostname} is none of the policy's service.callback_hosts"


def _sent(send: Send, call: Call) -> str | None:
    """Why a call failed."""
    try:
        status = send(call.url, call.body or b"", call.headers)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return f"no answer ({type(error).__name__})"
    return None if 200 <= status < 300 else f"answered with {status}"


def _post(url: str, body: bytes, headers: dict[str, str]) -> int:
    with (
        httpx.Client(timeout=SECONDS, follow_redirects=False, trust_env=False) as client,
        client.stream("POST", url, content=body, headers=headers) as answer,
    ):
        return answer.status_code


def _written_down(ledger: Ledger, call: Call, reason: str | None) -> None:
    with ledger.session() as session:
        callback = session.get(Callback, call.id)
        if callback is None:
            return
        if reason is None:
            callback.told, callback.attempts = call.state, 0
            if call.body is not None:
                events.append(session, "callback-made", ACTOR, request=call.request, state=call.state)
                if callback.secret is not None:
                    callback.secret = callback.due = None  # Fides takes one call
            return
        callback.attempts += 1
        later = timedelta(minutes=min(2**callback.attempts, 24 * 60))
        callback.due = None if callback.attempts >= MOST_ATTEMPTS else datetime.now(UTC) + later
        if callback.due is None:
            events.append(
                session, "callback-given-up", ACTOR, request=call.request, reason=events.digest_of(reason)
            )
        logging.getLogger(__name__).warning("callback of %s: %s", call.request, reason)
