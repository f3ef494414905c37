"""The verdict: one word by the first rule that holds, on values whose truth is known."""

import numpy as np
import pytest

from efface.evaluation.settings import ClassifierEvaluationSettings, EvaluationSettings
from efface.evaluation.verdict import Verdict, decided, verdict_of
from efface.forgetting.confidence import Confidence
from efface.forgetting.outputs import Accuracy
from efface.metrics.image_error import HoleMse
from efface.metrics.intervals import bootstrap_difference, bootstrap_ratio

SETTINGS = EvaluationSettings(resamples=400)
RANDOM = np.random.default_rng(0)
PHOTOS = {"forget": 80, "retain": 160, "neutral": 80}
DIFFICULTY = {name: 0.05 * np.exp(0.5 * RANDOM.standard_normal(count)) for name, count in PHOTOS.items()}


def errors(**factors: float) -> dict[str, np.ndarray]:
    """A model's errors: of each set its photos' difficulties times a factor, with chance of 10 %."""
    return {
        name: factors.get(name, 1.0) * values * np.exp(0.1 * RANDOM.standard_normal(len(values)))
        for name, values in DIFFICULTY.items()
    }


ORIGINAL, RETRAINED = errors(forget=0.5, retain=0.5), errors(retain=0.5)


def judged(unlearned, original=ORIGINAL, retrained=RETRAINED, sets=tuple(PHOTOS), **more) -> Verdict:
    models = {"original": original, "unlearned": unlearned, "retrained": retrained}
    values = {name: {model: given[name] for model, given in models.items() if given} for name in sets}
    return verdict_of(values, HoleMse, SETTINGS, **more)


def test_another_retraining_is_a_yes_and_specific() -> None:
    verdict = judged(errors(retain=0.5))
    assert (verdict.word, verdict.specific.word) == ("yes", "yes")
    assert "no probe was asked" in verdict.reason


def test_a_copy_of_the_original_is_a_no() -> None:
    verdict = judged(ORIGINAL)
    assert (verdict.word, verdict.specific.word) == ("no", "no")
    assert verdict.left
    assert verdict.left.value == pytest.approx(1)


def test_half_way_is_partly_and_far_beyond_is_beyond() -> None:
    half = judged(errors(forget=0.75, retain=0.5))
    assert half.word == "partly"
    assert "on the original's side" in half.reason
    assert half.left
    assert half.left.low < 0.5 < half.left.high
    beyond = judged(errors(forget=1.5, retain=0.5))
    assert beyond.word == "beyond"
    assert "not certain" not in beyond.reason


def test_a_side_whose_interval_holds_the_retrained_model_is_said_to_be_uncertain() -> None:
    verdict = judged(errors(retain=0.5))
    for value, word in ((-0.1, "beyond"), (0.1, "partly")):
        left = verdict.left.model_copy(update={"value": value, "low": value - 0.2, "high": value + 0.2})
        straddling = decided(verdict.model_copy(update={"left": left}))
        assert (straddling.word, straddling.ground) == (word, f"{word}, unsure")
        assert "the side is not certain" in straddling.reason


def test_noise_is_ruined_whatever_else_holds() -> None:
    noise = errors(forget=1.0, retain=4.0, neutral=4.0)
    assert judged(noise).word == "ruined"
    assert judged(noise, retrained=None).word == "ruined"
    # a model that spares one of the two sets is not ruined
    assert judged(errors(forget=1.0, retain=0.5, neutral=4.0)).word == "partly"


def test_a_model_without_finite_answers_is_ruined() -> None:
    broken = {name: np.full(count, np.nan) for name, count in PHOTOS.items()}
    verdict = judged(broken)
    assert verdict.word == "ruined"
    assert "no finite numbers" in verdict.reason


def test_worse_at_everything_alike_is_no_yes() -> None:
    factor = RETRAINED["forget"].mean() / ORIGINAL["forget"].mean()
    for raised in (
        {name: values * min(factor, 1.4) for name, values in errors(forget=0.7, retain=0.7).items()},
        {name: values + 0.01 for name, values in errors(forget=0.75, retain=0.75).items()},
    ):
        original = errors(forget=0.7, retain=0.7)
        verdict = judged(raised, original=original)
        assert verdict.specific.word == "no"
        assert verdict.word != "yes"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"retrained": None}, "No retrained model"),
        ({"original": None}, "No original model"),
        ({"retrained": errors(forget=0.5, retain=0.5)}, "No memory was shown"),
        ({"retrained": ORIGINAL}, "No memory was shown"),
        ({"original": errors(forget=2.0)}, "No memory was shown"),
    ],
)
def test_without_reference_or_memory_it_cannot_be_told(change, reason) -> None:
    verdict = judged(errors(retain=0.5), **change)
    assert verdict.word == "cannot be told"
    assert verdict.reason.startswith(reason)


def test_a_reference_that_is_worse_at_everything_shows_no_memory() -> None:
    weak = {name: 1.3 * values for name, values in errors(forget=0.5, retain=0.5).items()}
    verdict = judged(errors(forget=0.65, retain=0.5), retrained=weak)
    assert verdict.word == "cannot be told"
    assert "may have seen the images" in verdict.reason
    assert (verdict.reference.word, verdict.specific.word) == ("no", "yes")


def test_where_no_memory_was_shown_there_was_nothing_particular_to_forget() -> None:
    assert judged(errors(retain=0.5), retrained=ORIGINAL).specific.word == "nothing to forget"
    assert judged(errors(retain=0.5), retrained=None).specific.word == "yes"


