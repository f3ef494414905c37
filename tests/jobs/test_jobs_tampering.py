"""Tampering: every file and every field of a finished run is changed in turn, and verification says so.

The second half makes every digest anew, as whoever may write the whole folder can: then the record has to contradict
itself, what the run remembered, or its files. What it cannot contradict is listed here.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

import efface
from efface.errors import InputError
from efface.evaluation.results import read_results, write_results
from efface.files import sha256_of_file
from efface.jobs.run import RunResult
from efface.reports.anew import check_texts
from efface.runs import contradictions as contradictions_module
from efface.runs.contradictions import contradictions
from efface.runs.folder import open_run
from efface.runs.record import Claim, SourceState, digest_of, parse_record, raw_record
from efface.runs.seal import read_seal
from efface.runs.stated import Stated, Unanswered
from efface.runs.verification import verify
from support.classifier_fixtures import Story

pytestmark = pytest.mark.usefixtures("opened_once")

KEPT_APART = {"run.key", "config.yaml"}
EMPTY = {".lock"}
UNDENIED = ("environment.", "results.files.", "config.sha256", "working_files.kept", "digest")
"""Fields that nothing else contradicts: digests, which verification computes anew, kept working files, for which it
looks, and the machine, which is only stated.
"""


@pytest.fixture(scope="module")
def evaluated(
    tmp_path_factory: pytest.TempPathFactory, tiny: Path, photos: Path, finished: RunResult
) -> RunResult:
    out = tmp_path_factory.mktemp("evaluated") / "run"
    return efface.evaluate(
        tiny, finished.model, images=photos, forget="label:cats", out=out, evaluation={"resamples": 200},
        probes=["membership"], require=["retain-error<=1.02x", "forget-error>=0.0001"],
    )  # fmt: skip


@pytest.fixture(params=["generator", "classifier", "training", "evaluation"])
def original(request: pytest.FixtureRequest, finished: RunResult, story: Story, evaluated: RunResult) -> Path:
    """A finished run of each sort; not to be changed."""
    runs = {
        "generator": finished,
        "classifier": story.unlearned,
        "training": story.retrained,
        "evaluation": evaluated,
    }
    return runs[request.param].run


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "run"))


def outcomes(run: Path) -> dict[str, str]:
    checks = verify(run, source_model=False)
    return {check.what: check.outcome for check in [*checks, *check_texts(run, checks)]}


def differing(run: Path) -> set[str]:
    return {what for what, outcome in outcomes(run).items() if outcome == "differs"}


def of_files(run: Path) -> dict[str, str]:
    """Without page and card made anew."""
    return {check.what: check.outcome for check in verify(run, source_model=False)}


def test_every_file_that_is_changed_or_gone_or_linked_is_named(run: Path, tmp_path: Path) -> None:
    assert differing(run) == set()
    names = sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    assert len(names) >= 10
    for name in names:
        path, kept = run / name, tmp_path / "kept"
        path.rename(kept)
        gone = of_files(run)
        path.symlink_to(kept)
        linked = of_files(run)
        path.unlink()
        path.write_bytes(kept.read_bytes() + b" ")
        changed = "differs" in of_files(run).values()
        kept.replace(path)
        assert linked.get(name) == "differs"
        expected = {"seal.json": "what seal.json says", "record.json": "what record.json says"}.get(
            name, name
        )
        if name not in EMPTY:
            assert gone[expected] == ("not checked" if name in KEPT_APART else "differs"), name
        assert changed if name not in ("seal.json", "run.key") else True, name
    assert differing(run) == set()


Place = tuple[str | int, ...]


def leaves(value: JsonValue, place: Place = ()) -> Iterator[Place]:
    """The places of all plain values, empty lists and empty sections."""
    inner = list(
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for name, part in inner:
        yield from leaves(part, (*place, name))
    if not inner:
        yield place


def other(value: JsonValue) -> JsonValue:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return type(value)(value * 2 + 1)
    if isinstance(value, str):
        return ("1" if value[0] == "0" else "0") + value[1:] if len(value) == 64 else value + "x"
    return [*value, "x"] if isinstance(value, list) else {"x": "x"} if isinstance(value, dict) else value


def edited(values: dict[str, JsonValue], place: Place) -> dict[str, JsonValue]:
    changed = copy.deepcopy(values)
    inner: JsonValue = changed
    for name in place[:-1]:
        inner = inner[name]  # type: ignore[index, call-overload]
    inner[place[-1]] = other(inner[place[-1]])  # type: ignore[index, call-overload]
    return changed


def test_every_changed_field_of_record_and_seal_is_named(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what else the field contradicts is the matter of the next test
    monkeypatch.setattr("efface.runs.verification.contradictions", lambda _: ())
    for name in ("record.json", "seal.json"):
        shutil.copy(original / name, tmp_path / name)
    for name in ("record.json", "seal.json"):
        values = json.loads((original / name).read_text())
        for place in leaves(values):
            changed = edited(values, place)
            if changed == values:
                continue
            (tmp_path / name).write_text(json.dumps(changed))
            try:
                named = {check.what for check in verify(tmp_path, source_model=False) if not check.passed}
                assert named & {f"{name} itself", f"what {name} says"}, place
            except InputError:
                assert place == ("schema",)
        shutil.copy(original / name, tmp_path / name)


def test_a_field_that_is_changed_with_all_digests_is_contradicted(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, config, seal = raw_record(original), open_run(original), read_seal(original)
    record = parse_record(original, values)
    unchanged = SourceState(commit=record.environment.source.commit, changed=False)
    monkeypatch.setattr(contradictions_module, "source_state", lambda: unchanged)
    values["environment"]["source"]["changed"] = False  # type: ignore[index, call-overload]
    undenied = set()
    for place in [(), *leaves(values)]:
        changed = edited(values, place) if place else values
        if place and changed == values:
            continue
        try:
            stated = Stated(original, parse_record(original, changed), seal, config, lambda _: True, None)
        except InputError:
            continue
        answers = dict(contradictions(stated))
        if not place:
            assert all(answer == [] for answer in answers.values()), answers
        elif not any(
            answer for what, answer in answers.items() if answer and not isinstance(answer, Unanswered)
        ):
            undenied.add(".".join(map(str, place)))
    assert {place for place in undenied if not place.startswith(UNDENIED)} == set()


def forge(run: Path, change: Callable[[dict[str, Any]], object] = lambda record: None) -> None:
    """Change the record, and make its digests, those in the page and the seal anew."""
    record = raw_record(run)
    old = str(record["digest"])
    change(record)
    record["digest"] = digest_of(record)
    (run / "record.json").write_text(json.dumps(record))
    page = run / "report.html"
    if page.exists():
        page.write_bytes(page.read_bytes().replace(old.encode(), str(record["digest"]).encode()))
    seal = read_seal(run)
    files = {name: sha256_of_file(run / name) for name in seal.files if (run / name).exists()}
    sealed = seal.model_copy(update={"files": files}).as_dict()
    (run / "seal.json").write_text(json.dumps({**sealed, "digest": digest_of(sealed)}))


def test_a_run_whose_digests_were_made_anew_matches(run: Path) -> None:
    forge(run)
    assert differing(run) == set()


@pytest.fixture
def unlearned(finished: RunResult, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.run, tmp_path / "run"))


def test_the_original_model_in_place_of_the_unlearned_one_is_contradicted(
    unlearned: Path, tiny: Path
) -> None:
    model = unlearned / "model" / "model.safetensors"
    shutil.copy(tiny / "model.safetensors", model)

    def change(record: dict[str, Any]) -> None:
        record["model"]["after"]["weights"] = record["model"]["before"]["weights"]
        record["model"]["after"]["files"]["model.safetensors"] = sha256_of_file(model)

    forge(unlearned, change)
    assert "the models in record.json" in differing(unlearned)


def test_an_empty_manifest_is_contradicted(unlearned: Path) -> None:
    manifest = unlearned / "manifests" / "forget.jsonl"
    manifest.write_text("")
    forge(
        unlearned, lambda record: record["images"]["sets"]["forget"].update(sha256=sha256_of_file(manifest))
    )
    assert {"the sets in record.json", "the figures of single images"} <= differing(unlearned)


def test_a_forget_set_that_is_gone_is_contradicted(unlearned: Path) -> None:
    (unlearned / "manifests" / "forget.jsonl").unlink()
    forge(unlearned, lambda record: record["images"]["sets"].pop("forget"))
    assert "the sets in record.json" in differing(unlearned)


def test_a_forget_image_among_the_retain_images_is_contradicted(unlearned: Path) -> None:
    forget, retain = (unlearned / "manifests" / f"{name}.jsonl" for name in ("forget", "retain"))
    lines = retain.read_text().splitlines(keepends=True)
    retain.write_text("".join([forget.read_text().splitlines(keepends=True)[0], *lines[1:]]))
    forge(unlearned, lambda record: record["images"]["sets"]["retain"].update(sha256=sha256_of_file(retain)))
    assert "the sets in record.json" in differing(unlearned)


@pytest.mark.parametrize("files", [["results.json"], ["results.csv"], ["results.json", "results.csv"]])
def test_figures_that_were_made_up_are_contradicted(unlearned: Path, files: list[str]) -> None:
    rows = read_results(unlearned)
    better = [replace(row, value=0.5, distance=None) if row.model == "unlearned" else row for row in rows]
    old = {name: (unlearned / name).read_bytes() for name in ("results.json", "results.csv")}
    write_results(unlearned, better)
    for name in old.keys() - set(files):
        (unlearned / name).write_bytes(old[name])
    digests = {name: sha256_of_file(unlearned / name) for name in old}
    forge(unlearned, lambda record: record["results"]["files"].update(digests))
    assert "the figures" in differing(unlearned)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda record: record["claim"].update(level="exact"), "the claim in record.json"),
        (lambda record: record.update(claim=Claim.of("exact").as_dict()), "the claim in record.json"),
        (lambda record: record.update(sources={}), "the sources in record.json"),
        (lambda record: record.update(finished="1999-01-01T00:00:00+00:00"), "the times in record.json"),
        (lambda record: record.update(started="soon"), "the times in record.json"),
        (lambda record: record.update(training=None), "the models in record.json"),
        (lambda record: record["request"].update(id="8"), "what was asked, in record.json"),
        (lambda record: record.update(limits=[]), "the words in record.json"),
    ],
)
def test_what_was_made_up_in_a_record_is_contradicted(
    unlearned: Path, change: Callable[[dict[str, Any]], object], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unchanged = SourceState(commit=None, changed=False)
    monkeypatch.setattr(contradictions_module, "source_state", lambda: unchanged)

    def changed(record: dict[str, Any]) -> None:
        record["environment"]["source"] = unchanged.as_dict()
        change(record)

    forge(unlearned, changed)
    assert named in differing(unlearned)


@pytest.mark.parametrize("part", ["preparation", "training", "removal"])
def test_what_a_run_remembered_cannot_be_left_out(unlearned: Path, part: str) -> None:
    state = json.loads((unlearned / "state.json").read_text())
    del state[part]
    (unlearned / "state.json").write_text(json.dumps(state))
    forge(unlearned)
    assert differing(unlearned) == {"what was done, in record.json"}


@pytest.mark.parametrize("content", [b"null", b"[" * 100_000, b"\xff\xfe", b'[{"id": 5}]'])
def test_no_content_of_any_file_ends_in_a_traceback(unlearned: Path, content: bytes) -> None:
    for name in sorted(read_seal(unlearned).files):
        kept = (unlearned / name).read_bytes()
        (unlearned / name).write_bytes(content)
        assert outcomes(unlearned)
        if name != "record.json" and not name.startswith("model/"):
            seal = (unlearned / "seal.json").read_bytes(), (unlearned / "record.json").read_bytes()
            forge(unlearned, lambda record, name=name: _relisted(record, unlearned, name))
            assert name == "log.jsonl" or differing(unlearned), name
            for place, data in zip(("seal.json", "record.json"), seal, strict=True):
                (unlearned / place).write_bytes(data)
        (unlearned / name).write_bytes(kept)


def _relisted(record: dict[str, Any], run: Path, name: str) -> None:
    if name in record["results"]["files"]:
        record["results"]["files"][name] = sha256_of_file(run / name)
    if name.startswith("manifests/"):
        record["images"]["sets"][Path(name).stem]["sha256"] = sha256_of_file(run / name)
