"""The letter: every sentence follows from the facts, in three languages, as a page and as text."""

import doctest
import re
from datetime import date
from string import Formatter

import pytest
from pydantic import ValidationError

from efface.evaluation.verdict import GROUNDS, Estimate, Kept, Numbers, Specific, Verdict, decided
from efface.requests.letters import sentences as sentences_module
from efface.requests.letters.facts import (
    AnswerFacts,
    ChainHead,
    Located,
    Searched,
    Successor,
    VersionFacts,
)
from efface.requests.letters.sentences import LANGUAGES, Forms, Speaker, sentences
from efface.requests.letters.writing import letter_of

FOUND = Located(exact=1, copies=2)
SEARCHED = Searched(photos=3, checksums=0, sets=2, images=12000)


def estimate(value: float, within: float = 0.05) -> Estimate:
    return Estimate(value=value, low=value - within, high=value + within)


def verdict(left: float = 0.0, within: float = 0.05, **changes: object) -> Verdict:
    """A verdict on 40 photos of which so much of the gap is left."""
    specific = Specific(word="yes", more={}, times={})
    numbers = Numbers(
        figure="hole_mse", better="down", margin=0.25, ruin=1.5, photos={"forget": 40},
        models=["original", "unlearned", "retrained"], gap=estimate(-1.0), reference=specific,
        to_retrained=estimate(-left, within), to_original=estimate(1 - left, within),
        left=estimate(left, within), kept={}, specific=specific, probes={},
    )  # fmt: skip
    return Verdict.on(numbers.model_copy(update=changes))


HARMED = {"retain": Kept(metric="hole_mse", ratio=estimate(4.0), ruined=True)}
SPARED = {"neutral": Kept(metric="hole_mse", ratio=estimate(1.0), ruined=False)}
UNSPECIFIC = Specific(word="no", more={}, times={})
NO_MEMORY = Specific(word="nothing to forget", more={}, times={})
VERDICTS = {
    "ruined": verdict(kept=HARMED),
    "no retrained model": verdict(models=["original", "unlearned"]),
    "no original model": verdict(models=["unlearned", "retrained"]),
    "few photos": verdict(photos={"forget": 4}),
    "not finite": verdict(to_original=None),
    "no memory": verdict(left=0.0).model_copy(update={"left": None, "specific": NO_MEMORY}),
    "weak reference": verdict().model_copy(update={"left": None}),
    "wide interval": verdict(0.5, 0.4),
    "alike": verdict(),
    "a probe": verdict(probes={"membership.auc": True}),
    "kept moved as much": verdict(specific=UNSPECIFIC),
    "as the original": verdict(1.0),
    "partly": verdict(0.4),
    "partly, unsure": verdict(0.2, 0.22),
    "beyond": verdict(-0.5),
    "beyond, unsure": verdict(-0.2, 0.22),
}


def successor(**changes: object) -> Successor:
    given = {
        "name": "faces-v4", "finished": date(2027, 2, 27), "since": date(2027, 3, 1), "claim": "empirical",
        "verdict": verdict(),
    }  # fmt: skip
    return Successor(**{**given, **changes})


def replaced(learnt: int = 2, **changes: object) -> VersionFacts:
    return VersionFacts(name="faces-v3", status="superseded", learnt=learnt, successor=successor(**changes))


def left(**changes: object) -> VersionFacts:
    new = successor(since=None, **changes)
    return VersionFacts(name="faces-v3", status="in-service", learnt=2, successor=new)


def facts(**changes: object) -> AnswerFacts:
    given = {
        "language": "en", "organisation": "Example Images Ltd", "contact": "privacy@example.org",
        "request": "R-00017", "received": date(2027, 2, 3), "written": date(2027, 3, 2),
        "due": date(2027, 3, 5), "outcome": "carried out", "searched": SEARCHED, "located": FOUND,
        "versions": (replaced(),), "chain": ChainHead(number=118, digest="ab" * 32),
    }  # fmt: skip
    return AnswerFacts(**{**given, **changes})