@pytest.mark.parametrize(("count", "reason"), [(4, "There are 4 photos"), (6, "The interval is too wide")])
def test_few_photos_cannot_tell(count, reason) -> None:
    chance = np.exp(0.6 * RANDOM.standard_normal(count))
    few = {"original": 0.01 * chance, "unlearned": 0.04 * chance[::-1], "retrained": 0.05 * (1 + chance)}
    verdict = verdict_of({"forget": few}, HoleMse, SETTINGS)
    assert verdict.word == "cannot be told"
    assert verdict.reason.startswith(reason)
    assert verdict.specific.word == "not measured"


def test_a_copy_of_the_original_is_a_no_however_few_the_photos() -> None:
    chance = np.exp(0.6 * np.random.default_rng(3).standard_normal(6))
    original = 0.01 * chance
    few = {"original": original, "unlearned": original * 1.001, "retrained": 0.05 * (1 + chance[::-1])}
    copied = verdict_of({"forget": few | {"unlearned": original}}, HoleMse, SETTINGS)
    assert copied.left is not None
    assert copied.left.high - copied.left.low > 2 * SETTINGS.margin
    assert copied.word == "no"
    # a change is a change, though it be small; whether it is enough cannot be told from so few
    assert verdict_of({"forget": few}, HoleMse, SETTINGS).word == "cannot be told"


def test_a_set_that_is_ruined_alone_is_named_beside_the_word() -> None:
    verdict = judged(errors(retain=2.0, neutral=1.0))
    assert verdict.word != "ruined"
    assert verdict.reason.endswith("On retain images the model is ruined.")


def test_a_probe_that_contradicts_turns_a_yes_into_partly_and_is_named() -> None:
    unlearned = errors(retain=0.5)
    assert judged(unlearned, probes={"extraction": False}).word == "yes"
    verdict = judged(unlearned, probes={"near-copies": True, "membership-loss": False})
    assert verdict.word == "partly"
    assert "near-copies" in verdict.reason
    assert "membership-loss" not in verdict.reason


def test_the_margin_is_what_was_set() -> None:
    unlearned = errors(forget=0.85, retain=0.5)
    wide = verdict_of(
        {
            "forget": {
                "original": ORIGINAL["forget"],
                "unlearned": unlearned["forget"],
                "retrained": RETRAINED["forget"],
            }
        },
        HoleMse,
        EvaluationSettings(margin=0.6, resamples=400),
    )
    assert (wide.word, judged(unlearned).word) == ("yes", "partly")


def test_the_numbers_are_those_of_the_results() -> None:
    unlearned = errors(retain=0.5)
    verdict = judged(unlearned)
    for one, other, found in (
        (ORIGINAL, RETRAINED, verdict.gap),
        (unlearned, RETRAINED, verdict.to_retrained),
        (unlearned, ORIGINAL, verdict.to_original),
    ):
        expected = bootstrap_difference(one["forget"], other["forget"], **SETTINGS.resampling)
        assert (found.value, found.low, found.high) == tuple(expected)
    ratio = bootstrap_ratio(unlearned["retain"], ORIGINAL["retain"], **SETTINGS.resampling)
    assert (verdict.kept["retain"].ratio.low, verdict.kept["retain"].ratio.high) == ratio[1:]


def test_the_word_follows_from_the_numbers() -> None:
    verdict = judged(errors(forget=0.75, retain=0.5))
    assert decided(verdict) == (verdict.word, "partly", verdict.reason)
    forged = verdict.model_copy(update={"left": verdict.left.model_copy(update={"low": -0.1, "high": 0.1})})
    assert decided(forged)[:2] == ("yes", "alike")


def test_several_images_of_a_photo_are_no_more_evidence() -> None:
    models = {"original": ORIGINAL, "unlearned": errors(retain=0.5), "retrained": RETRAINED}
    once = {name: {model: given[name][:8] for model, given in models.items()} for name in PHOTOS}
    thrice = {name: {m: np.repeat(v, 3) for m, v in given.items()} for name, given in once.items()}
    photos = {name: np.repeat(np.arange(8), 3) for name in PHOTOS}
    alone, repeated = (
        verdict_of(once, HoleMse, SETTINGS),
        verdict_of(thrice, HoleMse, SETTINGS, photos=photos),
    )
    assert repeated.photos == alone.photos == dict.fromkeys(PHOTOS, 8)
    for name in ("gap", "to_retrained", "to_original"):
        one, other = getattr(alone, name), getattr(repeated, name)
        assert vars(other) == pytest.approx(vars(one))


def test_classifiers_are_judged_by_confidence_and_ruined_by_accuracy() -> None:
    sure = {"forget": 6.0, "retain": 6.0, "neutral": 4.0}
    settings = ClassifierEvaluationSettings(resamples=400)

    def confidences(**means: float) -> dict[str, np.ndarray]:
        return {n: {**sure, **means}[n] + RANDOM.standard_normal(c) for n, c in PHOTOS.items()}

    def accuracies(share: float) -> dict[str, np.ndarray]:
        return {n: (RANDOM.random(c) < share).astype(float) for n, c in PHOTOS.items()}

    def of(unlearned: dict[str, np.ndarray], share: float) -> Verdict:
        models = {"original": confidences(), "unlearned": unlearned, "retrained": confidences(forget=2.0)}
        right = {"original": accuracies(0.95), "unlearned": accuracies(share)}
        return verdict_of(
            {n: {m: given[n] for m, given in models.items()} for n in PHOTOS},
            Confidence,
            settings,
            kept={n: {m: given[n] for m, given in right.items()} for n in PHOTOS},
            kept_by=Accuracy,
        )

    assert of(confidences(forget=2.0), 0.95).word == "yes"
    assert of(confidences(forget=4.0), 0.95).word == "partly"
    assert of(confidences(forget=-2.0), 0.95).word == "beyond"
    assert of(confidences(forget=2.0), 0.5).word == "ruined"
    assert of(confidences(forget=2.0), 0.85).word == "yes"
