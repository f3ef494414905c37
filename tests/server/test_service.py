"""The service as programs and people meet it: formats, roles, limits, pages, callbacks."""

from __future__ import annotations

import base64
import json
import re
import struct
import uuid
import zlib
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import select

from efface.cli.requests.token import RoleName
from efface.files import sha256_of_bytes
from efface.ledger import events
from efface.ledger.requests import NewRequest, add_request, request_named
from efface.ledger.tables import Event, ImageSet, LocatedImage, SetImage, Token
from efface.requests.links import link_to
from efface.server.access import Access
from efface.server.callbacks import deliver
from efface.server.decoding import NotAPicture, check_name, what_else
from efface.server.limits import HEADERS, MOST_BODY, Rates
from efface.server.tokens import Role, add_token, digest_of, list_tokens, revoke_token
from server.conftest import AGENT_KEY, Serving, picture

PUBLIC = {
    "/", "/style.css", "/favicon.ico", "/api/openapi.json", "/api/health", "/v2/discovery", "/v2/certificate",
    "/v1/agent/{agent_id}", "/officer/login",
}  # fmt: skip


def opendsr(**more: object) -> dict[str, object]:
    return {
        "regulation": "gdpr",
        "subject_request_id": str(uuid.uuid4()),
        "subject_request_type": "erasure",
        "submitted_time": "2026-10-02T15:00:00Z",
        "subject_identities": [
            {"identity_type": "email", "identity_value": "jo@example.com", "identity_format": "raw"}
        ],
        "extensions": {"erase.example.org": {"image_sha256": ["a" * 64]}},
    } | more


def kinds(serving: Serving) -> list[str]:
    with serving.ledger.reading() as session:
        return list(session.scalars(select(Event.kind).order_by(Event.number)))


def handed_in(serving: Serving, *digests: str) -> str:
    body = {"image_sha256": digests or [uuid.uuid4().hex * 2]}
    return str(serving.client.post("/api/requests", json=body, headers=serving.as_("intake")).json()["id"])


def located(serving: Serving, tmp_path, count: int = 2) -> tuple[str, list[int]]:
    """A request with a photo and some located images."""
    id_ = handed_in(serving)
    photo = picture(40, "blue")
    assert (
        serving.client.post(
            f"/api/requests/{id_}/photos", content=photo, headers=serving.as_("intake")
        ).status_code
        == 201
    )
    (tmp_path / "set").mkdir()
    with serving.ledger.session() as session:
        images = ImageSet(name=id_, place=str(tmp_path / "set"), added=datetime.now(UTC))
        session.add(images)
        request = request_named(session, id_)
        photo_id = next(one.id for one in request.supplied if one.place)
        for number in range(count):
            data = picture(30 + number, "green")
            (tmp_path / "set" / f"{number}.png").write_bytes(data)
            digest = sha256_of_bytes(data)
            keyed = serving.ledger.keyed(digest)
            image = SetImage(set=images, path=f"{number}.png", digest=digest, keyed=keyed)
            request.located.append(
                LocatedImage(image=image, supplied_id=photo_id, how="look-alike", score=0.9, decision="open")
            )
        session.flush()
        numbers = [one.id for one in request.located]
        request.state = "located"
    return id_, numbers


def logged_in(serving: Serving, role: str) -> str:
    """Log in; returns the token that forms of the session hold."""
    serving.client.cookies.clear()
    answer = serving.client.post("/officer/login", data={"token": serving.tokens[role]})
    assert answer.status_code == 303
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=strict" in answer.headers["set-cookie"]
    return re.search(r'name="form" value="(\w+)"', serving.client.get("/officer").text)[1]


