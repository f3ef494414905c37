"""Requirements: read, refused, and judged at the end of the interval that is farther from the bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from efface.errors import InputError
from efface.evaluation.protocol import Evaluation
from efface.evaluation.results import SetName
from efface.evaluation.settings import EvaluationSettings
from efface.evaluation.verdict import Word
from efface.images.items import ImageSet
from efface.probes.base import FiguresByKind, Probe
from efface.probes.findings import Finding, Findings, Goal
from efface.probes.generator_subject import GeneratorSubject
from efface.probes.registry import PROBES
from efface.runs.requirements import (
    Outcome,
    Requirement,
    contradictions,
    foreseen,
    judge,
    probes_for,
    requirable,
    summary,
)
from support.known_models import KnownModel, NothingHidden, Pixels, image_set, measured
from support.stand_ins import only

SETTINGS = EvaluationSettings(resamples=500)
RETAIN = [f"r{number}" for number in range(12)]
FORGET = [f"f{number}" for number in range(8)]
SETS: dict[SetName, ImageSet] = {"forget": image_set(FORGET), "retain": image_set(RETAIN)}


class Likeness(Probe):
    """A stand-in: how like, and how unlike."""

    name: ClassVar[str] = "likeness"
    question: ClassVar[str] = "how like?"
    summary: ClassVar[str] = "like"
    source: ClassVar[str] = "made up"
    figures: ClassVar[FiguresByKind] = {"generator": ("likeness", "likeness-unlike")}

    def run(self, subject: GeneratorSubject) -> Findings:
        return Findings()


class Damage(Likeness):
    """A stand-in that needs no forget images."""

    name: ClassVar[str] = "damage"
    figures: ClassVar[FiguresByKind] = {"generator": ("worst-damage",)}
    needs: ClassVar[tuple[SetName, ...]] = ()


class Closer(Likeness):
    """A stand-in whose figures are wanted on one side."""

    name: ClassVar[str] = "closer"
    figures: ClassVar[FiguresByKind] = {"generator": ("closer", "copies")}
    goals: ClassVar[Mapping[str, Goal]] = {"closer": "above", "copies": "low"}


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, PROBES, Likeness, Damage, Closer)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    """Squared errors of the unlearned model: 1.21 times the original's on retain, 0.81 times on forget images."""
    everything = FORGET + RETAIN
    base = {id_: 0.02 + 0.002 * place for place, id_ in enumerate(everything)}
    unlearned = {id_: base[id_] * (1.1 if id_ in RETAIN else 0.9) for id_ in everything}
    models = {
        "original": KnownModel(base),
        "unlearned": KnownModel(unlearned),
        "retrained": KnownModel(base),
    }
    return measured(models, SETS, cache=grey(everything))  # type: ignore[arg-type]


def grey(ids: list[str]) -> Pixels:
    """A grey of its own for each image, far from black and white."""
    return Pixels({id_: np.full((16, 16, 3), 80 + place, np.uint8) for place, id_ in enumerate(ids)})


def outcome_of(text: str, evaluation: Evaluation, findings: Findings | None = None, **how: bool) -> Outcome:
    (outcome,) = judge([text], "generator", evaluation, SETS, findings or Findings(), SETTINGS, **how)
    return outcome


