"""Approved requests are carried out: every affected model once, killed or not, and only good models take the place."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from efface.errors import InputError, RunRefused, Stopped
from efface.files import lock_held, sha256_of_bytes, write_text
from efface.ledger.models import add_model, model_named
from efface.ledger.opening import Ledger
from efface.ledger.policy import Policy
from efface.ledger.requests import NewRequest, add_request, move, request_named
from efface.ledger.sets import add_set
from efface.ledger.states import State
from efface.ledger.tables import Erased, LocatedImage, SetImage, Work
from efface.ledger.verifying import verify_ledger
from efface.requests import work
from efface.requests.models import register
from efface.requests.work import run_requests
from support.run_fixtures import CommandLine, cli, tiny, undrawn
from support.run_making import SHORT, make_photos

__all__ = ["cli", "tiny", "undrawn"]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A set of ten photos and a policy of short runs."""
    made = Ledger.create(tmp_path / "ledger")
    write_text(
        made.place / "policy.yaml",
        json.dumps({"unlearning": {"config": {**SHORT, "method": "encoder-noise"}}}),
    )
    add_set(made, "pets", str(make_photos(tmp_path / "pets")), "ada")
    return Ledger.open(made.place)


def approved(ledger: Ledger, sender_id: str, *paths: str) -> str:
    """An approved request for some images of the set."""
    with ledger.session() as session:
        images = list(session.scalars(select(SetImage).where(SetImage.path.in_(paths))))
        new = NewRequest("csv", "csv", datetime.now(UTC), [image.digest for image in images], sender_id)
        request, _ = add_request(ledger, session, new, "ada")
        request.located += [
            LocatedImage(image_id=image.id, how="exact", score=1.0, decision="confirmed") for image in images
        ]
        for state in (State.located, State.approved):
            move(session, request, state, "ada")
        return request.id


@dataclass
class StandIn:
    """In the place of `carry_out`: a model whose weights are those of what it was asked; ends as it is told."""

    ends: list[Any] = field(default_factory=list)
    forgotten: list[list[str]] = field(default_factory=list)
    kept: list[list[str]] = field(default_factory=list)
    methods: list[str | None] = field(default_factory=list)

    def __call__(self, config: Any, out: Path, progress: object) -> Any:
        rows = [Path(config.images.forget[0]), Path(config.images.images)]
        listed = [[line.split(",")[0] for line in path.read_text().splitlines()[1:]] for path in rows]
        forget = [Path(place).name for place in listed[0]]
        self.forgotten.append(sorted(forget))
        self.methods.append(config.method)
        self.kept.append(sorted({Path(place).name for place in listed[1]} - set(forget)))
        end = self.ends.pop(0) if self.ends else None
        if isinstance(end, BaseException):
            raise end
        weights = sha256_of_bytes(str(out).encode())
        after = SimpleNamespace(weights=weights, description=SimpleNamespace(kind="generator", family="mae"))
        return SimpleNamespace(
            model=out / "model",
            record=SimpleNamespace(model=SimpleNamespace(after=after)),
            requirements=[end] if end else [],
            verdict=None,
        )


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    def read(verb: str, values: dict[str, Any]) -> Any:
        return SimpleNamespace(images=SimpleNamespace(**values["images"]), method=values.get("method"))

    made = StandIn()
    monkeypatch.setattr(work, "carry_out", made)
    monkeypatch.setattr(work, "read_config", read)
    return made


@pytest.fixture
def family(ledger: Ledger) -> Ledger:
    """A model of the set, one derived from it, and one that is not in service."""
    with ledger.session() as session:
        add_model(session, Path("old"), "aa" * 32, "generator", "ada", trained_on=["pets"], name="old")
        add_model(session, Path("child"), "bb" * 32, "generator", "ada", parent="old", name="child")
        add_model(
            session,
            Path("gone"),
            "cc" * 32,
            "generator",
            "ada",
            trained_on=["pets"],
            name="gone",
            status="withdrawn",
        )
    return ledger


def states(ledger: Ledger, *names: str) -> list[str]:
    with ledger.reading() as session:
        return [request_named(session, name).state for name in names]


def test_every_affected_model_gets_one_run_over_all_requests(family: Ledger, stand_in: StandIn) -> None:
    first, second = approved(family, "1", "cats/cats-0.png"), approved(family, "2", "dogs/dogs-1.png")
    planned = run_requests(family, "ada", dry=True)
    assert [(one.model, one.images, one.requests) for one in planned.work] == [
        ("old", 2, [first, second]),
        ("child", 2, [first, second]),
    ]
    done = run_requests(family, "ada")
    assert [(one.model, one.state, one.made) for one in done.work] == [
        ("old", "done", "old-v2"),
        ("child", "done", "child-v2"),
    ]
    assert (done.done, done.waiting) == ([first, second], [])
    assert stand_in.forgotten == [["cats-0.png", "dogs-1.png"]] * 2
    assert [len(kept) for kept in stand_in.kept] == [8, 8]
    assert run_requests(family, "ada").work == []
    third = approved(family, "3", "birds/birds-0.png")
    assert [one.model for one in run_requests(family, "ada").work] == ["old-v2", "child-v2"]
    # what was erased before is in neither list
    assert stand_in.forgotten[-1] == ["birds-0.png"]
    assert [len(kept) for kept in stand_in.kept[-2:]] == [7, 7]
    with family.reading() as session:
        assert model_named(session, "old").status == "superseded"
        assert [one.name for one in (model_named(session, "child-v3").parent,) if one] == ["child-v2"]
        assert len(session.scalars(select(Erased)).all()) == 3
    assert states(family, first, third) == ["done", "done"]
    assert {one.outcome for one in verify_ledger(family)} == {"matches"}