def test_without_a_token_nothing_is_open_but_what_must_be(serving: Serving) -> None:
    serving.client.cookies.clear()
    closed = 0
    for route in every_route(serving.client.app):
        if route.path in PUBLIC or route.path.startswith("/person/"):
            continue
        path = re.sub(r"\{\w+\}", "R-00001", route.path.replace("{number}", "1"))
        for method in route.methods - {"HEAD"}:
            closed += 1
            code = serving.client.request(method, path).status_code
            assert code in (401, 403) or (code == 303 and path.startswith("/officer")), (method, path, code)
    assert closed > 20
    wrong = serving.client.get("/api/requests", headers={"Authorization": "Bearer efface_wrong"})
    assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, "Bearer")


def every_route(app) -> list[APIRoute]:
    found = []
    pending = list(app.routes)
    while pending:
        route = pending.pop()
        inner = getattr(route, "original_router", None)
        if isinstance(route, APIRoute):
            found.append(route)
        elif inner is not None:
            pending += inner.routes
    return found


def test_every_answer_carries_the_headers(serving: Serving) -> None:
    for path in ("/officer/login", "/nothing", "/v2/discovery", "/api/requests"):
        answer = serving.client.get(path)
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "script" not in HEADERS["Content-Security-Policy"]
    assert serving.client.get("/style.css").headers["cache-control"] == "max-age=86400"


def test_opendsr_from_request_to_cancellation(serving: Serving) -> None:
    body, us = opendsr(), serving.as_("intake")
    came = serving.client.post("/v2/requests", json=body, headers=us)
    assert came.status_code == 201
    assert json.loads(base64.b64decode(came.json()["encoded_request"])) == body
    assert (
        serving.client.post("/v2/requests", json=body, headers=us).json()["subject_request_id"]
        == body["subject_request_id"]
    )
    at = f"/v2/requests/{body['subject_request_id']}"
    told = serving.client.get(at, headers=us)
    assert told.json()["request_status"] == "pending"
    assert told.json() == serving.client.get(at.replace("requests", "status"), headers=us).json()
    assert told.headers["x-opendsr-processor-domain"] == "erase.example.org"
    assert serving.client.get(at, headers=serving.as_("other")).status_code == 404
    assert serving.client.delete(at, headers=us).status_code == 202
    assert serving.client.get(at, headers=us).json()["request_status"] == "cancelled"
    again = serving.client.delete(at, headers=us)
    assert (again.status_code, again.json()["error"]["code"]) == (409, 409)


def test_a_bad_body_is_told_in_the_words_of_its_format(serving: Serving) -> None:
    us = serving.as_("intake")
    wrong = serving.client.post("/v2/requests", json=opendsr(regulation="x", submitted_time="x"), headers=us)
    assert wrong.status_code == 400
    assert [one["message"].split(":")[0] for one in wrong.json()["error"]["errors"]] == [
        "regulation",
        "submitted_time",
    ]
    for body in (b"", b"{", b"[1]", b'{"a": 1e999999}', b"[" * 100_000, b"\xff\xfe"):
        assert serving.client.post("/v2/requests", content=body, headers=us).status_code == 400
    ours = serving.client.post(
        "/api/requests", json={"image_sha256": ["x"], "regime": 5, "odd": 1}, headers=us
    )
    assert ours.status_code == 422
    assert len(ours.json()["problems"]) == 3