FURTHER = (
    VersionFacts(name="faces-small", status="in-service"),
    VersionFacts(name="faces-v1", status="withdrawn", learnt=1),
    VersionFacts(name="faces-v2", status="not-ours", learnt=3),
    VersionFacts(name="scenes", status="in-service", forgotten=1),
)
STATES = {
    **{f"verdict: {ground}": facts(versions=(replaced(verdict=one),)) for ground, one in VERDICTS.items()},
    "harmed on one set": facts(versions=(replaced(verdict=verdict(kept=HARMED | SPARED)),)),
    "exact": facts(versions=(replaced(claim="exact", verdict=None),)),
    **{
        f"from base: {saw}": facts(versions=(replaced(claim="exact from base", base_saw=saw),))
        for saw in ("not known", "no", "forgotten")
    },
    "reference in part": facts(versions=(replaced(reference_stages="the decoder"),)),
    "not measured": facts(versions=(replaced(verdict=None),)),
    "several": facts(
        versions=(replaced(), replaced(3, name="scenes-v2", verdict=verdict(0.4)), *FURTHER),
        fingerprints_kept=True, personal_until=date(2027, 6, 1), photos_until=date(2027, 4, 1),
        not_touched=("Prints at exhibitions.",),
    ),
    "ruined": facts(outcome="not carried out", versions=(left(verdict=VERDICTS["ruined"]),)),
    "several left": facts(outcome="not carried out", versions=(left(), left())),
    "unmet": facts(outcome="not carried out", versions=(left(unmet=True, verdict=verdict(0.4)),)),
    "waiting": facts(outcome="not carried out", versions=(left(),)),
    "not begun": facts(
        outcome="not carried out", versions=(VersionFacts(name="faces-v3", status="in-service", learnt=1),)
    ),
    "nothing affected": facts(
        located=Located(alike=1), versions=(FURTHER[0], FURTHER[3]), written=date(2027, 3, 6)
    ),
    "none in use": facts(versions=FURTHER),
    "not located": facts(outcome="not located", located=Located(), versions=()),
    "checksums alone": facts(
        outcome="not located", located=Located(), versions=(),
        searched=Searched(photos=0, checksums=1, sets=1, images=1),
    ),
    "refused": facts(
        outcome="refused", reason="You are not the person in the pictures.", versions=(), recipient="Ana Núñez",
        regime="GDPR", authority="The authority", contact="", sender_id="7f",
    ),
    "withdrawn": facts(outcome="withdrawn", located=Located(), versions=(), searched=None),
    "needs input": facts(
        outcome="needs input", reason="A larger picture.", located=Located(), versions=(), searched=None
    ),
}  # fmt: skip


def words(given: AnswerFacts) -> str:
    """The text of a letter on one line."""
    return " ".join(letter_of(given).text.split())


def test_a_verdict_is_said_by_the_ground_that_decided_it() -> None:
    assert {ground: decided(one).ground for ground, one in VERDICTS.items()} == {
        name: name for name in GROUNDS
    }


def test_every_sentence_stands_in_three_languages_names_the_same_values_and_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: set[str] = set()
    say = Speaker.say

    def noted(self: Speaker, name: str, n: int | None = None, /, **values: str) -> str:
        said.add(name)
        return say(self, name, n, **values)

    monkeypatch.setattr(Speaker, "say", noted)
    for language in LANGUAGES:
        for given in STATES.values():
            letter_of(given.model_copy(update={"language": language}))
    assert said == set(sentences())
    for name, one in sentences().items():
        counted = [isinstance(getattr(one, language), Forms) for language in LANGUAGES]
        assert len(set(counted)) == 1, name
        named = [_values(getattr(one, language)) for language in LANGUAGES]
        assert named[0] == named[1] == named[2], name


