"""Answers: which models hold a request's images, what is written, and the evidence in one file."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from efface.errors import InputError
from efface.evaluation.verdict import Verdict
from efface.files import json_text, sha256_of_bytes, sha256_of_file
from efface.ledger import events
from efface.ledger.opening import Ledger
from efface.ledger.requests import NewRequest, add_request, move, request_named
from efface.ledger.states import State
from efface.ledger.sweeping import sweep
from efface.ledger.tables import ImageSet, LocatedImage, ModelVersion, Request, SetImage, Work
from efface.ledger.verifying import verify_ledger
from efface.requests.affected import affected, standings
from efface.requests.answer import answer
from efface.requests.export import export, verify_archive
from efface.runs.record import CLAIMS, digest_of
from efface.runs.seal import write_seal
from support.command_line import CommandLine, cli
from support.report_runs import a_record, write_sealed

__all__ = ["cli"]

NOW = datetime(2027, 2, 3, 23, 30, tzinfo=UTC)
DIGESTS = [letter * 64 for letter in "abc"]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Two sets, a model of each, a child of the first that learnt the second too, and a request for three images."""
    made = Ledger.create(tmp_path / "ledger", actor="ada")
    with made.session() as session:
        people, scenes = (
            ImageSet(name=name, place=name, added=NOW, indexed=NOW, digest=name)
            for name in ("people", "scenes")
        )
        session.add_all([people, scenes])
        session.flush()
        for name, held in ((people, DIGESTS), (scenes, DIGESTS[2:])):
            session.add_all(
                SetImage(set_id=name.id, path=digest[:1], digest=digest, keyed=made.keyed(digest))
                for digest in held
            )
        first = add_version(session, "faces", [people])
        add_version(session, "faces-2", [scenes], parent=first)
        add_version(session, "empty", [])
        add_version(session, "old", [people], status="withdrawn")
    yield made
    made.engine.dispose()


def add_version(session, name, sets, parent=None, status="in-service") -> ModelVersion:
    version = ModelVersion(
        name=name, path=name, section="{}", weights=name, kind="generator", family="mae", parent_id=parent and parent.id,
        status=status, added=NOW, changed=NOW, sets=sets,
    )  # fmt: skip
    session.add(version)
    session.flush()
    return version


def add(ledger: Ledger, digests: list[str], state: State, how: str = "exact", **new: object) -> str:
    """A request for images of every set that holds them, brought into a state."""
    given = {"sender": "photos", "format": "photos", "received": NOW, "name": "Ana Núñez", "regime": "GDPR"}
    with ledger.session() as session:
        request, _ = add_request(ledger, session, NewRequest(digests=digests, **{**given, **new}), "ada")
        for image in session.query(SetImage).where(SetImage.digest.in_(digests)):
            located = LocatedImage(image_id=image.id, how=how, score=1.0, decision="confirmed")
            request.located.append(located)
        for step in PATHS[state]:
            move(
                session,
                request,
                step,
                "ada",
                "a reason" if step in (State.refused, State.needs_input) else None,
            )
        return request.id


PATHS = {
    State.received: [],
    State.located: [State.located],
    State.approved: [State.located, State.approved],
    State.done: [State.located, State.approved, State.in_work, State.done],
    State.not_found: [State.not_found],
    State.refused: [State.refused],
    State.withdrawn: [State.withdrawn],
    State.needs_input: [State.located, State.approved, State.in_work, State.needs_input],
}


def carry_out(
    ledger: Ledger,
    names: list[str],
    version: str,
    state: str = "done",
    verdict: Verdict | None = None,
    **record: object,
) -> Path:
    """A finished run for some requests on a model; the version that it made takes the place of the model."""
    with ledger.session() as session:
        before = session.query(ModelVersion).where(ModelVersion.name == version).one()
        requests = [request_named(session, name) for name in names]
        run = ledger.runs / f"{version}-{len(session.query(Work).all())}"
        made = None
        if state == "done":
            made = add_version(session, f"{version}-made", [], parent=before)
            before.status = "superseded"
        session.add(
            Work(
                version_id=before.id,
                run=str(run.relative_to(ledger.place)),
                state=state,
                begun=NOW,
                ended=NOW + timedelta(days=3),
                made=made,
                requests=requests,
            )
        )
    (run / "model").mkdir(parents=True)
    (run / "model" / "model.safetensors").write_text("weights")
    (run / "report.html").write_text("<p>a page")
    if verdict is not None:
        (run / "verdict.json").write_text(json_text(verdict.as_dict()))
    values = a_record(verdict=verdict and verdict.as_dict(), **record)
    values["model"]["after"]["files"] = {
        "model.safetensors": sha256_of_file(run / "model" / "model.safetensors")
    }
    write_sealed(run, values)
    write_seal(run, b"key", NOW.isoformat())
    return run


