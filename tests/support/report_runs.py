"""Small run folders, written by hand, and a reader that finds faults in a page."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from efface.evaluation.results import Row
from efface.runs.digests import RESULT_FILES, file_digests
from efface.runs.record import SCHEMA, Record, write_record

VOID = {"meta", "br", "img", "link", "hr", "input"}
DIGEST = "0123456789abcdef" * 4


class Page(HTMLParser):
    """A parsed page: its text, its tags with attributes, and whether every tag is closed where it should be."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source, self.open, self.faults = source, [], []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(source)
        self.close()
        self.faults += [f"<{tag}> is never closed" for tag in self.open]
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def row(model: str, set_name: str, value: float | None, metric: str = "hole_mse", **others: Any) -> Row:
    """A row with an interval of a tenth around its value."""
    spread = None if value is None else abs(value) / 10
    values: dict[str, Any] = {
        "low": None if value is None or spread is None else value - spread,
        "high": None if value is None or spread is None else value + spread,
        "direction": "match_retrained" if set_name == "forget" else "down",
        "reference": None,
        "reference_value": None,
        "distance": None,
        "distance_low": None,
        "distance_high": None,
        "unit": "squared intensity, 0 to 1",
        "n": 40,
        "crops": 1,
        "corruption": "centre:0.5",
        "sampler": None,
        "extractor": None,
        "seed": 0,
        "note": None,
    }
    return Row(model=model, set=set_name, metric=metric, value=value, **(values | others))  # type: ignore[arg-type]


def rows_of(
    set_name: str,
    original: float,
    unlearned: float,
    retrained: float | None,
    half: float = 0.001,
    metric: str = "hole_mse",
) -> list[Row]:
    """The rows of one set; the interval of each distance is `half` to both sides of it."""

    def against(value: float, reference: str, other: float) -> dict[str, Any]:
        gap = value - other
        bounds = {"distance_low": gap - half, "distance_high": gap + half}
        return {"reference": reference, "reference_value": other, "distance": gap, **bounds}

    if retrained is None:
        first, second = {}, against(unlearned, "original", original)
    else:
        first, second = against(original, "retrained", retrained), against(unlearned, "retrained", retrained)
    rows = [
        row("original", set_name, original, metric, **first),
        row("unlearned", set_name, unlearned, metric, **second),
    ]
    return rows if retrained is None else [*rows, row("retrained", set_name, retrained, metric)]


def write_sealed(run: Path, values: dict[str, Any]) -> None:
    """Write the record as a run does, bound to the result files that lie in its folder."""
    files = file_digests(run, RESULT_FILES)
    write_record(run, Record.model_validate(values | {"results": {"files": files, "rows": 6}}))


def described(**changes: Any) -> dict[str, Any]:
    """What a masked autoencoder says of itself."""
    facts = {"kind": "generator", "family": "mae", "image_size": 32, "parameters": 40_000}
    return {**facts, "origin": {}, "details": {}, **changes}


def a_record(**changes: Any) -> dict[str, Any]:
    """The record of an unlearning run, as its file holds it; `changes` are fields in place of these."""
    before, after = ({"weights": letter * 64, "description": described()} for letter in "bc")
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": "unlearning",
        "claim": {"level": "empirical", "words": "The delivered model was changed; nothing is proven."},
        "request": {
            "id": "R-7",
            "received": "2026-03-02",
            "regime": "GDPR Art. 17",
            "reason": "consent withdrawn",
        },
        "started": "2026-03-03T10:00:00+00:00",
        "finished": "2026-03-03T10:05:00+00:00",
        "durations": {"preparation": 1.5, "training": 100.0, "evaluation": 20.0},
        "config": {"sha256": DIGEST, "names": "config.yaml keeps labels"},
        "model": {"before": before, "after": {**after, "files": {"model.safetensors": "d" * 64}}},
        "retrained": None,
        "sources": {"model": before["weights"]},
        "method": {
            "name": "encoder-noise",
            "summary": "towards noise",
            "source": "Li et al., 2024",
            "deviations": "none known",
            "settings": {"alpha": 0.3},
            "trains": "encoder",
        },
        "training": a_training(),
        "first_stage": None,
        "statistics": None,
        "corruption": "centre:0.5",
        "seeds": {"unlearning": 3, "evaluation": 5},
        "images": images_facts(),
        "notes": [],
        "risks": [],
        "evaluation": an_evaluation(),
        "results": {"files": {}, "rows": 6},
        "environment": {
            "python": "3.11.7",
            "platform": "Linux x86_64",
            "processor": "a processor",
            "cores": 2,
            "memory_gib": 8.0,
            "instructions": "AVX2",
            "gpus": [],
            "threads": 2,
            "packages": {"torch": "2.9"},
            "source": {"commit": None, "changed": None},
        },
        "working_files": {"kept": [], "removed": 4},
        "limits": ["A record can show what was done; it cannot make a dishonest operator honest."],
    }
    return record | changes


def a_training(**changes: Any) -> dict[str, Any]:
    """How a generator was trained; `changes` in place of these facts, settings as they are by default."""
    facts = {
        "steps": 40,
        "seconds_per_step": 2.5,
        "precision": "fp32",
        "processes": 1,
        "resumed_from": None,
        "changed_tensors": 9,
        "tensors": 21,
        "budget": None,
        "corruption": "random:0.75",
        "settings": {"batch_size": 16},
    }
    return facts | changes


def an_evaluation(extractor: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    """How generators were measured; `settings` in place of the default ones."""
    features = {
        "name": "filter-bank-64",
        "dimension": 64,
        "digest": "a" * 64,
        "comparable_to": "with each other",
    }
    return {"settings": {"seed": 5, **settings}, "extractor": features | (extractor or {})}


def images_facts(counts: dict[str, int] | None = None, **changes: Any) -> dict[str, Any]:
    """How the image sets came about; `changes` are fields in place of these."""
    counts = counts or {"forget": 40, "retain": 80}
    facts: dict[str, Any] = {
        "earlier": {"followed": True, "requests": []},
        "sets": {name: {"count": count, "sha256": "e" * 64} for name, count in counts.items()},
        "split_files": [],
        "proxy_retain": False,
        "skipped": {"count": 0, "reasons": []},
        "duplicates": {"exact": 0, "near": 0, "action": "stop", "agreement": 0.85, "apart": 0},
    }
    return facts | changes
