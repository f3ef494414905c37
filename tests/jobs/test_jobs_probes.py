"""Probes and requirements as a part of `unlearn` and `evaluate`: what is asked, kept, written, judged and recorded."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

import efface
from efface.errors import InputError, RunRefused, Stopped
from efface.evaluation.results import SetName
from efface.files import sha256_of_file
from efface.jobs.facts import method_facts
from efface.jobs.operations import Processes
from efface.jobs.run import RunResult, carry_out
from efface.methods.generator.fine_tune import FineTune
from efface.probes.base import Cost, FiguresByKind, Probe, judged
from efface.probes.findings import Curve, Findings, Hit
from efface.probes.generator_subject import GeneratorSubject
from efface.probes.registry import PROBES
from efface.reports.anew import check_texts
from efface.runs.evaluate_config import EvaluateConfig
from efface.runs.folder import read_key
from efface.runs.people import keyed_word
from efface.runs.requirements import Outcome
from efface.runs.results import FinishedRun
from efface.runs.unlearn_config import RunConfig
from efface.runs.verification import verify
from efface.training.phases import Keep, Phase
from support.run_making import SHORT, make_model, texts_of
from support.stand_ins import only

asked: list[str] = []
"""Names of the stand-in probes that ran, in order."""


class Darkness(Probe):
    """A stand-in without passes: the mean error on retain images, times a setting."""

    scale: float = 1.0
    name: ClassVar[str] = "darkness"
    question: ClassVar[str] = "how dark?"
    summary: ClassVar[str] = "dark"
    source: ClassVar[str] = "made up"
    figures: ClassVar[FiguresByKind] = {"generator": ("darkness",)}

    def run(self, subject: GeneratorSubject) -> Findings:
        asked.append(self.name)
        scores = {
            model: {"retain": self.scale * subject.answers(model, "retain").of_images("hole_mse")}
            for model in subject.models
        }
        figures = judged(self.name, "darkness", scores, lambda groups: groups["retain"].mean(), subject)
        first = subject.sets["forget"].ids[0]
        hits = (
            Hit(self.name, "darkness", "forget", "image", first, 2.0, None),
            Hit(self.name, "darkness", "retain", "class", "dogs", 1.5, None),
        )
        curve = Curve(self.name, "darkness", "unlearned", "steps", (0.0, 1.0), (0.5, float("inf")))
        return figures.join(Findings((), (curve,), hits, ("a note",)))


class Retraining(Darkness):
    """A stand-in that trains, and can be broken off or refuse."""

    name: ClassVar[str] = "retraining"
    figures: ClassVar[FiguresByKind] = {"generator": ("retraining-speed",)}
    cost: ClassVar[Cost] = "training"
    needs: ClassVar[tuple[SetName, ...]] = ("forget", "neutral")
    trouble: ClassVar[Exception | None] = None

    def run(self, subject: GeneratorSubject) -> Findings:
        asked.append(self.name)
        if self.trouble:
            raise self.trouble
        assert subject.training.steps == SHORT["training"]["steps"]
        return Findings(notes=(f"seed {subject.seed}",))


class Trigger(Darkness):
    """A stand-in that cannot be asked without a setting."""

    trigger: str
    name: ClassVar[str] = "trigger"
    figures: ClassVar[FiguresByKind] = {"generator": ("trigger",)}

    def run(self, subject: GeneratorSubject) -> Findings:
        if self.trigger.endswith("/absent.json"):
            raise InputError(f"{self.trigger} cannot be read")
        return super().run(subject)


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, PROBES, Darkness, Retraining, Trigger)
    asked.clear()


@pytest.fixture(scope="module")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "retrained", seed=1)


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, tiny: Path, photos: Path, retrained: Path
) -> Iterator[RunResult]:
    """Tests must not change it."""
    with pytest.MonkeyPatch.context() as patch:
        only(patch, PROBES, Darkness, Retraining, Trigger)
        yield unlearn(
            tiny, photos, tmp_path_factory.mktemp("runs") / "run", retrained=retrained, probes=["all"],
            require=["retain-error<=5x", "darkness<=-1", "forget-error<=1.1x"],
        )  # fmt: skip


def unlearn(tiny: Path, photos: Path, out: Path, **settings: Any) -> RunResult:
    sets = {"forget": "label:cats", "neutral": "label:birds", "images": photos}
    return efface.unlearn(tiny, out=out, **sets, **{**SHORT, **settings})


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def config_of(**values: Any) -> RunConfig:
    return RunConfig.from_values({"model": "m", "images": {"forget": ["cats"]}, **values})


def test_a_run_without_probes_is_as_it_was(finished: RunResult) -> None:
    assert not (finished.run / "probes.json").exists()
    assert not (finished.run / "requirements.json").exists()
    assert (finished.probes, finished.requirements) == (None, [])
    assert (finished.record.probes, finished.record.requirements, finished.record.substitute) == (
        [],
        None,
        None,
    )
    # a run from before there were such settings can be continued
    written = yaml.safe_load((finished.run / "config.yaml").read_text())
    assert not {"probes", "require", "substitute"} & set(written)
    assert "task_loss" not in (finished.run / "per_image.csv").read_text()


def test_findings_and_verdicts_are_written_and_given(run: RunResult) -> None:
    assert run.probes is not None
    figures = read(run.run / "probes.json")["figures"]
    assert [(one["figure"], one["model"]) for one in figures] == [
        ("darkness", "original"), ("darkness", "unlearned"), ("darkness", "retrained")
    ]  # fmt: skip
    row = next(r for r in run.rows if (r.model, r.set, r.metric) == ("unlearned", "retain", "hole_mse"))
    found = run.probes.find("darkness")
    assert found is not None
    assert found.value == pytest.approx(row.value)
    assert found.difference == pytest.approx(row.distance)
    assert run.probes.notes == ("a note", "seed 0")
    assert run.probes.curves[0].y[0] == 0.5
    assert math.isnan(run.probes.curves[0].y[1])
    assert [outcome.as_dict() for outcome in run.requirements] == read(run.run / "requirements.json")
    assert [outcome.state for outcome in run.requirements] == ["met", "not met", "not measurable"]
    assert run.requirements[1].value == found.difference
    assert "fewer than 5 photos" in run.requirements[2].words
    assert "task_loss" in (run.run / "per_image.csv").read_text().splitlines()[0]


def test_images_appear_by_keyed_id_and_classes_by_keyed_word(run: RunResult) -> None:
    image, label = read(run.run / "probes.json")["hits"]
    manifest = (run.run / "manifests" / "forget.jsonl").read_text().splitlines()
    assert image["name"] == json.loads(manifest[0])["id"]
    assert label["name"] == keyed_word(read_key(run.run), "dogs", "class")


def test_the_record_tells_and_binds_them(run: RunResult, tmp_path: Path) -> None:
    record = run.record
    assert [probe.name for probe in record.probes] == ["darkness", "retraining"]
    assert record.probes[0].settings == {"scale": 1.0}
    requirements = record.requirements
    assert [outcome.as_dict() for outcome in requirements.outcomes] == read(run.run / "requirements.json")
    assert requirements.summary.startswith(
        "Of the requirements set before the run, 1 of 3 is not met and 1 of 3"
    )
    assert "cannot be changed" in requirements.words
    assert record.durations.probes > 0
    assert {"probes.json", "requirements.json"} <= set(record.results.files)
    assert all(check.passed for check in verify(run.run))
    copy = shutil.copytree(run.run, tmp_path / "copy")
    text = (copy / "requirements.json").read_text()
    (copy / "requirements.json").write_text(text.replace("not met", "met"))
    (copy / "probes.json").unlink()
    failed = {check.what: check.outcome for check in verify(copy) if not check.passed}
    assert failed == {"probes.json": "differs", "requirements.json": "differs"}


def test_a_threshold_cannot_be_changed_afterwards(
    run: RunResult, tiny: Path, photos: Path, retrained: Path
) -> None:
    require = ["retain-error<=9x", "darkness<=-1", "forget-error<=1.1x"]
    with pytest.raises(RunRefused, match="retain-error<=9x"):
        unlearn(tiny, photos, run.run, retrained=retrained, probes=["all"], require=require)


def test_a_finished_run_still_gives_its_verdicts(
    run: RunResult, tiny: Path, photos: Path, retrained: Path
) -> None:
    require = ["retain-error<=5x", "darkness<=-1", "forget-error<=1.1x"]
    again = unlearn(tiny, photos, run.run, retrained=retrained, probes=["all"], require=require)
    assert (again.requirements, again.probes) == (run.requirements, run.probes)
    assert asked == []


def test_evaluating_again_asks_the_same(
    run: RunResult, tiny: Path, photos: Path, retrained: Path, tmp_path: Path
) -> None:
    result = efface.evaluate(
        tiny, run.model, retrained=retrained, forget="label:cats", neutral="label:birds", images=photos,
        out=tmp_path / "run", evaluation=SHORT["evaluation"], training=SHORT["training"], probes="all",
        require="retain-error<=5x",
    )  # fmt: skip
    assert result.probes is not None
    assert run.probes is not None
    assert result.probes.figures == run.probes.figures
    assert result.requirements == run.requirements[:1]
    assert result.record.requirements.summary == "The requirement is met."
    assert all(check.passed for check in verify(result.run))
    assert set(result.record.as_dict()) == set(run.record.as_dict())


def test_a_killed_run_does_not_ask_a_finished_probe_again(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"probes": ["darkness", "retraining"], "substitute": "the neutral images"}
    monkeypatch.setattr(Retraining, "trouble", Stopped("broken off"))
    with pytest.raises(Stopped, match="broken off"):
        unlearn(tiny, photos, tmp_path / "run", **settings)
    assert not (tmp_path / "run" / "probes.json").exists()
    monkeypatch.setattr(Retraining, "trouble", None)
    result = unlearn(tiny, photos, tmp_path / "run", **settings)
    assert asked == ["darkness", "retraining", "retraining"]
    assert result.probes is not None
    assert [(one.figure, one.reference) for one in result.probes.figures] == [
        ("darkness", None), ("darkness", "original")
    ]  # fmt: skip
    assert result.probes.curves[0].y[0] == 0.5
    assert result.record.working_files.kept == []
    assert result.record.substitute == "the neutral images"
    note = result.record.notes[-1]
    assert note.startswith("Declared in place of a retrained model: the neutral images. Not measurable")
    assert "the neutral images" in texts_of(result.run)["report.html"]


def test_a_kept_answer_to_another_question_is_not_taken(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr(Retraining, "trouble", Stopped("broken off"))

    def evaluate() -> Any:
        return efface.evaluate(
            tiny, forget="label:cats", neutral="label:birds", images=photos, out=out,
            evaluation=SHORT["evaluation"], training=SHORT["training"], probes=["darkness", "retraining"],
        )  # fmt: skip

    for _ in range(2):
        with pytest.raises(Stopped):
            evaluate()
    assert asked == ["darkness", "retraining", "retraining"]
    place = out / "work" / "probes" / "darkness.json"
    kept = json.loads(place.read_text())
    place.write_text(json.dumps(kept | {"key": "of other images"}))
    monkeypatch.setattr(Retraining, "trouble", None)
    evaluate()
    assert asked[3:] == ["darkness", "retraining"]


def test_a_probe_that_does_not_fit_costs_its_answer_and_not_the_run(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retraining, "trouble", InputError("the model is too small"))
    result = unlearn(tiny, photos, tmp_path / "run", require=["retraining-speed<=0.1", "retain-error<=1.0x"])
    assert asked == ["retraining"]
    assert result.probes is not None
    (finding,) = result.probes.figures
    assert (finding.value, finding.note) == (None, "not measurable: the model is too small")
    first, second = result.requirements
    assert (first.state, first.words.endswith("the model is too small.")) == ("not measurable", True)
    assert (second.state, second.words.endswith("retrain instead.")) == ("not met", True)
    assert result.record.requirements.summary.endswith("retrain instead.")
    assert "No retrained model and no substitute" in result.record.notes[-1]


def test_a_probe_that_trains_is_left_to_a_job_of_one_process(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Processes, "count", 2)
    monkeypatch.setattr(Processes, "sharing", None)  # there is no second one to do its part
    result = unlearn(tiny, photos, tmp_path / "run", probes="all")
    assert asked == ["darkness"]
    assert result.probes is not None
    finding = result.probes.find("retraining-speed")
    assert finding is not None
    assert finding.note is not None
    assert "this run has several processes" in finding.note


def test_the_record_names_no_place_that_a_setting_names(tiny: Path, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "secret.json"
    file.write_text("{}")
    for number, (place, shown) in enumerate(
        [(str(file), f"sha256:{sha256_of_file(file)}"), ("far/away", "(a place)"), ("plain", "plain")]
    ):
        trigger = {"name": "trigger", "trigger": place}
        result = efface.evaluate(
            tiny, forget="label:cats", images=photos, out=tmp_path / f"run-{number}", probes=[trigger],
            evaluation=SHORT["evaluation"],
        )  # fmt: skip
        assert result.record.probes[0].settings == {"scale": 1.0, "trigger": shown}


def test_a_model_that_was_retrained_is_not_advised_to_be(tiny: Path, photos: Path, tmp_path: Path) -> None:
    result = unlearn(tiny, photos, tmp_path / "run", method="retrain", require=["retain-error<=0.01x"])
    (outcome,) = result.requirements
    assert (outcome.state, "retrain" in outcome.words) == ("not met", False)


def test_probes_are_named_singly_in_groups_or_by_what_is_required() -> None:
    def names(**values: Any) -> list[str]:
        return [probe.name for probe in config_of(**values).probes]

    assert names() == []
    assert names(probes="darkness") == ["darkness"]
    assert names(probes=["all"]) == ["darkness", "retraining"]
    assert names(probes=["cheap"]) == ["darkness"]
    assert names(require=["retraining-speed<=1"], probes=["darkness"]) == ["darkness", "retraining"]
    config = config_of(probes=["all", {"name": "darkness", "scale": 3}, {"name": "trigger", "trigger": "x"}])
    assert config.as_dict()["probes"] == [
        {"name": "darkness", "scale": 3.0},
        {"name": "retraining", "scale": 1.0},
        {"name": "trigger", "scale": 1.0, "trigger": "x"},
    ]
    assert RunConfig.from_values(config.as_dict()) == config
    assert RunConfig.from_values(config.as_dict()).digest() == config.digest()
    assert (
        config_of(require=["retain-error<=1x"]).digest() != config_of(require=["retain-error<=2x"]).digest()
    )


def test_requirements_and_a_substitute_that_make_no_sense_are_refused() -> None:
    assert config_of(require="retain-error<=1.02x").require == ("retain-error<=1.02x",)
    assert config_of(require=["retain-error<=1.02x", " retain-error <= 1.02X"]).require == (
        "retain-error<=1.02x",
    )
    for values, said in (
        ({"require": ["darkness<=0.1", "darkness>=0.2"]}, "darkness>=0.2 and darkness<=0.1 cannot both hold"),
        ({"substitute": "  "}, "substitute: say in words"),
        ({"substitute": "neutral images", "retrained": "r"}, "leave out one of the two"),
        ({"probes": ["cheep"]}, "did you mean 'cheap'"),
        ({"probes": ["trigger"]}, "trigger: trigger: it is needed"),
    ):
        with pytest.raises(InputError, match=said):
            config_of(**values)


def test_a_page_that_shows_foreign_verdicts_says_so(finished: RunResult, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(finished.run, tmp_path / "run"))
    outcome = Outcome("retain-error<=1.02x", "met", 1.0, 1.0, 1.0, 1.02, "All is well.")
    (copied / "requirements.json").write_text(json.dumps([outcome.as_dict()]))
    assert FinishedRun.read(copied).mismatches == ["requirements.json"]
    assert FinishedRun.read(finished.run).mismatches == []


def test_limits_speak_of_the_probes_that_were_asked(finished: RunResult, run: RunResult) -> None:
    assert any("under one corruption" in limit for limit in finished.record.limits)
    assert not any("under one corruption" in limit for limit in run.record.limits)
    assert any("what the probes named here found" in limit for limit in run.record.limits)


def test_a_probe_without_an_answer_names_no_place(tiny: Path, photos: Path, tmp_path: Path) -> None:
    result = efface.evaluate(
        tiny, tiny, forget="label:cats", images=photos, out=tmp_path / "run",
        probes=[{"name": "trigger", "trigger": "/home/me/absent.json"}], evaluation=SHORT["evaluation"],
    )  # fmt: skip
    for name in ("probes.json", "report.html", "record.json"):
        assert "home/me" not in (result.run / name).read_text(encoding="utf-8")
    assert "(a place) cannot be read" in (result.run / "probes.json").read_text(encoding="utf-8")


def test_a_record_names_no_place_that_a_method_was_given() -> None:
    method = {"name": "unseen", "stand_in": "early", "path": "far/away/early-model"}
    facts = method_facts(config_of(method=method), "mae")
    assert facts.settings["path"] == "(a place)"
    assert facts.settings["stand_in"] == "early"


def test_all_faults_are_named_before_anything_runs(tiny: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        unlearn(
            tiny, photos, tmp_path / "run", seed="x", probes=["darknes", {"name": "darkness", "scal": 2}, 3],
            require=["retain-eror<=1", "retain-error=1"],
        )  # fmt: skip
    text = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 5, text
    for said in (
        "did you mean 'darkness'",
        "did you mean 'scale'",
        "probes.2: give a name",
        "did you mean 'retain-error'",
        "requirement 'retain-error=1': write it as",
        "seed: ",
    ):
        assert said in text
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="given twice"):
        config_of(probes=["darkness", {"name": "darkness", "scale": 2}])
    with pytest.raises(InputError, match="trigger: it is needed"):
        config_of(require=["trigger<=0.1"])


def test_a_plan_foresees_what_cannot_be_measured(tiny: Path, photos: Path) -> None:
    found = efface.plan(
        tiny, forget="label:cats", neutral="label:birds", images=photos, probes="darkness",
        require=["darkness<=0.05", "retain-error<=1.02x", "neutral-error<=1.02x"], **SHORT,
    )  # fmt: skip
    assert found.faults == []
    foreseen = [risk for risk in found.risks if risk.startswith("requirement")]
    assert [line.split()[1] for line in foreseen] == ["darkness<=0.05", "neutral-error<=1.02x"]
    assert "probe darkness: no further passes, not in the estimate" in found.notes
    assert any("no substitute reference was given" in note for note in found.notes)
    assert asked == []


def test_an_evaluation_without_a_config_of_training_has_the_usual_one() -> None:
    values = {"original": "a", "images": {"forget": ["cats"]}}
    config = EvaluateConfig.from_values(values)
    assert "training" not in config.as_dict()
    assert EvaluateConfig.from_values({**values, "training": {"batch_size": 8}}).as_dict()["training"]


class Keeping(FineTune):
    """Fine-tuning that keeps the model before and after."""

    def phases(self) -> list[Phase]:
        return [Keep("before"), *super().phases(), Keep("after")]


def test_further_models_are_saved_recorded_and_verified(tiny: Path, photos: Path, tmp_path: Path) -> None:
    images = {"images": str(photos), "forget": ("label:cats",)}
    values = {"model": str(tiny), "images": images, "method": "fine-tune", **SHORT}
    config = RunConfig.from_values(values).model_copy(update={"method": Keeping()})
    result = carry_out(config, tmp_path / "run")
    path = result.record.model.path
    assert list(path) == ["before", "after"]
    assert path["before"].weights == result.record.model.before.weights
    assert path["after"].weights == result.record.model.after.weights
    opened = efface.load(result.run / "path" / "after")
    assert opened.weights_digest() == path["after"].weights
    checked = {check.what for check in verify(result.run)}
    assert {f"path/before/{name}" for name in path["before"].files} <= checked
    assert all(check.passed for check in verify(result.run))
    card = (result.run / "path" / "after" / "README.md").read_text()
    assert f"weights: `{path['after'].weights}`" in card
    assert "not the model that it delivered" in card
    assert {check.outcome for check in check_texts(result.run, verify(result.run))} == {"matches"}
    (result.run / "path" / "after" / "README.md").write_text(card.replace("forget", "keep"))
    differing = [check.what for check in verify(result.run) if not check.passed]
    assert differing == ["path/after/README.md"]
    (result.run / "path" / "after" / "README.md").write_text(card)
    (result.run / "path" / "after" / "config.json").write_text("{}")
    assert [check.what for check in verify(result.run) if not check.passed] == ["path/after/config.json"]