def _values(sentence: str | Forms) -> set[str]:
    texts = [sentence.one, sentence.other] if isinstance(sentence, Forms) else [sentence]
    return {name for text in texts for _, name, _, _ in Formatter().parse(text) if name} - {"n"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_page_and_text_say_the_same_and_nothing_is_left_open(language: str) -> None:
    for name, given in STATES.items():
        letter = letter_of(given.model_copy(update={"language": language}))
        assert not re.search(r"[{}]|\\x", letter.text), name
        page = re.sub(r"<(style|title)>.*?</\1>|<[^>]+>", " ", letter.html, flags=re.S)
        for said in (*letter.opening, *(part for one in letter.sections for part in (*one.points, one.code))):
            assert "".join(said.split()) in "".join(letter.text.split()), name
            assert "".join(said.split()) in "".join(page.split()), name
        assert "<img" not in letter.html
        assert f'<html lang="{language}">' in letter.html


def test_what_was_done_is_said_with_dates_and_counts() -> None:
    text = words(facts())
    for said in (
        "We located 3 images that your request is about.",
        "One of our models had learnt from what we located. A new version has taken its place.",
        "It had learnt from 2 of these images. Since 1 March 2027 a new version, “faces-v4”, has its place.",
        "It was tested on 40 photos",
        "Collections of images that we searched: 2, with images: 12,000",
        "the last entry was number 118",
        "ab" * 32,
    ):
        assert said in text
    assert "It comes late" not in text


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", ["We located 1 image that", "1 March 2027"]),
        ("de", ["Wir haben 1 Bild gefunden", "1. März 2027", "„faces-v4“"]),
        ("fr", ["Nous avons retrouvé 1 image visée", "1er mars 2027", "« faces-v4 »"]),
    ],
)
def test_dates_and_plurals_are_those_of_the_language(language: str, said: list[str]) -> None:
    text = words(facts(language=language, located=Located(exact=1), versions=(replaced(1),)))
    assert [part for part in said if " ".join(part.split()) not in text] == []


def test_a_part_that_is_left_is_said_with_its_uncertainty() -> None:
    text = words(facts(versions=(replaced(verdict=VERDICTS["partly"]),)))
    assert "about 40% remain (uncertainty of the test: 35% to 45%)" in text
    assert "as if it had never seen them" not in text


def test_a_ruined_version_is_not_said_to_be_in_use() -> None:
    text = words(STATES["ruined"])
    assert "still in use as it was" in text
    assert "useless for other images too, so we did not put it into use" in text
    assert "has taken its place" not in text


def test_what_was_not_changed_is_said_where_nothing_was() -> None:
    unchanged = "None of our models was changed because of your request."
    for name in ("not located", "refused", "withdrawn", "needs input"):
        assert unchanged in words(STATES[name]), name
    # one model had been replaced before the request was withdrawn for the other
    assert unchanged not in words(facts(outcome="withdrawn"))


def test_a_refusal_says_why_and_where_to_complain() -> None:
    text = words(STATES["refused"])
    assert "Our reason: You are not the person in the pictures." in text
    assert "complain to a data protection authority" in text
    assert text.count("Ana Núñez") == 1


def test_who_is_refused_is_not_told_what_is_held() -> None:
    for outcome in ("refused", "needs input"):
        given = facts(outcome=outcome, reason="Show us who you are.", versions=(FURTHER[1],))
        assert not re.search("located|faces-v1|12,000", words(given))


def test_a_name_cannot_write_into_the_page() -> None:
    letter = letter_of(facts(recipient="<script>\u202e", contact="a\nb", not_touched=("<b>",)))
    assert "<script>" not in letter.html
    assert "\u202e" not in letter.html + letter.text
    assert "Whom you can ask: a, b" in letter.text


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"located": Located()}, "nothing was located"),
        ({"versions": (left(),)}, "left as it was"),
        ({"versions": (replaced(9),)}, "more images than were located"),
        ({"outcome": "refused"}, "why"),
        ({"outcome": "not located"}, "none are said to be"),
    ],
)
def test_facts_that_do_not_agree_are_refused(changes: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        facts(**changes)


def test_examples_in_the_module_hold() -> None:
    assert doctest.testmod(sentences_module).failed == 0
