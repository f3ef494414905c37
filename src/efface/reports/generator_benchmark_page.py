"""The files of a benchmark of generators: `report.html`, `results.csv`, `results.md`, and, asked for, `pictures.html`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from efface.benchmark.generators.table import BY_SET, MEASURES
from efface.files import write_text
from efface.reports.benchmark_page import machine_facts
from efface.reports.generator_benchmark_charts import pareto, rank, relearning
from efface.reports.generator_benchmark_pictures import MAPPED, MOST_POINTS, maps, write_generator_pictures
from efface.reports.generator_benchmark_tables import (
    NAMES,
    gap_agreement,
    in_words,
    levels_of,
    reading,
    remarks,
    strength,
    tables_of,
    write_csv,
    write_markdown,
)
from efface.reports.page import render
from efface.wording import counted, duration

if TYPE_CHECKING:
    from efface.benchmark.generators.runs import GeneratorOutputs
    from efface.benchmark.pool import Pool

Results = Mapping[str, Any]
Pools = Mapping[str, "Pool[GeneratorOutputs]"]


def write_generator_benchmark(results: Results, out: Path, pools: Pools | None = None) -> Path:
    """Write all files into `out`, each atomically; returns the path of `report.html`, which needs nothing beside it.

    pools: the runs of each task, by its name. With them there are maps of embeddings in the report, and `pictures.html`
    is written, which shows images that were to be forgotten; the report holds none of them.
    """
    out = Path(out)
    write_csv(results, out / "results.csv")
    write_markdown(results, out / "results.md")
    path = out / "report.html"
    write_text(path, render("generator_benchmark.html", **page_content(results, pools)))
    if pools is not None:
        write_generator_pictures(results, out, pools)
    return path


def page_content(results: Results, pools: Pools | None = None) -> dict[str, Any]:
    """What the template shows, as plain values."""
    parts = [
        _part(results, task, corruption, pools, f"part{place}-{number}")
        for place, (task, found) in enumerate(results["tasks"].items())
        for number, corruption in enumerate(found["corruptions"])
    ]
    cost = results["cost"]["before"]
    return {
        "results": results,
        "reading": reading(results),
        "parts": parts,
        "several": len(parts) > 1,
        "measures": [(NAMES.get(name, name), about) for name, about in {**MEASURES, **BY_SET}.items()],
        "percent": f"{100 * results['confidence']:g} %",
        "models": f"{counted(cost['originals'], 'original')}, {cost['retrained']} retrained and "
        f"{cost['unlearned']} unlearned models",
        "expected": duration(cost["seconds"]),
        "wall": duration(results["cost"]["wall_seconds"]),
        "machine": machine_facts(results["machine"]),
        "config": yaml.safe_dump(results["config"], sort_keys=False).splitlines(),
        "mapped": MAPPED,
        "most_points": MOST_POINTS,
    }


def _part(results: Results, task: str, corruption: str, pools: Pools | None, name: str) -> dict[str, Any]:
    """One task under one corruption."""
    found, config = results["tasks"][task], results["config"]["tasks"][task]
    is_first = corruption == found["corruptions"][0]
    agreed = gap_agreement(results, found, corruption)
    steps = (config.get("relearning") or {}).get("steps", ())
    charts = [pareto(found, corruption, f"{name}-pareto")]
    if is_first:
        # scores and relearning are those of the corruption that unlearning sees
        charts += [rank(found, f"{name}-rank"), *relearning(found, steps, f"{name}-relearning")]
    return {
        "task": task,
        "corruption": corruption,
        "is_first": is_first,
        "facts": _facts(found, config, corruption),
        "void": found["void"][corruption] and bool(found["fills"].get(corruption)),
        "strength": strength(found, corruption),
        "tables": tables_of(results, task, corruption),
        "levels": levels_of(found, corruption),
        "agreement": in_words(agreed) if agreed else None,
        "remarks": remarks(found),
        "charts": [chart for chart in charts if chart],
        "maps": maps(results, task, corruption, pools[task], f"{name}-map") if pools else [],
        "notes": found["notes"],
    }


def _facts(found: Mapping[str, Any], config: Mapping[str, Any], corruption: str) -> list[tuple[str, str]]:
    images, shape = config["images"], config["architecture"]
    trained, measured = found["trained_on"], found["images"]
    path = f" ({images['path']})" if images.get("path") else ""
    unlearning = config["unlearning"].get("steps")
    return [
        ("Images", f"{images['data']}{path}, {shape['image_size']} px; forgotten: {images['forget']}"),
        (
            "Trained on",
            f"{trained['forget'] + trained['retain']} images, {trained['forget']} of them to be forgotten",
        ),
        ("Measured", ", ".join(f"{count} {name}" for name, count in measured.items()) + " images"),
        (
            "Hidden",
            corruption + ("" if corruption == found["corruptions"][0] else ", which unlearning never saw"),
        ),
        (
            "Models",
            f"{config['generator']}; {config['training']['steps']} steps of training"
            + (f", {unlearning} of unlearning" if unlearning else ""),
        ),
        ("Features", config["evaluation"]["extractor"]),
    ]