def found(**values: object) -> Findings:
    """One finding of the likeness of the unlearned model."""
    before: dict[str, object] = {
        "value": 0.7, "reference": "retrained", "difference": 0.03, "difference_low": 0.01, "difference_high": 0.049
    }  # fmt: skip
    return Findings((Finding("likeness", "likeness", "unlearned", **{**before, **values}),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "plain", "threshold", "ratio"),
    [
        (" Retain-Error <= 1.02X ", "retain-error<=1.02x", 1.02, True),
        ("likeness<=.05", "likeness<=.05", 0.05, False),
        ("forget-similarity>=-1e-2", "forget-similarity>=-1e-2", -0.01, False),
    ],
)
def test_requirements_are_read(text: str, plain: str, threshold: float, ratio: bool) -> None:
    read = Requirement.parse(text, "generator")
    assert (read.text, read.threshold, read.ratio) == (plain, threshold, ratio)
    assert Requirement.parse(read.text, "generator") == read
    assert read.at_most == ("<=" in text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("retain-error<1.02", "write it as NAME<=VALUE or NAME>=VALUE"),
        ("retain-error<=1.02y", "write it as"),
        ("retain-error<=", "write it as"),
        ("retain-eror<=1.02x", "did you mean 'retain-error'"),
        ("likenes<=0.05", "did you mean 'likeness'"),
        ("retain-psnr<=1.02x", "leave out the x"),
        ("likeness<=1.02x", "leave out the x"),
        ("retain-error<=0x", "a ratio is above 0"),
        ("retain-error<=1.02", "a ratio has an x behind its value, for example retain-error<=1.02x"),
        ("neutral-error>=0", "between 0 and 1, so this bound says nothing"),
        ("retain-psnr>=120", "between 0 and 100, so this bound cannot be kept"),
        ("closer<=0.05", "a bound from the wrong side; write it as closer>=0"),
        ("copies>=0.05", "a bound from the wrong side; write it as copies<=0.05"),
        ("closer", "requirement 'closer': write it as closer>=0"),
        ("likeness", "write it as NAME<=VALUE or NAME>=VALUE"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_way_out(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        Requirement.parse(text, "generator")
    assert said in str(caught.value)
    assert text in str(caught.value)


def test_bounds_that_no_value_can_keep_are_named_and_bands_are_not() -> None:
    band = ["forget-error>=0.9x", "forget-error<=1.1x", "retain-error>=0.9x"]
    assert contradictions(band, "generator") == []
    # of the same figure an absolute bound and a ratio are two things
    assert contradictions([*band, "forget-error<=0.5"], "generator") == []
    assert contradictions([*band, "retain-error<=0.8x"], "generator") == [
        "retain-error>=0.9x and retain-error<=0.8x cannot both hold"
    ]


def test_a_probes_figure_names_the_probe_that_gives_it() -> None:
    assert probes_for(["likeness-unlike<=0", "retain-error<=1x", "likeness<=1"], "generator") == ["likeness"]
    assert {"likeness", "likeness-unlike", "worst-damage", "neutral-kernel"} <= set(requirable("generator"))


def test_retain_figures_are_ratios_to_the_original_and_forget_figures_to_the_retrained(
    evaluation: Evaluation,
) -> None:
    retain = outcome_of("retain-error<=1.25x", evaluation)
    assert retain.value == pytest.approx(1.21, rel=1e-3)
    forget = outcome_of("forget-error>=0.8x", evaluation)
    assert forget.value == pytest.approx(0.81, rel=1e-3)
    assert (retain.state, forget.state) == ("met", "met")
    assert "over that of the original model" in retain.words
    assert "over that of the retrained model" in forget.words


def test_without_the_x_a_row_is_judged_as_it_stands(evaluation: Evaluation) -> None:
    row = next(
        r for r in evaluation.rows if (r.model, r.set, r.metric) == ("unlearned", "retain", "hole_mse")
    )
    outcome = outcome_of("retain-error<=0.99", evaluation)
    assert (outcome.value, outcome.low, outcome.high) == (row.value, row.low, row.high)
    assert outcome.state == "met"
    assert outcome_of(f"retain-error<={row.value}", evaluation).state == "not met"
    assert outcome_of(f"retain-error>={row.low}", evaluation).state == "met"


def test_a_value_beyond_the_bound_and_an_interval_beyond_it_are_told_apart(evaluation: Evaluation) -> None:
    violated = outcome_of("retain-error<=0.0001", evaluation)
    row = outcome_of("retain-error<=0.99", evaluation)
    assert row.value is not None
    assert row.high is not None
    reaches = outcome_of(f"retain-error<={(row.value + row.high) / 2:.8f}", evaluation)
    assert (violated.state, reaches.state) == ("not met", "not met")
    assert "the value itself is not at most" in violated.words
    assert "its interval reaches beyond" in reaches.words
    assert "the value itself" not in reaches.words


@pytest.mark.parametrize(
    ("values", "text", "state"),
    [
        ({}, "likeness<=0.05", "met"),
        ({}, "likeness<=0.045", "not met"),
        ({}, "likeness>=0.005", "met"),
        ({}, "likeness>=0.02", "not met"),
        ({"difference": -0.4, "difference_low": -0.5, "difference_high": -0.3}, "likeness<=0.05", "met"),
        ({"difference_high": None}, "likeness<=0.05", "not measurable"),
        ({"difference_high": float("nan")}, "likeness<=0.05", "not measurable"),
        ({"value": None, "note": "not measurable: too dark"}, "likeness<=0.05", "not measurable"),
        ({"difference": None, "reference": None}, "likeness<=0.05", "not measurable"),
        ({"reference": "original"}, "likeness<=0.05", "not measurable"),
    ],
)
def test_of_a_probe_the_difference_to_the_retrained_model_is_judged(
    evaluation: Evaluation, values: dict[str, object], text: str, state: str
) -> None:
    assert outcome_of(text, evaluation, found(**values)).state == state


@pytest.mark.parametrize(
    ("word", "text", "state"),
    [
        ("yes", "verdict=yes", "met"),
        ("beyond", "verdict=yes", "not met"),
        ("beyond", " Verdict = beyond|YES ", "met"),
        ("ruined", "verdict=yes|beyond|partly|no", "not met"),
        ("cannot be told", "verdict=no", "not measurable"),
        (None, "verdict=no", "not measurable"),
    ],
)
def test_of_the_verdict_its_word_is_judged(word: Word | None, text: str, state: str) -> None:
    given = None if word is None else SimpleNamespace(word=word, title=word)
    (outcome,) = judge(
        [text],
        "generator",
        Evaluation([], [], {}),
        SETS,
        Findings(),
        SETTINGS,
        verdict=given,  # type: ignore[arg-type]
    )
    assert (outcome.state, outcome.value, outcome.threshold) == (state, None, None)


def test_words_of_the_verdict_are_read_in_one_order_and_exclude_each_other() -> None:
    read = Requirement.parse("verdict=beyond|yes|yes", "classifier")
    assert read.text == "verdict=yes|beyond"
    assert Requirement.parse(read.text, "classifier") == read
    for wrong in ("verdict", "verdict>=yes", "verdict=ruined", "verdict=yes|maybe", "verdict="):
        with pytest.raises(InputError, match="write it as verdict=yes"):
            Requirement.parse(wrong, "generator")
    assert contradictions(["verdict=no", "verdict=yes|partly"], "generator") == [
        "verdict=no and verdict=yes|partly cannot both hold"
    ]
    assert not contradictions(["verdict=yes", "verdict=yes|partly"], "generator")
    said = foreseen(["verdict=yes"], "generator", {"forget": 9}, retrained=False)
    assert said == [
        "requirement verdict=yes will not be measurable: there is no retrained model to compare with (--retrained)"
    ]


def test_a_note_of_the_probe_is_the_reason(evaluation: Evaluation) -> None:
    outcome = outcome_of("likeness<=1", evaluation, found(value=None, note="not measurable: too dark"))
    assert outcome.words.endswith("cannot be judged: too dark.")
    plain = outcome_of("likeness<=1", evaluation, found(difference_high=None, note="one view"))
    assert plain.words.endswith("cannot be judged: no interval (one view).")
    assert "no such figure" in outcome_of("likeness<=1", evaluation).words


def test_what_needs_no_forget_images_may_stand_beside_the_original(evaluation: Evaluation) -> None:
    (likeness,) = found(reference="original").figures
    damage = Findings((replace(likeness, probe="damage", figure="worst-damage"),))
    outcome = outcome_of("worst-damage<=0.05", evaluation, damage)
    assert outcome.state == "met"
    assert "less that of the original model" in outcome.words


def test_without_a_retrained_model_a_forget_ratio_cannot_be_judged(evaluation: Evaluation) -> None:
    alone = Evaluation(
        evaluation.rows, [], {key: v for key, v in evaluation.per_image.items() if key[0] != "retrained"}
    )
    outcome = outcome_of("forget-error>=0.8x", alone)
    assert (outcome.state, outcome.value) == ("not measurable", None)
    assert "there is no retrained model" in outcome.words
    assert outcome_of("retain-error<=1.25x", alone).state == "met"
    neutral = outcome_of("neutral-error<=1.02x", alone)
    assert (neutral.state, "there are no neutral images" in neutral.words) == ("not measurable", True)


def test_few_images_and_no_region_are_not_measurable() -> None:
    few: dict[str, ImageSet] = {"forget": image_set(FORGET[:3]), "retain": image_set(RETAIN[:4])}
    models = {"original": KnownModel(0.1), "unlearned": KnownModel(0.1)}
    small = measured(models, few)
    for text in ("retain-error<=1.02x", "retain-error<=0.99"):
        (outcome,) = judge([text], "generator", small, few, Findings(), SETTINGS)  # type: ignore[arg-type]
        assert (outcome.state, "fewer than 5 photos" in outcome.words) == ("not measurable", True)
    shown = measured(models, SETS, NothingHidden(), grey(FORGET + RETAIN))  # type: ignore[arg-type]
    for text in ("retain-error<=1.02x", "retain-error<=0.99"):
        assert "leaves no region" in outcome_of(text, shown).words
    assert outcome_of("retain-similarity>=0.5x", shown).state == "met"


def test_advice_to_retrain_is_given_where_quality_or_forgetting_fails(evaluation: Evaluation) -> None:
    failed = outcome_of("retain-error<=1.02x", evaluation)
    assert failed.words.endswith("; retrain instead.")
    met = outcome_of("retain-error<=1.25x", evaluation)
    assert summary([met]) == "The requirement is met."
    assert summary([met, met]) == "All 2 requirements are met."
    assert summary([met, failed]) == (
        "Of the requirements set before the run, 1 of 2 is not met. Advice: retrain instead."
    )
    assert "retrain" not in outcome_of("retain-error<=1.02x", evaluation, advise=False).words
    other = outcome_of("likeness<=0.01", evaluation, found())
    assert (other.state, "retrain instead" in other.words) == ("not met", False)
    missing = outcome_of("likeness<=0.01", evaluation)
    assert summary([missing, other]).endswith("1 of 2 is not met and 1 of 2 is not measurable.")


def test_what_cannot_be_measured_is_foreseen() -> None:
    texts = [
        "forget-error>=0.9x",
        "likeness<=0.05",
        "worst-damage<=0.1",
        "retain-error<=1.02x",
        "neutral-psnr>=3",
    ]
    lines = foreseen(texts, "generator", {"forget": 9, "retain": 9, "neutral": 3}, retrained=False)
    assert [line.split()[1] for line in lines] == ["forget-error>=0.9x", "likeness<=0.05", "neutral-psnr>=3"]
    assert "neutral has 3 images" in lines[2]
    assert foreseen(texts[:4], "generator", {"forget": 9, "retain": 9}, retrained=True) == []


def test_a_classifier_has_requirements_of_its_own() -> None:
    names = requirable("classifier")
    assert {"retain-accuracy", "forget-cross-entropy", "forget-membership", "neutral-agreement"} <= set(names)
    # an attack is of forget images alone, and one that is trained once has no interval
    assert not {"retain-membership", "forget-svc-membership", "retain-error"} & set(names)
    assert Requirement.parse("retain-accuracy>=0.98x", "classifier").reference == "original"
    assert Requirement.parse("forget-accuracy<=1.05x", "classifier").reference == "retrained"
    with pytest.raises(InputError, match="only SET-accuracy, SET-cross-entropy can"):
        Requirement.parse("forget-membership<=1.1x", "classifier")
    with pytest.raises(InputError, match="unknown figure 'retain-error'"):
        Requirement.parse("retain-error<=1.02x", "classifier")
