"""Planted failures: does the verdict, or a probe, catch models that only seem to have forgotten, and spare those that did?

For every seed the honest models are trained (other images, other weights), failures are planted among them, and each is
put to the product. Where the verdict alone says *yes*, the probes that are made to see the failure are asked as well.
What was done is kept, so that a stopped run goes on.

Of models that were trained by steps, which take seconds each, fewer plants are made, and every one is asked by the same
five probes: their rates stand in a result of their own.

    nice python benchmarks/planted.py --work runs/planted
    nice python benchmarks/planted.py --trained --seeds 10 --work runs/planted-trained
    python benchmarks/planted.py --smoke
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from efface.evaluation.verdict import WORDS, Verdict
from efface.probes import closer_to_retrained
from efface.probes.findings import Findings
from efface.probes.registry import contradicting
from efface.runs.requirements import LEAST_P
from machine import add_options, finish
from planting import classifiers, generators, trained
from planting.asking import Sameness, asker, copies_seen
from planting.bound import nothing_forgotten
from planting.plant import Plant
from planting.worlds import ClassifierWorld, GeneratorWorld

CLOSED: Mapping[str, tuple[Any, Any]] = {
    "generators": (GeneratorWorld, generators.PLANTS),
    "classifiers": (ClassifierWorld, classifiers.PLANTS),
}
KINDS = {**CLOSED, **trained.PLANTS}
SEEDS, BOUNDS = 100, 10
"""Seeds; those of which a yes is followed by the probes made for the plant; networks for the bound on weights."""


def asked_of(
    kind: str, seed: int, folder: Path, follow: bool, done: Collection[str]
) -> Iterator[dict[str, Any]]:
    """A row for each plant of a seed that is not done; follow: whether the probes made for a plant follow a yes."""
    world_of, plants = KINDS[kind]
    left = [plant for plant in plants if plant.name not in done]
    if not left:
        return
    world = world_of(seed)
    asks = asker(world, folder)
    for plant in left:
        row = row_of(plant, world, asks, follow)
        yield {"kind": kind, "seed": seed, "plant": plant.name, "followed": follow, **row}


def row_of(plant: Plant[Any], world: Any, asks: Any, follow: bool) -> dict[str, Any]:
    """What the product says of one plant."""
    case = plant.make(world)
    alone = asks.verdict(case)
    names = world.always or (plant.probes if follow and alone.word == "yes" else ())
    findings = asks.asked(case, names)
    verdict = Verdict.on(alone.model_copy(update={"probes": contradicting(findings)}))
    sameness = Sameness.of(case)
    row = {
        "alone": alone.word,
        "word": verdict.word,
        "specific": alone.specific.word,
        "left": rounded(alone.left),
        "gap": rounded(alone.gap),
        "against": [name for name, contradicts in verdict.probes.items() if contradicts],
        "asked": list(verdict.probes),
        "same": "refused" if sameness.refused else sameness.notes,
    }
    if world.always:
        row["told"], row["nearer"] = told(findings), nearer(findings)
    if follow and plant.name == "near-copies" and isinstance(world, GeneratorWorld):
        row["copies"] = [copies_seen(world), len(world.copies)]
    return row


def told(findings: Findings) -> dict[str, bool]:
    """By figure that stands beside the retrained model's: whether it says that more is remembered."""
    against = contradicting(findings)
    low = {
        one.figure: one.difference_low > 0
        for one in findings.figures
        if one.model == "unlearned" and one.goal == "low" and one.difference_low is not None
    }
    return {**low, **against}


def nearer(findings: Findings) -> dict[str, Any]:
    """The side on which the model lies by `closer-to-retrained`, and the p value beside another retraining."""
    closer, alike = findings.find(closer_to_retrained.FIGURE), findings.find(closer_to_retrained.LIKENESS)
    if closer is None or closer.low is None or closer.high is None:
        return {"side": "not measured"}
    side = "retrained" if closer.low > 0 else "original" if closer.high < 0 else "either"
    return {"side": side, "p": alike.value if alike else None}


def rounded(found: Any) -> list[float] | None:
    return [float(f"{end:.3g}") for end in (found.value, found.low, found.high)] if found else None