def held(ledger: Ledger, name: str) -> dict[str, tuple[int, int]]:
    with ledger.reading() as session:
        found = standings(session, request_named(session, name))
        return {one.version.name: (len(one.learnt), len(one.forgotten)) for one in found}


def test_a_version_holds_what_its_sets_and_parents_held_until_a_run_forgot_it(ledger: Ledger) -> None:
    name = add(ledger, DIGESTS, State.done)
    other = add(ledger, DIGESTS[:1], State.done, sender_id="other")
    assert held(ledger, name) == {"faces": (3, 0), "faces-2": (3, 0), "empty": (0, 0), "old": (3, 0)}
    carry_out(ledger, [other], "faces-2")
    assert held(ledger, name)["faces-2-made"] == (2, 1)
    carry_out(ledger, [name], "faces-2-made", state="not-met")
    assert held(ledger, name)["faces-2-made"] == (2, 1)
    with ledger.reading() as session:
        request = request_named(session, name)
        assert [one.version.name for one in affected(ledger.policy, session, request)] == [
            "faces",
            "faces-2-made",
        ]


def text_of(folder: str) -> str:
    return " ".join((Path(folder) / "letter.txt").read_text(encoding="utf-8").split())


EXACT = {"claim": {"level": "exact", "words": CLAIMS["exact"]}}


def test_a_request_that_was_carried_out_is_answered_once(ledger: Ledger) -> None:
    name = add(ledger, DIGESTS, State.done)
    for version in ("faces", "faces-2"):
        carry_out(ledger, [name], version, **EXACT)
    made = answer(ledger, name, "ada")
    text = text_of(made.folder)
    for said in (
        "Dear Ana Núñez,",
        "We located 3 images",
        "2 of our models had learnt from what we located. New versions have taken their places.",
        "“faces-made”, has its place",
        "It had learnt from 3 of these images. It is no longer in use",
        "never trained on these images: “empty”",
        "right to complain to a data protection authority",
    ):
        assert said in text
    assert made.final
    assert not answer(ledger, name, "ada").is_new
    with ledger.reading() as session:
        assert events.check_chain(session).number == made.head_number + 1
        assert session.get_one(Request, name).answered is not None
    assert answer(ledger, name, "ada", "fr").is_new
    assert json.loads((Path(made.folder) / "status.json").read_text())["state"] == "done"


def test_a_version_that_is_still_in_service_is_never_called_replaced(ledger: Ledger) -> None:
    name = add(ledger, DIGESTS, State.done)
    carry_out(ledger, [name], "faces", **EXACT)
    with pytest.raises(InputError, match="left as it was"):
        answer(ledger, name, "ada")


def test_a_run_whose_requirements_are_not_met_is_told_and_the_request_stays_open(ledger: Ledger) -> None:
    name = add(ledger, DIGESTS, State.needs_input, language="de")
    carry_out(ledger, [name], "faces", state="not-met")
    made = answer(ledger, name, "ada")
    text = text_of(made.folder)
    assert "Wir konnten Ihren Antrag noch nicht ganz ausführen." in text
    assert "noch unverändert im Einsatz" in text
    assert "an seiner Stelle" not in text
    assert not made.final


def test_what_a_failed_run_said_is_not_asked_of_the_person(ledger: Ledger) -> None:
    name = add(ledger, DIGESTS, State.needs_input)
    shutil.rmtree(carry_out(ledger, [name], "faces", state="failed"))
    text = text_of(answer(ledger, name, "ada").folder)
    assert "We have not yet been able to carry out your request entirely." in text
    assert "No new version of it has been made yet." in text
    assert "a reason" not in text
    asked = text_of(answer(ledger, add(ledger, ["f" * 64], State.needs_input), "ada").folder)
    assert "What we need: a reason" in asked


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (State.refused, "We do not carry out your request."),
        (State.withdrawn, "You took your request back"),
        (State.not_found, "We located none of the images"),
    ],
)
def test_ends_without_work_are_answered(ledger: Ledger, state: State, said: str) -> None:
    digests = ["f" * 64]
    made = answer(ledger, add(ledger, digests, state), "ada")
    assert said in text_of(made.folder)
    assert "None of our models was changed because of your request." in text_of(made.folder)
    assert made.final


def test_models_that_others_hold_are_told(ledger: Ledger) -> None:
    with ledger.session() as session:
        for version in session.query(ModelVersion):
            version.status = "not-ours"
    text = text_of(answer(ledger, add(ledger, DIGESTS, State.done, how="copy"), "ada").folder)
    assert "None of the models that we use has learnt from them" in text
    assert "Others hold it, and we cannot change it." in text


@pytest.mark.parametrize("state", [State.received, State.located, State.approved])
def test_what_is_not_at_its_end_is_not_answered(ledger: Ledger, state: State) -> None:
    name = add(ledger, DIGESTS, state)
    with pytest.raises(InputError, match="cannot be answered yet"):
        answer(ledger, name, "ada")
    assert list(ledger.answers.iterdir()) == []


