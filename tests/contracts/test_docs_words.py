"""README and docs: links lead somewhere, commands are taken, and no sentence is stronger than what was measured."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

import make
from efface.benchmark.results import BenchRow, Estimate
from efface.cli import app, listing
from efface.generators.registry import FAMILIES
from efface.jobs.kinds import KINDS
from efface.methods import CLASSIFIER_METHODS, GENERATOR_METHODS
from efface.probes.registry import PROBES
from making import generator_tables

DOCS = Path(make.__file__).parent
ROOT = DOCS.parent
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
APP = typer.main.get_command(app)
LINK = re.compile(r"\]\(([^()\s]+)\)")
FENCED = re.compile(r"```.*?```", re.S)
COMMAND = re.compile(r"(?:^|(?<=`))\s*((?:efface|python|torchrun) [^`\n]*)", re.M)

METHODS = {**GENERATOR_METHODS, **CLASSIFIER_METHODS}
FORBIDDEN = {
    r"nothing that could be forgotten": "a model no better than a fill may know its photos by heart",
    r"\bis where retraining is\b|\bends where the retrained\b": "equality needs a margin set before",
    r"\b(?<!\*)void\b": "memory decides whether a study counts",
    r"does not forget\.?\*\*|it is forgotten\.?\*\*": "no bold where an interval holds no difference",
    r"\bto 1\.00\)\s*\|\s*yes\b": "an end that excludes 1 is not written 1.00",
    r"encoder-noise`?,? \(?as published": "our schedule and hole are not the paper's",
}


@functools.cache
def settings() -> set[str]:
    """The names of all settings of all configs."""
    return {
        row["name"]
        for kind in KINDS.values()
        for config in kind.configs.values()
        for row in listing._described(config, "", METHODS, "")
    }


@functools.cache
def anchors(page: Path) -> set[str]:
    """What headings of a page can be linked by, as GitHub makes them."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in titles)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in plain}


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command that a page gives in code."""
    text = page.read_text(encoding="utf-8")
    code = [
        *FENCED.findall(text),
        *re.findall(r"(?:^    .*\n)+", text, re.M),
        *re.findall(r"`[^`\n]+`", text),
    ]
    for part in code:
        for command in COMMAND.findall(part.replace("\\\n", " ")):
            # what stands behind two blanks and no option is a remark
            yield shlex.split(re.split(r" {3,}(?=[a-z])", command)[0], comments=True)


def test_links_lead_to_files_and_headings() -> None:
    lost = []
    for page in PAGES:
        for link in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                lost.append(f"{page}: {link}")
    assert not lost, "\n".join(lost)


def test_commands_are_taken() -> None:
    faults = [
        f"{page}: {shlex.join(words)}: {fault}"
        for page in PAGES
        for words in commands(page)
        for fault in faults_of(words)
    ]
    assert not faults, "\n".join(faults)


def test_a_wrong_command_is_found() -> None:
    wrong = {
        "efface forget MODEL": "no command forget",
        "efface unlearn MODEL --methods blank": "No such option: --methods",
        "efface unlearn MODEL --method blanc": "no method blanc",
        "efface unlearn MODEL --set training.step=3": "no setting training.step",
        "efface unlearn MODEL --method level --set method.keep=1": "no setting method.keep",
        "efface evaluate RUN --probe luck": "no probe luck",
        "python benchmarks/theories.py": "no file benchmarks/theories.py",
    }
    for command, fault in wrong.items():
        assert list(faults_of(shlex.split(command))) == [fault]


def faults_of(words: list[str]) -> Iterator[str]:
    """Why a command would be refused before it does anything."""
    for word in words:
        if re.match(r"(benchmarks|docs|tests)/.*\.(py|yaml)$", word) and not (ROOT / word).exists():
            yield f"no file {word}"
    if "efface" not in words[:5]:
        return
    command, rest = APP, [word for word in words[words.index("efface") + 1 :] if word not in ("...", "…")]
    while isinstance(command, TyperGroup) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name not in command.commands:
            yield f"no command {name}"
            return
        command = command.commands[name]
    try:
        given, _, _ = command.make_parser(command.context_class(command)).parse_args(rest)
    except (
        Exception
    ) as error:  # typer has a click of its own; a sentence may name an option without its value
        if type(error).__name__ != "BadOptionUsage":
            yield str(error)
        return
    yield from faults_of_names(given, is_bench=command.name in ("classifiers", "generators", "memorisation"))


OF_FAMILIES = {f"model.{name}" for family in FAMILIES.values() for name in family.settings.model_fields}


def faults_of_names(given: dict[str, Any], *, is_bench: bool) -> Iterator[str]:
    """Methods, probes and settings that there are not."""
    method = given.get("method") or "encoder-noise"
    if method not in METHODS and method != "NAME":
        yield f"no method {method}"
    for probe in given.get("probe") or ():
        if probe not in PROBES and probe not in ("cheap", "all", "NAME"):
            yield f"no probe {probe}"
    # the settings of a benchmark's task depend on its file
    for key in (pair.partition("=")[0] for pair in given.get("set_") or () if not is_bench):
        name = re.sub(r"^method\.", f"method[{method}].", key)
        if name not in OF_FAMILIES and not any(
            known == name or known.startswith(f"{name}.") for known in settings()
        ):
            yield f"no setting {key}"


def test_no_sentence_says_more_than_was_measured() -> None:
    found = [
        f"{page}: {match[0]}: {why}"
        for page in PAGES
        for phrase, why in FORBIDDEN.items()
        for match in re.finditer(phrase, page.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


def test_no_page_says_that_nothing_could_be_forgotten() -> None:
    texts = [*(ROOT / "src").rglob("*.py"), *(ROOT / "src").rglob("*.j2")]
    joined = {path: " ".join(path.read_text(encoding="utf-8").split()) for path in texts}
    phrase = re.compile(r"nothing that could be (\w+ )?forgotten|study is void")
    assert not [path.relative_to(ROOT).as_posix() for path, text in joined.items() if phrase.search(text)]


@pytest.mark.parametrize(("high", "told"), [(0.9999999, "yes"), (0.97, "yes"), (1.0, "no"), (1.04, "no")])
def test_a_score_says_whether_it_is_told_apart(high: float, told: str) -> None:
    row = BenchRow(
        label="x",
        kind="method",
        settings="default",
        measures={"robust": Estimate(value=0.9, low=0.8, high=high, each=[])},
    )
    score, apart = generator_tables._score(row)
    assert apart == told
    assert ("to 1.0" in score) is (told == "no")