def test_an_agent_fetches_a_token_and_sends_signed_requests(serving: Serving) -> None:
    now = datetime.now(UTC)
    claims = {
        "agent-id": "AGENT_ONE", "business-id": "US", "drp.version": "1.0",
        "issued-at": (now - timedelta(minutes=1)).isoformat(), "expires-at": (now + timedelta(minutes=9)).isoformat(),
    }  # fmt: skip

    def signed(values: dict[str, object]) -> bytes:
        return base64.b64encode(AGENT_KEY.sign(json.dumps(values).encode()))

    for bad in (claims | {"business-id": "THEM"}, claims | {"agent-id": "AGENT_TWO"}, {}):
        refused = serving.client.post("/v1/agent/AGENT_ONE", content=signed(bad))
        assert (refused.status_code, refused.content) == (403, b"")
    token = serving.client.post("/v1/agent/AGENT_ONE", content=signed(claims)).json()["token"]
    us = {"Authorization": f"Bearer {token}"}
    assert serving.client.get("/v1/agent/AGENT_ONE", headers=us).json() == {}
    assert serving.client.get("/v1/agent/AGENT_TWO", headers=us).status_code == 403
    body = claims | {
        "exercise": "deletion",
        "regime": "ccpa",
        "agent-request-id": "foo",
        "image_sha256": ["e" * 64],
    }
    came = serving.client.post("/v1/data-rights-request", content=signed(body), headers=us).json()
    assert (came["status"], came["agent_request_id"]) == ("open", "foo")
    at = f"/v1/data-rights-request/{came['request_id']}"
    assert serving.client.get(at, headers=us).json() == came
    forged = body | {"agent-id": "AGENT_TWO"}
    assert (
        serving.client.post("/v1/data-rights-request", content=signed(forged), headers=us).status_code == 403
    )
    wrong = serving.client.post(
        "/v1/data-rights-request", content=signed(body | {"exercise": "access"}), headers=us
    )
    assert (wrong.status_code, wrong.json()["code"], wrong.json()["fatal"]) == (400, "400", True)
    assert serving.client.get(f"/v1/data-rights-request/{uuid.uuid4()}", headers=us).status_code == 403
    gone = serving.client.request(
        "DELETE", at, content=signed({"reason": "I changed my mind"}), headers=us
    ).json()
    assert (gone["status"], gone["processing_details"]) == ("revoked", "I changed my mind")


def test_fides_is_answered_once_somebody_decided(serving: Serving) -> None:
    us, sent = serving.as_("intake"), []
    body = {
        "privacy_request_id": f"pri_{uuid.uuid4()}",
        "policy_action": "erasure",
        "identity": {"email": "a@b.c"},
    }
    path = f"/privacy-request/{body['privacy_request_id']}/pre-approve"
    replies = {
        "reply-to-eligible": f"{path}/eligible",
        "reply-to-not-eligible": f"{path}/not-eligible",
        "reply-to-token": "jwe",
    }
    other = serving.client.post("/fides/pre-approval", json=body | {"policy_action": "access"}, headers=us)
    assert other.json()["taken_in"] is False
    hostile = replies | {"reply-to-eligible": "https://evil.example.org/x"}
    assert serving.client.post("/fides/pre-approval", json=body, headers=us | hostile).status_code == 400
    came = serving.client.post("/fides/pre-approval", json=body, headers=us | replies).json()
    assert (came["taken_in"], came["status"]) == (True, "pending")

    def post(url: str, data: bytes, headers: dict[str, str]) -> int:
        sent.append((url, data, headers.get("Authorization")))
        return 200

    deliver(serving.ledger, send=post)
    assert sent == []
    with serving.ledger.session() as session:
        request_named(session, came["id"]).state = "refused"
    deliver(serving.ledger, send=post)
    assert sent == [(f"https://fides.example.org/api/v1{path}/not-eligible", b"{}", "Bearer jwe")]
    deliver(serving.ledger, send=post)
    assert len(sent) == 1


