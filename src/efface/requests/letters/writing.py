"""From the facts of an answer to a letter, and from a letter to HTML and text. No rule on models stands here.

What a verdict amounts to is asked of `efface.evaluation.verdict`, which says by which ground it was decided; a letter has
a sentence for each ground.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from efface.evaluation.verdict import Verdict, decided, share_ends
from efface.metrics.intervals import FEWEST_GROUPS
from efface.requests.letters.facts import AnswerFacts, Successor, VersionFacts
from efface.requests.letters.sentences import Speaker
from efface.wording import printable

SHORT_OUTCOMES = {
    "not located": "not_located", "refused": "refused", "withdrawn": "withdrawn", "needs input": "needs_input",
    "not carried out": "not_carried_out",
}  # fmt: skip
VERIFY = "efface requests verify FILE"
WIDTH = 76
NO_BREAK = "\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}"


@dataclass(frozen=True)
class Section:
    """A part of a letter: paragraphs, then points, models by name, a code, and what follows it."""

    heading: str
    paragraphs: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    models: tuple[tuple[str, tuple[str, ...]], ...] = ()
    code: str = ""
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Letter:
    """An answer in words."""

    language: str
    title: str
    organisation: str
    date: str
    references: tuple[str, ...]
    greeting: str
    opening: tuple[str, ...]
    sections: tuple[Section, ...]
    closing: str

    @property
    def html(self) -> str:
        """A page that needs nothing beside it."""
        return _template("letter.html.j2").render(letter=self)

    @property
    def text(self) -> str:
        """The same words as plain text."""
        return _template("letter.txt.j2").render(letter=self)


def letter_of(facts: AnswerFacts) -> Letter:
    """The letter that says these facts."""
    return _Writer(facts, Speaker(facts.language)).letter()


@dataclass(frozen=True)
class _Writer:
    facts: AnswerFacts
    to: Speaker

    def letter(self) -> Letter:
        facts, say = self.facts, self.to.say
        references = [say("our_reference", id=facts.request)]
        references += [say("their_reference", id=facts.sender_id)] if facts.sender_id else []
        opening = [say("asked", received=self.to.day(facts.received))]
        if facts.due and facts.written > facts.due:
            opening.append(say("late", due=self.to.day(facts.due)))
        sections = (
            self.in_short(), self.search(), self.models(), self.limits(), self.keeping(), self.checking(),
            self.questions(),
        )  # fmt: skip
        return Letter(
            language=facts.language,
            title=say("title", received=self.to.day(facts.received)),
            organisation=facts.organisation,
            date=self.to.day(facts.written),
            references=tuple(references),
            greeting=say("greeting_by_name", name=facts.recipient) if facts.recipient else say("greeting"),
            opening=tuple(opening),
            sections=tuple(section for section in sections if section),
            closing=say("closing"),
        )

    def in_short(self) -> Section:
        facts, say = self.facts, self.to.say
        said = [say(SHORT_OUTCOMES[facts.outcome])] if facts.outcome in SHORT_OUTCOMES else []
        if self.tells and facts.located.count:
            said += [say("located", facts.located.count), *self.state_of_models()]
        else:
            said.append(say("none_changed"))
        paragraphs = [" ".join(said)]
        if facts.reason:
            paragraphs.append(
                say("needed" if facts.outcome == "needs input" else "reason", reason=_one_line(facts.reason))
            )
        return Section(say("in_short"), tuple(paragraphs))

    @property
    def tells(self) -> bool:
        """Whether the letter says what is held: not to somebody who was refused, or of whom something is still asked."""
        return self.facts.outcome in ("carried out", "not carried out", "not located") or bool(self.replaced)

    def state_of_models(self) -> Iterator[str]:
        say, left = self.to.say, [one for one in self.facts.versions if one.is_left]
        if self.replaced:
            yield say("replaced", len(self.replaced))
            yield say("see_each") if len(self.replaced) > 1 else say(_short(self.replaced[0]))
        if left:
            yield say("still_in_use", len(left))
        if not self.replaced and not left:
            yield say("none_in_use" if any(one.learnt for one in self.facts.versions) else "none_affected")

    @property
    def replaced(self) -> list[Successor]:
        return [one.successor for one in self.facts.versions if one.successor and one.is_replaced]

    def search(self) -> Section | None:
        searched, located, say = self.facts.searched, self.facts.located, self.to.say
        if searched is None or not self.tells:
            return None
        number = self.to.number
        points = [
            say(name, count=number(count))
            for name, count in (("photos_sent", searched.photos), ("checksums_sent", searched.checksums))
            if count
        ]
        points.append(say("collections", sets=number(searched.sets), count=number(searched.images)))
        points += [
            say(name, count=number(count))
            for name, count in (
                ("located_exact", located.exact),
                ("located_copies", located.copies),
                ("located_alike", located.alike),
            )
            if count
        ]
        limit = say("search_limit" if searched.photos else "send_pictures")
        return Section(say("search"), points=tuple(points), after=(limit,))

    def models(self) -> Section | None:
        facts, say = self.facts, self.to.say
        if not facts.located.count or not facts.versions or not self.tells:
            return None
        touched = [one for one in facts.versions if one.learnt or one.forgotten]
        never = [self.to.quoted(one.name) for one in facts.versions if one not in touched]
        after = (say("never_trained", names=", ".join(never)),) if never else ()
        models = tuple((one.name, tuple(self.of_version(one))) for one in touched)
        new = [one.successor for one in touched if one.successor and one.successor.claim == "empirical"]
        tested = [one for one in new if one.verdict and _has_reference(one.verdict)]
        said = [say("what_a_model_is"), *([say("how_tested")] if tested else [])]
        return Section(say("models"), tuple(said), models=models, after=after)

    def of_version(self, version: VersionFacts) -> Iterator[str]:
        """Paragraphs on one version."""
        say, new = self.to.say, version.successor
        if version.learnt:
            if new and new.since:
                place = {"since": self.to.day(new.since), "new": self.to.quoted(new.name)}
                yield f"{say('learnt_replaced', version.learnt, **place)} {self.made(new)}"
                yield from self.measured(new)
            elif version.is_left:
                yield f"{say('learnt_in_use', version.learnt)} {self.attempted(new)}"
                if new and not _is_ruined(new):
                    yield self.made(new)
                    yield from self.measured(new)
            else:
                elsewhere = version.status == "not-ours"
                yield say("learnt_elsewhere" if elsewhere else "learnt_out_of_use", version.learnt)
        if version.forgotten:
            yield say("forgotten_before", version.forgotten)

    def attempted(self, new: Successor | None) -> str:
        """That nothing was made, or why what was made is not in service."""
        if new is None:
            return self.to.say("not_begun")
        name = "attempt_ruined" if _is_ruined(new) else "attempt_unmet" if new.unmet else "attempt_waiting"
        return self.to.say(name, finished=self.to.day(new.finished))

    def made(self, new: Successor) -> str:
        """How a new version was made."""
        say = self.to.say
        if new.claim == "exact from base":
            saw = (new.base_saw or "not known").replace(" ", "_")
            return f"{say('made_exact_from_base')} {say(f'base_{saw}')}"
        return say(f"made_{new.claim}")

    def measured(self, new: Successor) -> Iterator[str]:
        """What was measured of one that was made by unlearning: whatever was trained anew needs no test."""
        say = self.to.say
        if new.claim != "empirical":
            return
        if new.verdict is None:
            yield say("not_measured")
            return
        said = []
        if _has_reference(new.verdict):
            said.append(say("tested", new.verdict.photos.get("forget", 0)))
            said += [say("reference_in_part")] if new.reference_stages != "all" else []
        yield " ".join([*said, *self.results(new.verdict)])

    def results(self, verdict: Verdict) -> Iterator[str]:
        say, ground = self.to.say, decided(verdict).ground
        shares = {"least": self.to.number(FEWEST_GROUPS)}
        if ground.startswith("partly") and verdict.left:
            left = verdict.left
            low, high = share_ends(verdict, left.low, left.high)
            shares |= {
                name: self.to.percent(end)
                for name, end in (("left", f"{100 * left.value:.0f}"), ("low", low), ("high", high))
            }
        yield say(ground.replace(",", "").replace(" ", "_"), **shares)
        if ground != "ruined" and any(one.ruined for one in verdict.kept.values()):
            yield say("harmed")

    def limits(self) -> Section | None:
        facts, say = self.facts, self.to.say
        touched = [one for one in facts.versions if one.learnt or one.forgotten]
        if not facts.located.count or not self.tells:
            return None
        names = ["limit_tests"] * any(new.claim != "exact" and new.verdict for new in self.replaced)
        names += ["limit_records"] * bool(facts.versions)
        names += ["limit_copies"] * bool(touched)
        names += ["limit_others", "limit_files"]
        return Section(say("limits"), points=(*map(say, names), *facts.not_touched))

    def keeping(self) -> Section | None:
        facts, say = self.facts, self.to.say
        points = [say("kept_fingerprints")] if facts.fingerprints_kept else []
        if facts.personal_until:
            points.append(say("kept_personal", until=self.to.day(facts.personal_until)))
        if facts.searched and facts.searched.photos:
            is_open = facts.outcome in ("not carried out", "needs input")
            until = facts.photos_until
            points.append(
                say("photos_until", until=self.to.day(until))
                if until
                else say("photos_while_open" if is_open else "photos_erased")
            )
        return Section(say("keeping"), points=tuple(points)) if points else None

    def checking(self) -> Section:
        chain, say = self.facts.chain, self.to.say
        number = str(chain.number)
        after = say("chain_why", number=number), say("evidence", command=VERIFY)
        return Section(say("checking"), (say("chain", number=number),), code=chain.digest, after=after)

    def questions(self) -> Section:
        facts, say = self.facts, self.to.say
        said = [say("contact", contact=_one_line(facts.contact)) if facts.contact else say("answer_this")]
        if "gdpr" in (facts.regime or "").casefold():
            said.append(say("complaint"))
        if facts.authority:
            said.append(say("authority", authority=_one_line(facts.authority)))
        return Section(say("questions"), tuple(said))


def _is_ruined(new: Successor) -> bool:
    return new.verdict is not None and new.verdict.word == "ruined"


def _has_reference(verdict: Verdict) -> bool:
    """Whether new, old and retrained model were compared, and the result is about that."""
    return decided(verdict).ground not in ("ruined", "no retrained model", "no original model")


def _short(new: Successor) -> str:
    """The sentence that stands in short for one new version."""
    if new.claim != "empirical":
        return f"short_{new.claim.replace(' ', '_')}"
    return f"short_{new.verdict.word.replace(' ', '_')}" if new.verdict else "short_not_measured"


def _one_line(text: str) -> str:
    """An address of several lines as one."""
    return ", ".join(line.strip().rstrip(",") for line in text.splitlines() if line.strip())


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("efface.requests", "letters"),
        autoescape=name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Markup) else _clean(str(value)),
    )
    environment.filters["wrapped"] = _wrapped
    return environment.get_template(name)


def _clean(text: str) -> str:
    """As `printable`, with the blanks at which no line may break."""
    return "".join(c if c in NO_BREAK else printable(c) for c in text)


def _wrapped(text: str, indent: str = "") -> Markup:
    """Lines of a plain text."""
    lines = textwrap.fill(_clean(text), WIDTH, subsequent_indent=indent, break_long_words=False)
    return Markup(lines)
