"""A ledger keeps what it is told, on each database: its tables, its chain of events, and the states of requests."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import delete, text, update

from efface.errors import InputError, Mismatch
from efface.ledger import events
from efface.ledger.opening import Ledger
from efface.ledger.policy import Policy, policy_text, read_policy
from efface.ledger.requests import (
    NewRequest,
    add_request,
    count_by_state,
    facts_of,
    is_overdue,
    list_requests,
    move,
    request_named,
)
from efface.ledger.states import ELSEWHERE, ENDED, MEANINGS, MOVES, State
from efface.ledger.tables import Base, Event
from ledger.conftest import BOTH
from support.command_line import CommandLine

RECEIVED = datetime(2026, 11, 3, 9, 30, tzinfo=timezone(timedelta(hours=-5)))


def new(sender_id: str | None = None, **more: object) -> NewRequest:
    values = {"sender": "photos", "format": "photos", "received": RECEIVED, "digests": ["ab" * 32]}
    return NewRequest(**values | {"sender_id": sender_id} | more)  # type: ignore[arg-type]


@BOTH
def test_migrations_make_the_tables_that_the_code_has(ledger: Ledger) -> None:
    with ledger.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, Base.metadata) == []


def test_a_ledger_is_its_owners_alone(ledger: Ledger) -> None:
    place = ledger.place
    files = [path for path in place.rglob("*") if path.is_file()]
    assert {"efface.toml", "ledger.key", "ledger.db", "policy.yaml"} <= {path.name for path in files}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    folders = (place, place / "uploads", place / "runs", place / "answers")
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}


def test_making_a_ledger_twice_changes_nothing(ledger: Ledger) -> None:
    key = ledger.key
    (ledger.place / "policy.yaml").write_text("language: de\n")
    once_more = Ledger.create(ledger.place)
    with once_more.reading() as session:
        assert events.check_chain(session).number == 1
    assert (once_more.key, once_more.policy.language) == (key, "de")
    with pytest.raises(InputError, match=r"names the database sqlite:///ledger\.db"):
        Ledger.create(ledger.place, "sqlite:///other.db")


def test_a_ledger_is_named_or_lies_above(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EFFACE_LEDGER", raising=False)
    monkeypatch.chdir(ledger.place / "runs")
    assert Ledger.open().place == ledger.place
    assert Ledger.given(None) is None
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no ledger is named"):
        Ledger.open()
    monkeypatch.setenv("EFFACE_LEDGER", "ledger")
    given = Ledger.given(None)
    assert given is not None
    assert given.place == ledger.place
    with pytest.raises(InputError, match=r"is no ledger: it has no efface.toml"):
        Ledger.open(tmp_path)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("database = 3", "database: Input should be a valid string"),
        ("databse = 'x'", "did you mean 'database'"),
        ("database = 'nothing'", "is no URL of a database"),
        ("database = 'mysql://h/d'", "of the kind mysql are not supported"),
        ("database = 'sqlite://'", "has no file"),
        ("database = 'sqlite:///other.db'", "has no tables yet; bring it up to date: efface requests init"),
        ("key = 'lost.key'", "lost.key is gone"),
        ("policy = 'lost.yaml'", "lost.yaml cannot be read"),
        ("=", "cannot be read"),
        ("database = 'postgresql://someone:secret@127.0.0.1:9/none'", "cannot be used: connection failed"),
    ],
)
def test_a_ledger_that_cannot_be_used_says_why(ledger: Ledger, config: str, said: str) -> None:
    (ledger.place / "efface.toml").write_text(config)
    with pytest.raises(InputError) as caught:
        Ledger.open(ledger.place)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_tables_of_a_newer_efface_are_left_alone(ledger: Ledger) -> None:
    with ledger.session() as session:
        session.execute(text("update alembic_version set version_num = '9999'"))
    with pytest.raises(InputError, match="made by a newer efface"):
        Ledger.open(ledger.place)


@BOTH
def test_a_transaction_is_kept_whole_or_not_at_all(ledger: Ledger) -> None:
    def half() -> None:
        with ledger.session() as session:
            add_request(ledger, session, new(), "ada")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    with ledger.reading() as session:
        assert list_requests(session) == []
        assert events.check_chain(session).number == 1


@BOTH
def test_a_changed_missing_or_added_event_breaks_the_chain(ledger: Ledger) -> None:
    with ledger.session() as session:
        for number in range(3):
            add_request(ledger, session, new(str(number)), "ada")
        assert events.check_chain(session).number == 4
    for change, said in (
        (
            update(Event).where(Event.number == 2).values(actor="bob"),
            r"event 2 \(request-added\) was changed",
        ),
        (update(Event).where(Event.number == 3).values(ids="{}"), r"event 3 \(request-added\) was changed"),
        (delete(Event).where(Event.number == 2), "event 2 is missing"),
        (delete(Event).where(Event.number == 4), "ends with event 3, and the head names event 4"),
    ):
        with ledger.session() as session:
            session.execute(change)
            session.expire_all()
            with pytest.raises(Mismatch, match=said):
                events.check_chain(session)
            session.rollback()


def test_events_hold_ids_and_no_texts(ledger: Ledger) -> None:
    with ledger.session() as session:
        with pytest.raises(ValueError, match="is no id"):
            events.append(session, "request-added", "ada", request="Jane Doe, Berlin")
        with pytest.raises(ValueError, match="no kind of event"):
            events.append(session, "something", "ada")
        request, _ = add_request(
            ledger, session, new("jane@example.org", name="Jane Doe", contact="jane@example.org"), "ada"
        )
        move(session, request, State.refused, "ada", "Jane Doe is not who she says")
        told = json.dumps([events.facts_of(event).as_dict() for event in events.events_after(session)])
    assert "Jane" not in told
    assert "example.org" not in told
    assert "ab" * 32 not in told


@BOTH
def test_a_known_request_is_the_same_request(ledger: Ledger) -> None:
    with ledger.session() as session:
        first, is_new = add_request(ledger, session, new("7f"), "ada")
        again, known = add_request(ledger, session, new("7f", digests=["cd" * 32]), "bob")
        assert (is_new, known, again.id) == (True, False, first.id)
        of_images, _ = add_request(ledger, session, new(digests=["CD" * 32, "ab" * 32]), "ada")
        assert not add_request(ledger, session, new(digests=["ab" * 32, "cd" * 32]), "ada")[1]
        assert request_named(session, "7f").id == first.id == "R-00001"
        add_request(ledger, session, new("7f", sender="csv"), "ada")
        with pytest.raises(InputError, match="several senders have a request 7f: R-00001, R-00003"):
            request_named(session, "7f")
        with pytest.raises(InputError, match="no request R-9"):
            request_named(session, "R-9")
        assert facts_of(session, of_images).images == 2


@BOTH
def test_times_keep_their_moment_and_their_stated_zone(ledger: Ledger) -> None:
    with ledger.session() as session:
        add_request(ledger, session, new("1", regime="gdpr"), "ada")
        add_request(ledger, session, new("2", regime="CCPA"), "ada")
        add_request(ledger, session, new("3"), "ada")
    with ledger.reading() as session:
        first, second, third = list_requests(session)
        assert first.received == "2026-11-03T09:30:00-05:00"
        assert first.due == "2026-12-03T14:30:00+00:00"
        assert second.due == "2026-12-18T14:30:00+00:00"
        assert third.due == first.due
        request = request_named(session, "1")
        assert request.received == RECEIVED
        assert not is_overdue(request, datetime(2026, 12, 3, 14, 29, tzinfo=UTC))
        assert is_overdue(request, datetime(2026, 12, 3, 14, 31, tzinfo=UTC))
        within = list_requests(session, due_before=datetime(2026, 12, 4, tzinfo=UTC))
        assert [one.id for one in within] == ["R-00001", "R-00003"]


def test_requests_are_listed_a_page_at_a_time(ledger: Ledger) -> None:
    with ledger.session() as session:
        for number in range(5):
            add_request(ledger, session, new(str(number)), "ada")
        move(session, request_named(session, "1"), State.not_found, "ada")
    with ledger.reading() as session:
        page = list_requests(session, after=2, most=2)
        assert [one.id for one in page] == ["R-00003", "R-00004"]
        assert [one.id for one in list_requests(session, [State.not_found])] == ["R-00002"]
        assert count_by_state(session) == {State.received: 4, State.not_found: 1}


def test_states_change_as_the_table_says(ledger: Ledger) -> None:
    with ledger.session() as session:
        request, _ = add_request(ledger, session, new(), "ada")
        with pytest.raises(
            InputError, match=r"R-00001 is received .* can become located, needs-input, not-found"
        ):
            move(session, request, State.done, "ada")
        for state in (State.located, State.approved, State.in_work, State.done):
            move(session, request, state, "ada")
        with pytest.raises(InputError, match="nothing: this is its end"):
            move(session, request, State.withdrawn, "ada")
        kinds = [event.kind for event in events.events_after(session, 2)]
    assert kinds == ["request-state"] * 4


def test_every_state_has_its_meaning_its_moves_and_its_names_elsewhere() -> None:
    assert set(MEANINGS) == set(MOVES) == set(ELSEWHERE) == set(State)
    assert all(State.withdrawn in MOVES[state] for state in set(State) - ENDED - {State.in_work})
    reached = {State.received}
    while wider := set().union(*(MOVES[state] for state in reached)) - reached:
        reached |= wider
    assert reached == set(State)


def test_the_policy_that_is_written_says_what_stands_and_is_strict(tmp_path: Path) -> None:
    place = tmp_path / "policy.yaml"
    place.write_text(policy_text(Policy()))
    assert read_policy(place) == Policy()
    assert place.read_text().count("# ") > 30
    place.write_text("aproval: {people: 3}\ndue: {days: {GDPR: -1}}\n")
    with pytest.raises(InputError, match=r"(?s)did you mean 'approval'.*GDPR|GDPR.*did you mean 'approval'"):
        read_policy(place)


def test_the_command_line_makes_lists_and_shows(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EFFACE_LEDGER", str(tmp_path / "ledger"))
    made = cli("requests", "init", tmp_path / "ledger", "--by", "ada", "--json")
    assert json.loads(made.out)["head"]["number"] == 1
    assert cli("requests", "list").out == "no requests\n"
    ledger = Ledger.open()
    with ledger.session() as session:
        add_request(ledger, session, new("7f", name="Jane Doe", regime="GDPR"), "ada")
    listed = json.loads(cli("requests", "list", "--json").out)
    assert [one["id"] for one in listed["requests"]] == ["R-00001"]
    assert listed["counts"] == {"received": 1}
    assert "R-00001  received" in cli("requests", "list", "--state", "received").out
    shown = json.loads(cli("requests", "show", "7f", "--json").out)
    assert (shown["name"], shown["state"], shown["images"]) == ("Jane Doe", "received", 1)
    assert "of Jane Doe" in cli("requests", "show", "R-00001").out
    late = cli("requests", "due", "--within", 36500)
    assert "1 request due within 36500 days" in late.out
    unknown = cli("requests", "show", "R-2")
    assert unknown.code == 2
    assert "see: efface requests list" in unknown.err


def test_a_missing_package_is_said_with_what_to_install(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'sqlalchemy'", name="sqlalchemy")

    monkeypatch.setattr("efface.cli.requests.list.open_ledger", missing)
    outcome = cli("requests", "list")
    assert outcome.code == 2
    assert "pip install 'efface[requests]'" in outcome.err
    assert os.path.sep not in outcome.err