def test_a_sender_is_told_of_each_state_and_only_allowed_hosts_are_called(serving: Serving) -> None:
    urls = ["https://controller.example.org/callbacks", "https://evil.example.org/x"]
    body = opendsr(status_callback_urls=urls)
    serving.client.post("/v2/requests", json=body, headers=serving.as_("intake"))
    sent: list[tuple[str, str]] = []
    answers = iter([503, 200, 200])

    def post(url: str, data: bytes, headers: dict[str, str]) -> int:
        told = json.loads(data)
        if told["subject_request_id"] == body["subject_request_id"]:
            sent.append((url, told["request_status"]))
            return next(answers)
        return 200

    deliver(serving.ledger, send=post)
    with serving.ledger.session() as session:
        request = request_named(session, str(body["subject_request_id"]))
        ours, theirs = request.callbacks
        assert (ours.attempts, ours.told, theirs.attempts) == (1, None, 1)
        assert ours.due > datetime.now(UTC)
        ours.due = datetime.now(UTC)
    deliver(serving.ledger, send=post)
    deliver(serving.ledger, send=post)
    with serving.ledger.session() as session:
        request_named(session, str(body["subject_request_id"])).state = "approved"
    deliver(serving.ledger, send=post)
    assert sent == [(urls[0], "pending"), (urls[0], "pending"), (urls[0], "in_progress")]


def test_roles_bound_what_a_token_may_do(serving: Serving, tmp_path) -> None:
    id_, numbers = located(serving, tmp_path)
    decide = {"kind": "confirm", "images": numbers}
    at = f"/api/requests/{id_}"
    codes = {
        role: [
            serving.client.get(at, headers=serving.as_(role)).status_code,
            serving.client.get(f"{at}/full", headers=serving.as_(role)).status_code,
            serving.client.get("/api/requests", headers=serving.as_(role)).status_code,
            serving.client.get("/api/events", headers=serving.as_(role)).status_code,
            serving.client.post(f"{at}/decisions", json=decide, headers=serving.as_(role)).status_code,
            serving.client.post(
                f"{at}/decisions", json={"kind": "approve"}, headers=serving.as_(role)
            ).status_code,
        ]
        for role in ("intake", "other", "auditor", "reviewer", "approver")
    }
    assert codes == {
        "intake": [200, 403, 403, 403, 403, 403],
        "other": [404, 403, 403, 403, 403, 403],
        "auditor": [200, 403, 200, 200, 403, 403],
        "reviewer": [200, 200, 200, 403, 200, 403],
        "approver": [200, 200, 200, 200, 200, 200],
    }
    assert serving.client.get(at, headers=serving.as_("intake")).json()["state"] == "approved"
    stranger = serving.client.post(
        f"{at}/decisions", json={"kind": "reject", "images": [10**6]}, headers=serving.as_("approver")
    )
    assert stranger.status_code == 400


