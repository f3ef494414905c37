"""The sentences of letters, from `sentences.yaml`, with dates, numbers and plurals as each language has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import get_args

from pydantic import TypeAdapter

from efface.documents import Described, parse_yaml
from efface.ledger.policy import Language

LANGUAGES: tuple[Language, ...] = get_args(Language)
MONTHS: Mapping[Language, tuple[str, ...]] = {
    "en": (
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
        "November", "December",
    ),
    "de": (
        "Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober",
        "November", "Dezember",
    ),
    "fr": (
        "janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre",
        "novembre", "décembre",
    ),
}  # fmt: skip
THOUSANDS: Mapping[Language, str] = {"en": ",", "de": ".", "fr": "\N{NARROW NO-BREAK SPACE}"}
QUOTES: Mapping[Language, str] = {"en": "“{}”", "de": "„{}“", "fr": "« {} »"}
FRENCH_SPACE = re.compile(r" (?=[:;?!»])|(?<=«) ")
"""Blanks at which no French line may break."""


class Forms(Described):
    """A sentence that counts something."""

    one: str
    other: str


class InLanguages(Described):
    """One sentence, its languages side by side."""

    en: str | Forms
    de: str | Forms
    fr: str | Forms


@cache
def sentences() -> Mapping[str, InLanguages]:
    """All sentences by name."""
    text = files("efface.requests.letters").joinpath("sentences.yaml").read_text(encoding="utf-8")
    values = parse_yaml(text, "sentences.yaml")
    return TypeAdapter(dict[str, InLanguages]).validate_python(values)


@dataclass(frozen=True)
class Speaker:
    """Says things in one language."""

    language: Language

    def say(self, name: str, n: int | None = None, /, **values: str) -> str:
        """The sentence of this name. n: what it counts; values: what else it names."""
        form: str | Forms = getattr(sentences()[name], self.language)
        if isinstance(form, Forms):
            assert n is not None, f"{name} counts something"
            form = form.one if self.is_singular(n) else form.other
        counted = {} if n is None else {"n": self.number(n)}
        return self._spaced(form.format_map({**counted, **values}))

    def is_singular(self, n: int) -> bool:
        """Whether a noun after this number is singular: in French after 0 too."""
        return n == 1 or (n == 0 and self.language == "fr")

    def number(self, n: int) -> str:
        """
        >>> Speaker("en").number(12000), Speaker("de").number(12000)
        ('12,000', '12.000')
        """
        return f"{n:,}".replace(",", THOUSANDS[self.language])

    def day(self, when: date) -> str:
        """
        >>> Speaker("en").day(date(2027, 3, 1)), Speaker("de").day(date(2027, 3, 1)), Speaker("fr").day(date(2027, 3, 1))
        ('1 March 2027', '1. März 2027', '1er mars 2027')
        """
        number = {
            "en": f"{when.day}", "de": f"{when.day}.", "fr": "1er" if when.day == 1 else f"{when.day}",
        }[self.language]  # fmt: skip
        return f"{number} {MONTHS[self.language][when.month - 1]} {when.year}"

    def percent(self, text: str) -> str:
        """
        >>> Speaker("en").percent("40"), Speaker("de").percent("40")
        ('40%', '40\\xa0%')
        """
        return f"{text}%" if self.language == "en" else f"{text}\N{NO-BREAK SPACE}%"

    def quoted(self, name: str) -> str:
        """
        >>> Speaker("en").quoted("faces"), Speaker("de").quoted("faces")
        ('“faces”', '„faces“')
        """
        return self._spaced(QUOTES[self.language].format(name))

    def _spaced(self, text: str) -> str:
        return FRENCH_SPACE.sub("\N{NO-BREAK SPACE}", text) if self.language == "fr" else text
