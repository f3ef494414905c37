"""One service over one ledger for all tests of a module, with a token of each role."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from nacl.signing import SigningKey
from PIL import Image

from efface.ledger.opening import Ledger
from efface.server.app import make_app
from efface.server.tokens import Role, add_token

AGENT_KEY = SigningKey(bytes(32))
PERSON = [role for role in Role if role != Role.agent]


@dataclass(frozen=True)
class Serving:
    """A running service: its ledger, a client without cookies, tokens by role."""

    ledger: Ledger
    client: TestClient
    tokens: dict[str, str]

    def as_(self, role: str) -> dict[str, str]:
        """The headers of a program with this role."""
        return {"Authorization": f"Bearer {self.tokens[role]}"}


def new_ledger(place: Path, service: str) -> Ledger:
    """A ledger whose policy says this of the service."""
    ledger = Ledger.create(place)
    (place / "policy.yaml").write_text(f"service: {service}\n")
    ledger.engine.dispose()
    return Ledger.open(place)


def picture(size: int = 64, colour: str = "red", form: str = "PNG") -> bytes:
    """The bytes of a small picture."""
    out = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(out, form)
    return out.getvalue()


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A service with loose limits of rates."""
    ledger = new_ledger(
        tmp_path_factory.mktemp("serving") / "ledger",
        "{calls_per_minute: 100000, domain: erase.example.org, business_id: US, fides: 'https://fides.example.org', "
        "public_url: 'https://erase.example.org', callback_hosts: [controller.example.org]}",
    )
    with ledger.session() as session:
        tokens = {role: str(add_token(session, f"{role}-1", role, 10, "ada")) for role in PERSON}
        tokens["other"] = str(add_token(session, "other", Role.intake, 10, "ada"))
        add_token(session, "AGENT_ONE", Role.agent, 10, "ada", AGENT_KEY.verify_key.encode().hex())
    app = make_app(ledger, deliver=False)
    app.state.access.public.per_minute = 100_000
    with TestClient(app, follow_redirects=False) as client:
        yield Serving(ledger, client, {str(role): token for role, token in tokens.items()})
    ledger.engine.dispose()