@pytest.mark.parametrize("at", ["begin", "lists", "run", "end"])
def test_a_kill_at_any_moment_leaves_what_the_same_command_ends(
    family: Ledger, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    request = approved(family, "1", "cats/cats-0.png")
    name = {"begin": "_carried_out", "lists": "write_lists", "end": "_promoted"}.get(at)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if name:
            patched.setattr(work, name, killed)
        else:
            stand_in.ends = [Stopped("stopped")]
        with pytest.raises((KeyboardInterrupt, Stopped)):
            run_requests(family, "ada")
    assert states(family, request) == ["in-work"]
    done = run_requests(family, "ada")
    assert (done.done, [one.model for one in done.work]) == ([request], ["old", "child"])
    with family.reading() as session:
        assert [one.state for one in session.scalars(select(Work))] == ["done", "done"]
        assert len({one.run for one in session.scalars(select(Work))}) == 2


def test_a_model_that_does_not_serve_waits_for_a_person(family: Ledger, stand_in: StandIn) -> None:
    request = approved(family, "1", "cats/cats-0.png")
    stand_in.ends = [SimpleNamespace(requirement="retain-error<=1.02x", state="not met")]
    done = run_requests(family, "ada")
    assert [(one.state, one.reason) for one in done.work] == [("not-met", "retain-error<=1.02x: not met")]
    assert (done.done, done.waiting, states(family, request)) == ([], [request], ["needs-input"])
    other = approved(family, "2", "dogs/dogs-0.png")
    stand_in.ends = [InputError("the weights are gone")]
    assert [(one.state, one.reason) for one in run_requests(family, "ada").work] == [
        ("failed", "the weights are gone")
    ]
    assert states(family, other) == ["needs-input"]
    with family.reading() as session:
        assert model_named(session, "old").status == "in-service"


def test_a_model_that_does_not_serve_is_trained_anew_where_the_policy_says_so(
    family: Ledger, stand_in: StandIn
) -> None:
    write_text(family.place / "policy.yaml", json.dumps({"unlearning": {"retrain": {"when_unmet": True}}}))
    ledger = Ledger.open(family.place)
    request = approved(ledger, "1", "cats/cats-0.png")
    stand_in.ends = [SimpleNamespace(requirement="retain-error<=1.02x", state="not met")]
    done = run_requests(ledger, "ada")
    assert [(one.model, one.state) for one in done.work] == [
        ("old", "not-met"),
        ("old", "done"),
        ("child", "done"),
    ]
    assert (stand_in.methods, done.done) == ([None, "retrain", None], [request])


def test_a_request_that_affects_no_model_is_done_at_once(ledger: Ledger, stand_in: StandIn) -> None:
    request = approved(ledger, "1", "cats/cats-0.png")
    assert run_requests(ledger, "ada").done == [request]
    with ledger.reading() as session:
        assert len(session.scalars(select(Erased)).all()) == 1
    with lock_held(ledger.runs / ".lock"), pytest.raises(RunRefused, match="another process carries out"):
        run_requests(ledger, "ada")


def test_images_that_are_gone_are_named_unless_they_were_supplied(
    family: Ledger, stand_in: StandIn, tmp_path: Path
) -> None:
    approved(family, "1", "cats/cats-0.png")
    (tmp_path / "pets" / "cats" / "cats-0.png").unlink()
    (done,) = run_requests(family, "ada").work
    assert done.state == "failed"
    assert "are gone, and no supplied photo" in str(done.reason)


def test_a_real_model_is_unlearnt_from_the_command_line(
    cli: CommandLine, ledger: Ledger, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EFFACE_LEDGER", str(ledger.place))
    register(ledger, tiny, "ada", trained_on=["pets"], name="tiny")
    approved(ledger, "1", "cats/cats-0.png")
    told = cli("requests", "run", "--json")
    result = json.loads(told.out)
    (done,) = result["work"]
    assert (done["state"], done["made"], done["images"]) == ("done", "tiny-v2", 1), told.err
    run = ledger.place / done["run"]
    assert (run / "seal.json").is_file()
    assert {path.stat().st_mode & 0o777 for path in run.parent.glob("*.txt")} == {0o600}
    assert cli("requests", "run").out == "0 runs, 0 requests done\n"
    assert isinstance(ledger.policy, Policy)