def summary(rows: Iterable[Mapping[str, Any]], plant: Plant[Any], asked: int) -> dict[str, Any]:
    """What the rows of a plant amount to; asked: seeds of which a yes was followed by probes."""
    rows = sorted(rows, key=lambda row: row["seed"])
    followed = [row for row in rows if row["seed"] < asked]
    against = Counter(name for row in followed for name in row["against"])
    return {
        "words": plant.words,
        "gone": plant.gone,
        "seeds": len(rows),
        "alone": counted(row["alone"] for row in rows),
        "made_for_it": list(plant.probes),
        "followed": len(followed),
        "with_probes": counted(row["word"] for row in followed),
        "specific": dict(Counter(row["specific"] for row in rows)),
        "against": dict(against.most_common()),
        "same": dict(Counter(str(row["same"]) for row in rows)),
        "copies": [row["copies"] for row in rows if "copies" in row],
        **(_of_all_probes(rows) if all("told" in row for row in rows) else {}),
    }


def _of_all_probes(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By figure, at how many seeds it was had, and at how many it says that more is remembered; and the relative tests."""
    asked = Counter(name for row in rows for name in row["told"])
    says = Counter(name for row in rows for name, more in row["told"].items() if more)
    p_values = [row["nearer"]["p"] for row in rows if row["nearer"].get("p") is not None]
    return {
        "told": {name: [says[name], count] for name, count in asked.items()},
        "nearer": dict(Counter(row["nearer"]["side"] for row in rows)),
        "farther_than_another": [sum(value < LEAST_P for value in p_values), len(p_values)],
    }


def counted(words: Iterable[str]) -> dict[str, int]:
    """How often each word of a verdict, without those that were never said."""
    found = Counter(words)
    return {word: found[word] for word in WORDS if found[word]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument(
        "--asked", type=int, default=SEEDS, help="of these, the probes made for a plant follow a yes"
    )
    parser.add_argument("--trained", action="store_true", help="models that are trained by steps instead")
    parser.add_argument("--work", type=Path, help="where rows are kept, so that a stopped run goes on")
    add_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.smoke:
        options.seeds, options.asked = 1, 0
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        kinds = [*(trained.PLANTS if options.trained else CLOSED)]
        rows = gathered(kinds, options.seeds, options.asked, work)
    values: dict[str, Any] = {kind: table(kind, rows, options.asked) for kind in kinds}
    if options.trained:
        finish("planted_trained", values, options)
        return
    bounds = [nothing_forgotten(seed) for seed in range(1 if options.smoke else BOUNDS)]
    finish("planted", {**values, "bound": bounds}, options)


def gathered(kinds: Sequence[str], seeds: int, asked: int, work: Path) -> list[dict[str, Any]]:
    """All rows of so many seeds, of the first `asked` with probes; those that are kept in `work` are not made again."""
    kept = work / "rows.jsonl"
    rows = (
        [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()] if kept.exists() else []
    )
    with kept.open("a", encoding="utf-8") as file:
        for seed in range(seeds):
            for kind in kinds:
                done = {
                    row["plant"]
                    for row in rows
                    if (row["kind"], row["seed"]) == (kind, seed)
                    # probes can only take a yes away
                    if row["followed"] or seed >= asked or row["alone"] != "yes"
                }
                began = time.monotonic()
                for row in asked_of(kind, seed, work, seed < asked, done):
                    rows.append(row)
                    file.write(json.dumps(row) + "\n")
                    file.flush()
                print(f"{kind}, seed {seed}: {time.monotonic() - began:.1f} s", flush=True)
    # a seed whose yes was followed later has two rows, of which the later one counts
    latest = {(row["kind"], row["seed"], row["plant"]): row for row in rows if row["seed"] < seeds}
    return list(latest.values())


def table(kind: str, rows: Iterable[Mapping[str, Any]], asked: int) -> dict[str, Any]:
    """The plants of a kind in the order of the table."""
    of_kind = [row for row in rows if row["kind"] == kind]
    return {
        plant.name: summary(own, plant, asked)
        for plant in KINDS[kind][1]
        if (own := [row for row in of_kind if row["plant"] == plant.name])
    }


if __name__ == "__main__":
    main()
