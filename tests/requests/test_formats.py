"""Published formats: requests read from them, and told in them."""

import base64
import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from nacl.signing import SigningKey

from efface.errors import InputError
from efface.ledger.policy import Policy
from efface.ledger.requests import RequestFacts
from efface.ledger.states import State
from efface.requests.formats import drp, fides, opendsr
from efface.requests.formats.documents import read_document, status_document

LEDGER = "0b6d1c9e-5b0a-4f0e-9f57-2f6d6d1c3a11"
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
OPENDSR = {
    "regulation": "gdpr",
    "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
    "subject_request_type": "erasure",
    "submitted_time": "2026-10-02T15:00:00Z",
    "subject_identities": [
        {"identity_type": "email", "identity_value": "johndoe@example.com", "identity_format": "raw"}
    ],
    "api_version": "2.0",
    "status_callback_urls": ["https://controller.example.org/callbacks"],
    "extensions": {
        "erase.example.org": {"image_sha256": ["A" * 64, "b" * 64]},
        "other.example.org": {"foo": 1},
    },
}
DRP = {
    "agent-id": "AGENT_ONE",
    "business-id": "US",
    "issued-at": "2026-11-30T11:59:00Z",
    "expires-at": "2026-11-30T12:09:00Z",
    "agent-request-id": "foo-17",
    "drp.version": "1.0",
    "exercise": "deletion",
    "regime": "ccpa",
    "relationships": ["customer"],
    "status_callback": "https://agent.example.org/update_status",
    "name": "Jo Doe",
    "email": "jo@example.org",
    "email_verified": True,
    "image_sha256": ["c" * 64],
}
FIDES = {
    "privacy_request_id": "pri_029832ba-3b84-40f7-8946-82aec6f95448",
    "privacy_request_status": "pending",
    "direction": "two_way",
    "callback_type": "pre_approval",
    "identity": {"email": "customer-1@example.com", "phone_number": None},
    "policy_action": "erasure",
    "privacy_request": {
        "requested_at": "2026-11-02T09:00:00+00:00",
        "custom_privacy_request_fields": {
            "image_sha256": {"label": "Images", "value": "d" * 64 + ", " + "e" * 64}
        },
    },
}


def signed(values: dict[str, object], key: SigningKey) -> bytes:
    return base64.b64encode(key.sign(json.dumps(values).encode()))


def facts(state: State, form: str, **given: object) -> RequestFacts:
    values = {
        "id": "R-00017", "sender": "controller", "sender_id": "theirs", "format": form,
        "received": "2026-10-02T15:00:00+00:00", "due": "2026-11-01T15:00:00+00:00", "overdue": False, "regime": "GDPR",
        "state": state, "reason": None, "changed": "2026-10-03T00:00:00+00:00", "answered": None, "images": 2,
        "located": {"confirmed": 2, "open": 1},
    }  # fmt: skip
    return RequestFacts(**values | given)


def test_opendsr_names_images_in_the_extension_of_our_domain():
    new = opendsr.read(OPENDSR, "body", "controller", "erase.example.org")
    assert (new.sender, new.sender_id, new.regime) == ("controller", OPENDSR["subject_request_id"], "GDPR")
    assert new.digests == ("a" * 64, "b" * 64)
    assert new.received == datetime(2026, 10, 2, 15, tzinfo=UTC)
    assert new.contact == "johndoe@example.com"
    assert [one.url for one in new.callbacks] == OPENDSR["status_callback_urls"]
    assert opendsr.read(OPENDSR, "body", "controller", "other.example.org").digests == ()
    assert opendsr.read(OPENDSR, "body", "controller").digests == new.digests


def test_all_faults_of_a_body_are_one_message():
    body = OPENDSR | {
        "regulation": "lgpd", "subject_request_id": OPENDSR["subject_request_id"].upper(), "subject_request_type": "access",
        "submitted_time": "2026-10-02T15:00:00", "status_callback_urls": ["http://plain.example.org", "https://u:p@x.org"],
        "subject_identities": [{"identity_type": "email"}], "extensions": {"x.org": {"image_sha256": ["short"]}},
    }  # fmt: skip
    with pytest.raises(InputError) as error:
        opendsr.read(body, "the body", "controller")
    places = {problem.split(":")[0] for problem in error.value.problems}
    assert places >= {
        "regulation", "subject_request_id", "subject_request_type", "submitted_time", "status_callback_urls.0",
        "status_callback_urls.1", "subject_identities.0.identity_value", "subject_identities.0.identity_format",
        "extensions.x.org.image_sha256.0",
    }  # fmt: skip
    with pytest.raises(InputError, match="several name images"):
        opendsr.read(
            OPENDSR | {"extensions": {"x": {"image_sha256": []}, "y": {"image_sha256": []}}},
            "the body",
            "controller",
        )
    with pytest.raises(InputError, match="future"):
        opendsr.read(OPENDSR | {"submitted_time": "2999-01-01T00:00:00Z"}, "the body", "controller")


@pytest.mark.parametrize(
    ("state", "words", "count"),
    [
        (State.received, "pending", None), (State.located, "pending", None), (State.approved, "in_progress", None),
        (State.in_work, "in_progress", None), (State.done, "completed", 2), (State.not_found, "completed", 0),
        (State.refused, "cancelled", None), (State.withdrawn, "cancelled", None),
    ],
)  # fmt: skip
def test_opendsr_status_of_each_state(state: State, words: str, count: int | None):
    told = opendsr.status(facts(state, "opendsr"))
    assert (told.request_status, told.results_count, told.subject_request_id) == (words, count, "theirs")