@pytest.fixture
def archive(ledger: Ledger, tmp_path: Path) -> Path:
    """The evidence of a request that was carried out on two models."""
    name = add(ledger, DIGESTS, State.done)
    for version in ("faces", "faces-2"):
        carry_out(ledger, [name], version, **EXACT)
    answer(ledger, name, "ada")
    return export(ledger, name, tmp_path / "evidence.zip")


def test_an_archive_has_the_same_bytes_and_verifies_alone(
    ledger: Ledger, archive: Path, tmp_path: Path
) -> None:
    checks = verify_archive(archive)
    assert {check.outcome for check in checks} == {"matches"}
    add(ledger, DIGESTS[:1], State.refused, sender_id="other")
    again = export(ledger, "R-00001", tmp_path / "again.zip")
    assert again.read_bytes() == archive.read_bytes()
    names = set(zipfile.ZipFile(archive).namelist())
    assert {"archive.json", "events.json", "letter/1/letter.html", "runs/1/statement.json"} <= names
    held = b"".join(zipfile.ZipFile(archive).read(one) for one in names if not one.startswith("letter/"))
    assert b"Ana" not in held


def test_a_letter_that_was_erased_is_not_checked(ledger: Ledger, archive: Path, tmp_path: Path) -> None:
    shutil.rmtree(ledger.answers / "R-00001")
    checks = {
        check.what: check.outcome
        for check in verify_archive(export(ledger, "R-00001", tmp_path / "later.zip"))
    }
    assert checks["answer 1: letter.html"] == "not checked"
    assert "differs" not in checks.values()


def test_the_command_line_answers_hands_out_and_checks(
    ledger: Ledger, tmp_path: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EFFACE_LEDGER", str(ledger.place))
    name, out = add(ledger, ["f" * 64], State.not_found), tmp_path / "evidence.zip"
    assert cli("requests", "export", name).code == 2
    assert json.loads(cli("requests", "answer", name, "--language", "fr", "--json").out)["language"] == "fr"
    assert cli("requests", "answer", name, "--language", "it").code == 2
    assert cli("requests", "export", name, "--out", out).code == 0
    told = cli("requests", "verify", out)
    assert (told.code, "differs" in told.out) == (0, False)
    assert "only the ledger can show" in told.out

    swept = sweep(ledger, "ada", NOW + timedelta(days=10_000))
    assert swept.personal == 1
    assert not [path for path in ledger.answers.rglob("*") if path.is_file()]
    assert cli("requests", "verify", out).code == 0
    assert cli("requests", "export", name, "--out", out).code == 0
    told = cli("requests", "verify", out, "--json")
    assert told.code == 0
    assert "it was erased" in told.out
    checks = {check.what: check.outcome for check in verify_ledger(ledger)}
    assert (checks["chain of events"], checks["heads in answers"]) == ("matches", "matches")


def rewritten(archive: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(archive) as before:
        files = {name: before.read(name) for name in before.namelist()}
    change(files)
    with zipfile.ZipFile(archive, "w") as after:
        for name, data in files.items():
            after.writestr(name, data)
    return archive


def test_every_changed_file_of_an_archive_is_told(archive: Path, tmp_path: Path) -> None:
    names = zipfile.ZipFile(archive).namelist()
    for name in names:
        copy = shutil.copy(archive, tmp_path / "copy.zip")
        if name == "archive.json":
            rewritten(
                copy,
                lambda files: files.update({"archive.json": files["archive.json"].replace(b"done", b"open")}),
            )
        else:
            rewritten(copy, lambda files, name=name: files.update({name: files[name] + b" "}))
        assert any(not check.passed for check in verify_archive(copy)), name


def test_a_forged_letter_with_a_forged_list_is_told_by_the_events(archive: Path) -> None:
    def forge(files: dict[str, bytes]) -> None:
        files["letter/1/letter.txt"] = b"All is well."
        values = json.loads(files["archive.json"])
        values["files"]["letter/1/letter.txt"] = sha256_of_bytes(b"All is well.")
        files["archive.json"] = json.dumps(values | {"digest": digest_of(values)}).encode()

    differing = [check.what for check in verify_archive(rewritten(archive, forge)) if not check.passed]
    assert differing == ["answer 1: letter.txt"]


@pytest.mark.parametrize("name", ["../out", "/out", "a//b", "x" * 300])
def test_an_archive_with_a_name_that_leaves_it_is_refused(archive: Path, name: str) -> None:
    with pytest.raises(InputError, match="name that no such file has"):
        verify_archive(rewritten(archive, lambda files: files.update({name: b""})))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"PK")
    with pytest.raises(InputError, match="no archive that can be read"):
        verify_archive(path)
