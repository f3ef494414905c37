"""`--probe` and `--require`: what is printed, as a table and as JSON, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest

from efface.probes.base import FiguresByKind, Probe, judged
from efface.probes.findings import Findings
from efface.probes.generator_subject import GeneratorSubject
from efface.probes.registry import PROBES
from efface.runs.record import read_record
from support.classifier_fixtures import Story
from support.run_fixtures import CommandLine
from support.run_making import SHORT_OPTIONS, make_model
from support.stand_ins import only


class Darkness(Probe):
    """A stand-in: the mean error on retain images, times a setting."""

    scale: float = 1.0
    name: ClassVar[str] = "darkness"
    question: ClassVar[str] = "how dark?"
    summary: ClassVar[str] = "dark"
    source: ClassVar[str] = "made up"
    figures: ClassVar[FiguresByKind] = {"generator": ("darkness",)}

    def run(self, subject: GeneratorSubject) -> Findings:
        scores = {
            model: {"retain": subject.answers(model, "retain").of_images("hole_mse")}
            for model in subject.models
        }
        return judged(self.name, "darkness", scores, lambda groups: groups["retain"].mean(), subject)


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, PROBES, Darkness)


@pytest.fixture
def command(tiny: Path, photos: Path, tmp_path: Path) -> list[object]:
    sets = ["--images", photos, "--forget", "label:cats"]
    return ["unlearn", tiny, *sets, "--out", tmp_path / "run", *SHORT_OPTIONS]


def test_a_requirement_that_is_met_is_said_and_the_command_succeeds(
    cli: CommandLine, command: list[object]
) -> None:
    outcome = cli(*command, "--require", "retain-error<=50x", "--require", "retain-similarity>=-0.9")
    assert outcome.code == 0, outcome.err
    assert "MET  retain-error<=50x  Retain-error of the unlearned model over" in outcome.out
    met, gone = outcome.out.splitlines()[-2:]
    assert met == "All 2 requirements are met."
    assert gone.startswith("Is it gone? Cannot be told. No retrained model")


def test_one_that_is_not_met_or_not_measurable_ends_in_code_6_with_all_files_there(
    cli: CommandLine, command: list[object], tmp_path: Path
) -> None:
    more = ("--require", "retain-error<=0.01x", "--require", "darkness<=0.1")
    outcome = cli(*command, *more)
    assert outcome.code == 6
    assert "NOT MET  retain-error<=0.01x" in outcome.out
    assert "NOT MEASURABLE  darkness<=0.1" in outcome.out
    assert "darkness" in outcome.out.split("NOT MET")[0]
    assert outcome.err.splitlines()[-1] == (
        "efface: Of the requirements set before the run, 1 of 2 is not met and 1 of 2 is not measurable. "
        "Advice: retrain instead. The run itself is complete."
    )
    assert {"record.json", "report.html", "probes.json", "requirements.json"} <= {
        path.name for path in (tmp_path / "run").iterdir()
    }
    assert cli("verify", tmp_path / "run").code == 0
    # the same command on the finished run says the same
    again = cli(*command, *more)
    assert (again.code, again.out) == (6, outcome.out)


def test_a_verdict_may_be_required_in_unlearn_and_evaluate_by_option_and_by_file(
    cli: CommandLine, command: list[object], tmp_path: Path
) -> None:
    (tmp_path / "require.json").write_text(json.dumps({"require": ["verdict=yes", "retain-error<=50x"]}))
    outcome = cli(*command, "--config", tmp_path / "require.json")
    assert outcome.code == 6, outcome.err
    assert "NOT MEASURABLE  verdict=yes" in outcome.out
    assert "MET  retain-error<=50x" in outcome.out
    models = {name: make_model(tmp_path / name, seed) for seed, name in enumerate(("one", "two"), 1)}
    asked = ["evaluate", tmp_path / "run", "--retrained", models["one"], "--yardstick", models["two"]]
    outcome = cli(*asked, "--out", tmp_path / "asked", "--require", "verdict=yes", "--json")
    assert outcome.code == 6, outcome.err
    assert read_record(tmp_path / "asked").yardstick is not None
    (required,) = json.loads(outcome.out)["requirements"]
    assert (required["requirement"], required["state"]) == ("verdict=yes", "not measurable")
    other = cli(*asked, "--out", tmp_path / "other", "--config", tmp_path / "require.json")
    assert other.code == 6, other.err


def test_json_holds_verdicts_and_findings(cli: CommandLine, command: list[object], tmp_path: Path) -> None:
    outcome = cli(*command, "--probe", "all", "--require", "retain-error<=0.01x", "--json")
    assert outcome.code == 6
    printed = json.loads(outcome.out)
    assert printed["requirements"] == json.loads((tmp_path / "run" / "requirements.json").read_text())
    assert printed["requirements"][0]["state"] == "not met"
    assert [one["model"] for one in printed["probes"]["figures"]] == ["original", "unlearned"]


def test_evaluating_a_run_keeps_its_requirements_unless_others_are_given(
    cli: CommandLine, command: list[object], tmp_path: Path
) -> None:
    setting = ("--set", "probes=[{name: darkness, scale: 2}]", "--substitute", "unseen photos")
    assert cli(*command, "--require", "retain-error<=0.01x", *setting).code == 6
    first = read_record(tmp_path / "run")
    assert cli("evaluate", tmp_path / "run", "--out", tmp_path / "same").code == 6
    same = read_record(tmp_path / "same")
    assert same.requirements == first.requirements
    assert same.probes == first.probes
    assert same.probes[0].settings == {"scale": 2.0}
    assert same.substitute == "unseen photos"
    outcome = cli("evaluate", tmp_path / "run", "--out", tmp_path / "other", "--require", "retain-error<=50x")
    assert outcome.code == 0, outcome.err
    assert [verdict.requirement for verdict in read_record(tmp_path / "other").requirements.outcomes] == [
        "retain-error<=50x"
    ]


def test_a_retrained_model_takes_the_place_of_what_was_declared(
    cli: CommandLine, command: list[object], tmp_path: Path
) -> None:
    assert cli(*command, "--substitute", "unseen photos").code == 0
    again = ("evaluate", tmp_path / "run", "--retrained", make_model(tmp_path / "other", seed=1), "--out")
    assert cli(*again, tmp_path / "asked").code == 0
    assert read_record(tmp_path / "asked").substitute is None
    refused = cli(*again, tmp_path / "both", "--substitute", "unseen photos")
    assert refused.code == 2
    assert "leave out one of the two" in refused.err
    assert not (tmp_path / "both").exists()


def test_faults_are_named_by_plan_and_unlearn_alike(
    cli: CommandLine, command: list[object], tiny: Path, photos: Path, tmp_path: Path
) -> None:
    more = ("--require", "retain-eror<=1", "--probe", "darknes")
    for outcome in (
        cli(*command, *more),
        cli("plan", tiny, "--images", photos, "--forget", "label:cats", *more),
    ):
        assert outcome.code == 2
        assert "did you mean 'retain-error'" in outcome.err
        assert "did you mean 'darkness'" in outcome.err
    assert not (tmp_path / "run").exists()


def test_a_classifier_is_asked_for_figures_of_its_own(cli: CommandLine, story: Story, tmp_path: Path) -> None:
    outcome = cli(
        "unlearn", story.original.model, "--forget", tmp_path, "--out", tmp_path / "run",
        "--require", "retain-error<=1x",
    )  # fmt: skip
    assert outcome.code == 2
    assert "unknown figure 'retain-error'" in outcome.err
    assert not (tmp_path / "run").exists()


def test_probes_are_listed_with_their_figures(cli: CommandLine) -> None:
    outcome = cli("list", "probes")
    assert outcome.out == "darkness  how dark?  [of generators: darkness]  [costs nothing]\n"
    (row,) = json.loads(cli("list", "probes", "--json").out)
    assert row["name"] == "darkness"
    assert "probes[darkness].scale" in cli("list", "settings").out