def test_drp_takes_what_the_agent_signed_and_nothing_else():
    key, other = SigningKey(bytes(32)), SigningKey(bytes([1]) * 32)
    message, verify = signed(DRP, key), key.verify_key.encode().hex()
    values = drp.opened(message, "the message", verify)
    assert values == DRP
    for damaged in (
        signed(DRP, other),
        message[:40] + b"AAAA" + message[44:],
        base64.b64encode(json.dumps(DRP).encode()),
    ):
        with pytest.raises(drp.Forbidden, match="not signed with the agent's key"):
            drp.opened(damaged, "the message", verify)
    with pytest.raises(InputError, match="not base64"):
        drp.opened(b"%%%", "the message", verify)
    claims = drp.claims_of(values, "the message")
    drp.check_claims(claims, "the message", "AGENT_ONE", "US", NOW)
    with pytest.raises(drp.Forbidden) as error:
        drp.check_claims(claims, "the message", "AGENT_TWO", "THEM", NOW + timedelta(hours=1))
    assert error.value.problems == (
        "agent-id is not that of the token",
        "business-id is not ours",
        "expires-at is over",
    )
    with pytest.raises(drp.Forbidden, match="issued-at is in the future"):
        drp.check_claims(claims, "the message", "AGENT_ONE", "US", NOW - timedelta(hours=1))


def test_drp_request_and_its_status():
    new = drp.read(DRP, "the message")
    assert (new.sender, new.sender_id, new.regime, new.name) == ("AGENT_ONE", "foo-17", "CCPA", "Jo Doe")
    assert new.digests == ("c" * 64,)
    assert "email: jo@example.org (verified by the agent)" in (new.letter or "")
    unnamed = {name: value for name, value in DRP.items() if name != "agent-request-id"}
    assert (
        drp.read(unnamed, "x").sender_id == drp.read(unnamed, "x").sender_id != drp.read(DRP, "x").sender_id
    )
    told = drp.status(facts(State.not_found, "drp"), LEDGER)
    assert (told.status, told.reason, told.agent_request_id) == ("denied", "no_match", "theirs")
    assert drp.status(facts(State.refused, "drp", reason="a fake"), LEDGER).processing_details == "a fake"
    assert drp.status(facts(State.received, "drp", sender_id="message-12"), LEDGER).agent_request_id is None
    with pytest.raises(InputError, match=r"exercise: .*only deletion"):
        drp.read(DRP | {"exercise": "sale:opt_out"}, "the message")


def test_request_ids_of_the_protocol_are_uuids_of_this_ledger_alone():
    made = drp.request_id(LEDGER, "R-00017")
    assert (uuid.UUID(made).version, drp.number_in(made, LEDGER)) == (8, 17)
    assert drp.number_in(made, str(uuid.UUID(int=0))) is None
    assert drp.number_in("R-00017", LEDGER) is None


def test_fides_request_and_its_status():
    new = fides.read(FIDES, "the body", "fides")
    assert (new.sender_id, new.contact) == (FIDES["privacy_request_id"], "customer-1@example.com")
    assert new.digests == ("d" * 64, "e" * 64)
    assert new.received == datetime(2026, 11, 2, 9, tzinfo=UTC)
    assert fides.status(facts(State.done, "fides")).rows_masked == 2
    assert fides.status(facts(State.withdrawn, "fides")).status == "denied"
    assert (
        fides.path_of("/privacy-request/pri_1/pre-approve/eligible")
        == "/api/v1/privacy-request/pri_1/pre-approve/eligible"
    )
    assert fides.path_of("/api/v1/request-task/callback") == "/api/v1/request-task/callback"
    for hostile in (
        "//evil.example.org/x",
        "https://evil.example.org",
        "/a/../b",
        "/a?b",
        "@evil.example.org/",
        "/a b",
    ):
        assert fides.path_of(hostile) is None


def test_a_document_is_known_by_its_keys():
    policy = Policy.read({"service": {"domain": "erase.example.org"}})
    key = SigningKey(bytes(32))
    assert read_document(json.dumps(OPENDSR).encode(), "a.json", policy).format == "opendsr"
    assert read_document(json.dumps(DRP).encode(), "a.json", policy).sender == "AGENT_ONE"
    assert read_document(signed(DRP, key), "a.txt", policy).sender_id == "foo-17"
    assert read_document(json.dumps(FIDES).encode(), "a.json", policy).format == "fides"
    with pytest.raises(InputError, match=r"a\.json is no request of a known format"):
        read_document(b'{"a": 1}', "a.json", policy)
    with pytest.raises(InputError, match="twice"):
        read_document(b'{"agent-id": 1, "agent-id": 2}', "a.json", policy)


def test_status_documents_speak_the_format_of_the_request():
    told = {
        form: status_document(facts(State.approved, form), LEDGER)
        for form in ("opendsr", "drp", "fides", "csv")
    }
    assert told["opendsr"]["request_status"] == "in_progress"
    assert told["drp"]["status"] == "in_progress"
    assert told["fides"]["status"] == "approved"
    assert told["csv"]["state"] == "approved"
