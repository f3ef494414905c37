"""The table of methods, `docs/methods/README.md`, from what the methods declare: `python docs/make_methods.py`."""

from __future__ import annotations

from pathlib import Path

from efface.methods import CLASSIFIER_METHODS, GENERATOR_METHODS, ClassifierMethod, GeneratorMethod

PAGE = Path(__file__).parent / "methods" / "README.md"
TOP = """# Methods

What each method needs and claims, as its class declares; `python docs/make_methods.py` writes this page. A name leads to
the method's card: formula, settings, cost, what to expect, source and deviations. Another package adds a method with an
entry point in the group `efface.methods`.
"""
FOR_CLASSIFIERS = """
## For classifiers

Forget and retain images are always named. *Original*: the frozen original is asked while the model trains. How they
compare on one footing: [the benchmark](../benchmark.md).
"""


def page() -> str:
    """The whole page."""
    methods = CLASSIFIER_METHODS.built_in.values()
    competition = _table(
        "Entries to the first NeurIPS unlearning competition", [one for one in methods if one.competition]
    )
    baselines = _table("Reference and baselines", [one for one in methods if not one.competition])
    return f"{TOP}\n## For generators\n\n{_generators()}{FOR_CLASSIFIERS}{competition}{baselines}"


def _generators() -> str:
    lines = [
        "| method | what it does | trains | retain images | forget images in training | claim |",
        "|---|" + "---|" * 5,
    ]
    return "\n".join(lines + [_generator(method) for method in GENERATOR_METHODS.built_in.values()]) + "\n"


def _generator(method: type[GeneratorMethod]) -> str:
    trains = "encoder" if method.trains == "encoder" else "whole model"
    cells = [trains, _said(method.needs_retain), _said(method.needs_forget), method.claim]
    return f"| [`{method.name}`]({method.name}.md) | {method.summary} | " + " | ".join(cells) + " |"


def _table(title: str, methods: list[type[ClassifierMethod]]) -> str:
    head = (
        "| method | what it does | forget images | validation | labels | original | deterministic | claim |"
    )
    lines = [f"\n### {title}\n", head, "|---|" + "---|" * 7]
    for method in methods:
        traits = (method.needs_forget, method.needs_validation, method.needs_labels, method.needs_original)
        cells = [*map(_said, (*traits, method.deterministic)), method.claim]
        link = f"[`{method.name}`](classifier/{method.name}.md)"
        lines.append(f"| {link} | {method.summary} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _said(trait: bool) -> str:
    return "yes" if trait else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