def test_hostile_uploads_are_refused(serving: Serving) -> None:
    id_, us, good = handed_in(serving), serving.as_("intake"), picture()

    def png(width: int, height: int) -> bytes:
        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")

    hostile = {
        "bomb": png(60_000, 60_000), "archive": good + b"PK\x05\x06" + bytes(18),
        "page": good + b"<script>alert(1)</script>",
        "program": good + b"<?php system('x');", "text": b"hello", "empty": b"", "cut": good[: len(good) // 2],
        "drawing": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "pdf": b"%PDF-1.7\n" + good,
    }  # fmt: skip
    for name, data in hostile.items():
        refused = serving.client.post(f"/api/requests/{id_}/photos", content=data, headers=us)
        assert refused.status_code == 400, name
    too_large = serving.client.post("/api/requests", content=b" " * (MOST_BODY + 1), headers=us)
    assert too_large.status_code == 413
    streamed = serving.client.post("/v2/requests", content=iter([b" " * MOST_BODY, b" "]), headers=us)
    assert streamed.status_code == 413
    with serving.ledger.reading() as session:
        assert [one.place for one in request_named(session, id_).supplied] == [None]
    assert not list(serving.ledger.uploads.glob(f"{id_}*"))
    assert what_else(good) == what_else(picture(form="JPEG")) == ""
    for name in ("../../etc/passwd", "C:\\photo.jpg", "/photo.jpg", "..", "a\nb.jpg"):
        with pytest.raises(NotAPicture, match="path or cannot be printed"):
            check_name(name)
    check_name("Ferien 2026 (1).jpg")


def test_the_officer_hands_in_a_letter_with_photos(serving: Serving) -> None:
    form = logged_in(serving, "reviewer")
    fields = {
        "form": form,
        "received": "2026-11-03",
        "regime": "GDPR",
        "language": "de",
        "name": "Jo Doe",
        "letter": "Bitte <b>",
    }
    photo = ("photos", ("me.png", picture(33), "image/png"))
    bad = serving.client.post(
        "/officer/new", data=fields | {"received": "x"}, files=[("photos", ("../me.png", b"x"))]
    )
    assert (bad.status_code, "is a path" in bad.text) == (400, True)
    without = serving.client.post("/officer/new", data=fields | {"form": "0"}, files=[photo])
    assert without.status_code == 403
    added = serving.client.post("/officer/new", data=fields, files=[photo])
    assert added.status_code == 303
    page = serving.client.get(added.headers["location"]).text
    assert "Jo Doe" in page
    assert "Bitte &lt;b&gt;" in page
    assert (
        serving.client.post("/officer/new", data=fields, files=[photo]).headers["location"]
        == added.headers["location"]
    )


def test_each_look_at_a_picture_is_an_event_and_originals_are_never_sent(serving: Serving, tmp_path) -> None:
    id_, _ = located(serving, tmp_path, 1)
    logged_in(serving, "reviewer")
    page = serving.client.get(f"/officer/requests/{id_}").text
    sources = re.findall(r'<img src="([^"]+)"', page)
    assert len(sources) == 2
    before = kinds(serving).count("picture-viewed")
    for source in sources:
        answer = serving.client.get(source)
        assert (answer.status_code, answer.headers["content-type"], answer.content[:3]) == (
            200,
            "image/jpeg",
            b"\xff\xd8\xff",
        )
        assert answer.headers["cache-control"] == "no-store"
    assert kinds(serving).count("picture-viewed") == before + 2
    other = handed_in(serving)
    assert serving.client.get(sources[1].replace(id_, other)).status_code == 404
    logged_in(serving, "auditor")
    assert "<img" not in serving.client.get(f"/officer/requests/{id_}").text
    assert serving.client.get(sources[0]).status_code == 403
    (tmp_path / "set" / "0.png").write_bytes(picture(31, "black"))
    logged_in(serving, "reviewer")
    assert serving.client.get(sources[1]).status_code == 404


def test_decisions_are_taken_by_forms_that_the_session_made(serving: Serving, tmp_path) -> None:
    id_, numbers = located(serving, tmp_path)
    form = logged_in(serving, "approver")
    at = f"/officer/requests/{id_}/decisions"
    assert serving.client.post(at, data={"kind": "confirm", "image": numbers}).status_code == 403
    early = serving.client.post(at, data={"form": form, "kind": "approve"})
    assert early.status_code == 400
    assert "No image is confirmed" in early.text
    assert (
        serving.client.post(at, data={"form": form, "kind": "confirm", "image": numbers[0]}).status_code
        == 303
    )
    assert (
        serving.client.post(
            at, data={"form": form, "kind": "reject", "image": numbers[1], "reason": "not her"}
        ).status_code
        == 303
    )
    assert serving.client.post(at, data={"form": form, "kind": "approve"}).status_code == 303
    page = serving.client.get(f"/officer/requests/{id_}").text
    assert "confirmed by approver-1" in page
    assert "reject by approver-1: not her" in page
    assert serving.client.post("/officer/logout", data={"form": form}).status_code == 303
    assert serving.client.get("/officer").headers["location"] == "/officer/login"


def test_a_revoked_token_ends_its_session(serving: Serving) -> None:
    with serving.ledger.session() as session:
        serving.tokens["gone"] = str(add_token(session, "gone", Role.reviewer, 10, "ada"))
    logged_in(serving, "gone")
    with serving.ledger.session() as session:
        revoke_token(session, "gone", "ada")
        stored = session.scalar(select(Token.digest).where(Token.name == "gone"))
    assert stored == digest_of(serving.tokens["gone"])
    assert serving.client.get("/officer").status_code == 303
    forged = serving.client.cookies["efface"].replace("gone", "approver-1")
    serving.client.cookies.clear()
    assert serving.client.get("/officer", headers={"Cookie": f"efface={forged}"}).status_code == 303
    with serving.ledger.reading() as session:
        assert {one.name: one.state for one in list_tokens(session)}["gone"] == "revoked"


def test_the_persons_page_shows_no_picture_and_withdraws(serving: Serving) -> None:
    with serving.ledger.session() as session:
        new = NewRequest("photos", "photos", datetime.now(UTC), ["f" * 64], language="de", name="Jo")
        request, _ = add_request(serving.ledger, session, new, "ada")
    link = link_to(serving.ledger.key, request.id, "")
    page = serving.client.get(link)
    assert page.status_code == 200
    assert '<html lang="de">' in page.text
    assert "Ihr Antrag ist da." in page.text
    assert "<img" not in page.text
    assert serving.client.get(link[:-1] + ("A" if link[-1] != "A" else "B")).status_code == 404
    form = re.search(r'name="form" value="(\w+)"', page.text)[1]
    assert serving.client.post(link, data={"sure": "yes"}).status_code == 403
    assert "Häkchen" in serving.client.post(link, data={"form": form}).text
    assert serving.client.post(link, data={"form": form, "sure": "yes"}).status_code == 303
    assert "wurde zurückgezogen" in serving.client.get(link).text
    late = serving.client.post(link, data={"form": form, "sure": "yes"})
    assert (late.status_code, "nicht mehr zurückgezogen" in late.text) == (400, True)
    assert serving.client.get(f"{link}/letter").status_code == 404


def test_the_queue_is_paged(serving: Serving) -> None:
    with serving.ledger.session() as session:
        for number in range(60):
            new = NewRequest(
                "paged", "csv", datetime.now(UTC) - timedelta(days=40), ["1" * 64], sender_id=str(number)
            )
            add_request(serving.ledger, session, new, "ada")
    logged_in(serving, "auditor")
    first = serving.client.get("/officer?state=received").text
    more = re.search(r'href="(/officer\?after=\d+&amp;state=received)" rel="next"', first)[1].replace(
        "&amp;", "&"
    )
    ids = [
        re.findall(r'<th scope="row"><a href="/officer/requests/(R-\d+)"', text)
        for text in (first, serving.client.get(more).text)
    ]
    assert len(ids[0]) == 50
    assert ids[1]
    assert max(ids[0]) < min(ids[1])
    assert "Late, or due" in serving.client.get("/officer").text
    listed = serving.client.get("/api/requests?most=7", headers=serving.as_("auditor")).json()
    assert (len(listed["requests"]), listed["after"]) == (7, int(listed["requests"][-1]["id"][2:]))
    assert serving.client.get("/officer/events").status_code == 200


def test_rates_are_bounded_and_guessing_ends(serving: Serving) -> None:
    rates = Rates(60)
    assert [rates.wait("a") for _ in range(61)] == [0] * 60 + [1]
    assert rates.wait("b") == 0
    access = Access(serving.ledger)
    kept, serving.client.app.state.access = serving.client.app.state.access, access
    try:
        codes = [
            serving.client.get("/api/requests", headers={"Authorization": f"Bearer efface_{n}"}).status_code
            for n in range(22)
        ]
        assert codes[:20] == [401] * 20
        assert codes[20:] == [429] * 2
    finally:
        serving.client.app.state.access = kept


def test_the_chain_still_holds_and_names_nobody(serving: Serving) -> None:
    with serving.ledger.reading() as session:
        events.check_chain(session)
        text = " ".join(session.scalars(select(Event.ids)))
    assert "jo@example.com" not in text
    assert "Jo" not in text
    assert list(RoleName) == [role.value for role in Role]
