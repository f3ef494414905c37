"""Which training images are to be forgotten: the rules, and the second forget set that methods are tuned on.

| rule | forget set | for tuning |
|---|---|---|
| `random:SHARE_OR_COUNT` | random images | the next ones of the same draw |
| `class:NAME[,NAME][@SHARE]` | classes, or a random share of their images | as many other classes |
| `classes:SHARE_OR_COUNT` | all images of random classes | the next classes of the same draw |
| `person:SHARE_OR_COUNT` | all images of random persons | the next persons of the same draw |
| `memorised:COUNT@SCORES.npz` | the most memorised (`benchmark.memorisation`) | the most memorised of the others |
| `list:FILE` | ids, file names or numbers of images, one a line | random images, as many |
| `kit` | what comes with the data (`forget_idx.npy`) | random images, as many |
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from efface.errors import Faults, InputError
from efface.images.datasets.forget_files import by_memorisation, listed_places
from efface.images.datasets.source import Places, Source
from efface.images.datasets.splitting import nearest_count
from efface.randomness import numpy_draws
from efface.wording import did_you_mean, printable

FORMS = (
    "random:0.05 (a share) or random:90 (a count); class:NAME, class:NAME,NAME or class:NAME@0.5; classes:10 or "
    "classes:0.5; person:15 or person:0.02; memorised:90@SCORES.npz; list:FILE; kit"
)
KINDS = ("random", "class", "classes", "person", "memorised", "list", "kit")


@dataclass(frozen=True)
class ForgetRule:
    """A rule as it was written: its kind, and of `count`, `share`, `names` and `file` what the kind has."""

    text: str
    kind: str
    count: int | None = None
    share: float | None = None
    names: tuple[str, ...] = ()
    file: str = ""


def parse_rule(text: str) -> ForgetRule:
    """Read a rule; raises `InputError` with the valid forms.

    >>> parse_rule("class:cat,dog@0.5")
    ForgetRule(text='class:cat,dog@0.5', kind='class', count=None, share=0.5, names=('cat', 'dog'), file='')
    """
    kind, _, rest = text.strip().partition(":")
    if kind in {"random", "classes", "person"} and (number := _number(rest)):
        return ForgetRule(text, kind, count=number[0], share=number[1])
    if kind == "class":
        names, _, after = rest.rpartition("@")
        number = _number(after) if names else None
        share = number[1] if number else None
        chosen = tuple(name.strip() for name in (names if share else rest).split(","))
        if all(chosen):
            return ForgetRule(text, kind, share=share, names=chosen)
    if kind == "memorised":
        count, _, file = rest.partition("@")
        number = _number(count)
        if number and number[0] and file:
            return ForgetRule(text, kind, count=number[0], file=file)
    if kind == "list" and rest:
        return ForgetRule(text, kind, file=rest)
    if text.strip() == "kit":
        return ForgetRule(text, "kit")
    hint = "" if kind in KINDS else did_you_mean(kind, KINDS)
    raise InputError(f"forget: '{printable(text)}' is no rule{hint}. Valid: {FORMS}")


def named_places(rule: ForgetRule, source: Source) -> Places:
    """The images that a `list` or the `kit` names, wherever they are; none for other rules.

    Raises one `InputError` for all entries that name no image.
    """
    if rule.kind == "list":
        return listed_places(rule.file, source)
    if rule.kind != "kit":
        return np.zeros(0, np.int64)
    if source.kit is None:
        raise InputError(
            "forget: kit: no forget_idx.npy lies beside official CIFAR-10 batches; put the starting kit's there, or "
            "choose random:0.1, the share that it has"
        )
    return source.kit


def forget_places(
    rule: ForgetRule, source: Source, train: Places, seed: int, *, tuning: bool, ordered: bool = False
) -> Places:
    """The forget set among the training images `train`, sorted; with `tuning` the other one.

    The two never share an image. ordered: persons are taken by name instead of drawn. Raises `InputError` where the
    rule does not fit, or leaves nothing to retain.
    """
    draws = numpy_draws(seed, "forget set", rule.kind)
    if rule.kind == "class":
        pair = _of_classes(rule, source, train, draws)
    elif rule.kind == "classes":
        pair = _of_drawn_classes(rule, source, train, draws)
    elif rule.kind == "person":
        pair = _of_persons(rule, source, train, draws, ordered)
    else:
        pair = _of_images(rule, source, train, draws)
    chosen = np.sort(pair[1] if tuning else pair[0])
    which = "a second forget set, for tuning," if tuning else "the forget set"
    if not len(chosen):
        raise InputError(
            f"forget: {rule.text}: {which} holds no image; there are {len(train)} training images"
        )
    if len(chosen) >= len(train):
        raise InputError(
            f"forget: {rule.text}: {which} holds all training images, and none is left to retain"
        )
    if tuning and len(chosen) < len(pair[0]) and rule.kind not in {"class", "classes", "person"}:
        raise InputError(
            f"forget: {rule.text}: {which} needs {len(pair[0])} more images, but only {len(chosen)} are left"
        )
    return chosen


def _of_images(
    rule: ForgetRule, source: Source, train: Places, draws: np.random.Generator
) -> tuple[Places, Places]:
    drawn = draws.permutation(train)
    if rule.kind == "random":
        count = _count(rule, len(train))
        if count > len(train):
            raise InputError(f"forget: {rule.text}: there are only {len(train)} training images")
        return drawn[:count], drawn[count : 2 * count]
    if rule.kind == "memorised":
        assert rule.count is not None
        order = by_memorisation(rule.file, source, train, rule.count)
        return order[: rule.count], order[rule.count : 2 * rule.count]
    named = named_places(rule, source)
    rest = drawn[~np.isin(drawn, named)]
    return named, rest[: len(named)]


def _of_classes(
    rule: ForgetRule, source: Source, train: Places, draws: np.random.Generator
) -> tuple[Places, Places]:
    with Faults(f"forget: {rule.text}") as faults:
        for name in rule.names:
            if name not in source.classes:
                hint = did_you_mean(name, source.classes)
                faults.add(f"no class '{printable(name)}'{hint}. There are: {', '.join(source.classes)}")
    labels = source.labels[train]
    chosen = [source.classes.index(name) for name in dict.fromkeys(rule.names)]
    others = [
        one for one in draws.permutation(len(source.classes)) if one not in chosen and np.any(labels == one)
    ]
    drawn = draws.permutation(len(train))

    def of(classes: Sequence[int]) -> Places:
        images = train[drawn[np.isin(labels[drawn], classes)]]
        return images if rule.share is None else images[: max(1, round(rule.share * len(images)))]

    return of(chosen), of(others[: len(chosen)])


def _of_drawn_classes(
    rule: ForgetRule, source: Source, train: Places, draws: np.random.Generator
) -> tuple[Places, Places]:
    labels = source.labels[train]
    order = draws.permutation(np.unique(labels))
    count = _count(rule, len(order))
    if count > len(order):
        raise InputError(f"forget: {rule.text}: there are only {len(order)} classes in the training images")
    first, further = order[:count], order[count : 2 * count]
    return train[np.isin(labels, first)], train[np.isin(labels, further)]


def _of_persons(
    rule: ForgetRule, source: Source, train: Places, draws: np.random.Generator, ordered: bool
) -> tuple[Places, Places]:
    if source.persons is None:
        raise InputError(f"forget: {rule.text}: these data do not say whom an image shows; choose another rule, such as "
                         "random:0.02")  # fmt: skip
    persons = np.array([source.persons[place] for place in train])
    names, counts = np.unique(persons, return_counts=True)
    order = np.arange(len(names)) if ordered else draws.permutation(len(names))
    if rule.count is not None and rule.count > len(names):
        raise InputError(f"forget: {rule.text}: there are only {len(names)} persons in the training images")

    def first(order: Places) -> Places:
        if rule.count is not None:
            return order[: rule.count]
        assert rule.share is not None
        return order[: nearest_count(counts[order], rule.share * len(train))]

    scored = first(order)
    further = first(order[len(scored) :])
    return train[np.isin(persons, names[scored])], train[np.isin(persons, names[further])]


def _count(rule: ForgetRule, images: int) -> int:
    return rule.count if rule.count is not None else max(1, round((rule.share or 0) * images))


def _number(text: str) -> tuple[int | None, float | None] | None:
    """A count from 1 on, or a share between 0 and 1; None if it is neither."""
    if re.fullmatch(r"[0-9]+", text) and int(text) > 0:
        return int(text), None
    if re.fullmatch(r"0?\.[0-9]+", text) and float(text) > 0:
        return None, float(text)
    return None
