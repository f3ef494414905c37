"""Many deletion requests one after another against one joint request: what drifts, what comes back, when to retrain.

    python benchmarks/sequence.py benchmarks/configs/sequence.yaml --out runs/sequence

For every seed an original is trained, and a model without any of the forget images. Each method then forgets them in
equal requests, every one from the model that the last one left (which is also its teacher) with what is not yet asked
for still among the retain images; and all at once, with the steps of one request and with those of all of them. The
rule of `efface.evaluation.drift` is asked after every request. A seed's figures lie in DIR; the same command goes on
with the next one. `docs/sequences.md` reads the result, and `docs/make.py` draws it.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from efface.benchmark.generators.data import GeneratorData, images_of
from efface.benchmark.generators.models import trained, unlearn
from efface.benchmark.generators.task import GeneratorTask
from efface.corruptions import parse_corruption
from efface.documents import read_yaml
from efface.evaluation.answers import answers_of
from efface.evaluation.drift import History, Limits, Remeasured, Request, retrain_due
from efface.files import write_json
from efface.generators.base import Generator
from efface.images.items import ImageSet
from efface.metrics.extractors import load_extractor
from efface.metrics.intervals import student_interval
from efface.progress import Progress
from efface.randomness import numpy_draws
from machine import write_result

Floats = npt.NDArray[np.float64]
Figures = dict[str, Any]
FIRST = 5
"""Requests whose images are followed to the end: do they come back?"""
RETRAINED_SEED = 1000
"""Added to a seed for the model without the forget images, so that it shares no draw with the original."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    config = read_yaml(options.config)
    progress = Progress.on_terminal()
    found = []
    for seed in config["seeds"]:
        place = options.out / f"seed-{seed}.json"
        if not place.exists():
            options.out.mkdir(parents=True, exist_ok=True)
            write_json(place, one_seed(config, seed, progress))
        found.append(json.loads(place.read_text(encoding="utf-8")))
    write_result("sequence", {"config": config, **summary(config, found)}, options.results)


@dataclass(frozen=True)
class Bench:
    """One seed's task, images in the order of their requests, and how a model is measured."""

    task: GeneratorTask
    data: GeneratorData
    forget: ImageSet
    requests: int
    seed: int

    @property
    def size(self) -> int:
        return len(self.forget) // self.requests

    def asked(self, first: int, last: int) -> GeneratorData:
        """The data while the requests `first` to `last - 1` are unlearned: what is asked for later is retained."""
        now = self.forget.subset(range(first * self.size, last * self.size))
        later = self.forget.subset(range(last * self.size, len(self.forget)))
        retain = self.data.sets["retain"].union(later)
        sets = {**self.data.sets, "forget": now, "retain": retain}
        return replace(self.data, sets=sets)

    def measured(self, generator: Generator) -> Figures:
        """Mean error in the hole: by request, on never forgotten retain images, and on neutral ones."""
        return {
            "by_request": self._errors(generator, self.forget).reshape(self.requests, -1).mean(1).tolist(),
            "retain": float(self._errors(generator, self.data.sets["retain"]).mean()),
            "neutral": float(self._errors(generator, self.data.sets["neutral"]).mean()),
        }

    def _errors(self, generator: Generator, images: ImageSet) -> Floats:
        settings = self.task.evaluation
        found, _ = answers_of(
            {"unlearned": generator}, images, self.data.pictures, parse_corruption(self.task.corruptions[0]),
            load_extractor(settings.extractor, settings.extractor_input), settings,
        )  # fmt: skip
        return found["unlearned"].of_images("hole_mse")


def one_seed(config: Mapping[str, Any], seed: int, progress: Progress) -> Figures:
    """Train, retrain, and let every method unlearn in both ways; raw figures."""
    task = GeneratorTask.from_values(config["task"])
    data = images_of(task)
    forget = data.sets["forget"]
    order = numpy_draws(seed, "sequence", "order of requests").permutation(len(forget)).tolist()
    bench = Bench(task, data, forget.subset(order), config["requests"], seed)
    original, training = trained(task, data, forget.union(data.sets["retain"]), seed)
    retrained, retraining = trained(task, data, data.sets["retain"], seed + RETRAINED_SEED)
    progress.say(f"seed {seed}: trained in {training.seconds:.0f} s and {retraining.seconds:.0f} s")
    found: Figures = {
        "original": {**bench.measured(original), "seconds": training.seconds},
        "retrained": {**bench.measured(retrained), "seconds": retraining.seconds},
        "methods": {},
    }
    for entry in config["methods"]:
        section = dict(entry)
        label, began = section.pop("label"), time.monotonic()
        steps = task.unlearning["steps"]
        found["methods"][label] = {
            "sequence": in_turn(bench, original, section),
            "joint": at_once(bench, original, section, steps),
            "joint_same_steps": at_once(bench, original, section, steps * bench.requests),
        }
        progress.say(f"seed {seed}: {label} in {time.monotonic() - began:.0f} s")
    return found


def in_turn(bench: Bench, original: Generator, section: Mapping[str, Any]) -> list[Figures]:
    """Figures behind each request."""
    generator, found = copy.deepcopy(original), []
    for number in range(bench.requests):
        data = bench.asked(number, number + 1)
        report = unlearn(generator, section, bench.task, data, bench.seed * bench.requests + number)
        found.append({**bench.measured(generator), "seconds": report.seconds})
    return found


def at_once(bench: Bench, original: Generator, section: Mapping[str, Any], steps: int) -> Figures:
    """Figures behind one request for all images."""
    generator = copy.deepcopy(original)
    section = {**section, "training": {**section.get("training", {}), "steps": steps}}
    report = unlearn(generator, section, bench.task, bench.asked(0, bench.requests), bench.seed)
    return {**bench.measured(generator), "seconds": report.seconds}


def summary(config: Mapping[str, Any], found: Sequence[Figures]) -> Figures:
    """Means over seeds with their intervals (of costs and levels, geometric ones), and what the rule said seed by seed."""
    limits = Limits.read(config["limits"], where="limits")
    references = {
        name: {
            "forget": over_seeds([np.mean(seed[name]["by_request"]) for seed in found]),
            **{
                one: over_seeds([seed[name][one] for seed in found])
                for one in ("retain", "neutral", "seconds")
            },
        }
        for name in ("original", "retrained")
    }
    methods: Figures = {}
    for section in config["methods"]:
        label = section["label"]
        methods[label] = of_method([(seed, seed["methods"][label]) for seed in found], limits)
    return {**references, "methods": methods}


def of_method(seeds: Sequence[tuple[Figures, Figures]], limits: Limits) -> Figures:
    """Curves along the requests, the joint requests, and the rule."""
    requests = len(seeds[0][1]["sequence"])
    first = min(FIRST, requests)
    curves = [
        figures_over_seeds([levels(seed, mine["sequence"][number], number + 1) for seed, mine in seeds])
        for number in range(requests)
    ]
    joint = {
        name: figures_over_seeds([levels(seed, mine[name], requests) for seed, mine in seeds])
        for name in ("joint", "joint_same_steps")
    }
    last = [mine["sequence"] for _, mine in seeds]
    back = [
        np.mean(sequence[-1]["by_request"][:first])
        / np.mean([sequence[number]["by_request"][number] for number in range(first)])
        for sequence in last
    ]
    return {
        "sequence": curves,
        **joint,
        "first_now_over_then": ratio_over_seeds([float(one) for one in back]),
        "seconds": {
            "sequence": over_seeds([sum(one["seconds"] for one in sequence) for sequence in last]),
            **{name: over_seeds([mine[name]["seconds"] for _, mine in seeds]) for name in joint},
        },
        "rule": {
            "retain_alone": [advised(seed, mine["sequence"], limits, again=False) for seed, mine in seeds],
            "all": [advised(seed, mine["sequence"], limits, again=True) for seed, mine in seeds],
        },
    }


def levels(seed: Figures, mine: Figures, count: int) -> dict[str, float]:
    """Costs over the original's errors, levels over the retrained model's; `count` requests have been unlearned."""
    retrained = seed["retrained"]["by_request"]

    def level(first: int, last: int) -> float:
        return float(np.mean(mine["by_request"][first:last]) / np.mean(retrained[first:last]))

    return {
        "retain_cost": mine["retain"] / seed["original"]["retain"],
        "neutral_cost": mine["neutral"] / seed["original"]["neutral"],
        "forgotten": float(np.mean(mine["by_request"][:count])),
        "forgotten_level": level(0, count),
        "first_request_level": level(0, 1),
        "first_level": level(0, min(FIRST, count)),
        "latest_level": level(count - 1, count),
    }


def over_seeds(values: Sequence[float] | Floats) -> Figures:
    """Mean, and Student's interval of it where there are two seeds or more."""
    array = np.asarray(values, dtype=np.float64)
    found = {"mean": float(array.mean())}
    if interval := student_interval(array):
        found |= {"low": interval.low, "high": interval.high}
    return {**found, "values": array.tolist()}


def figures_over_seeds(each: Sequence[Mapping[str, float]]) -> Figures:
    return {name: ratio_over_seeds([one[name] for one in each]) for name in each[0]}


def ratio_over_seeds(values: Sequence[float]) -> Figures:
    """Geometric mean, and Student's interval of the mean logarithm: a ratio of 2 is as far from 1 as one of 1/2."""
    logs = over_seeds(np.log(values))
    ends = {name: float(np.exp(logs[name])) for name in ("mean", "low", "high") if name in logs}
    return {**ends, "values": list(values)}


def advised(seed: Figures, sequence: Sequence[Figures], limits: Limits, *, again: bool) -> list[str]:
    """What the rule says behind each request, from what an operator would have measured by then."""
    found, before = [], seed["original"]["retain"]
    requests: list[Request] = []
    retrained = seed["retrained"]["by_request"]
    for number, mine in enumerate(sequence):
        requests.append(
            Request(
                f"request {number + 1}", before, mine["retain"], mine["by_request"][number], retrained[number]
            )
        )
        before = mine["retain"]
        earlier: tuple[Remeasured, ...] = ()
        if again and number:
            then = [sequence[one]["by_request"][one] for one in range(number)]
            now = float(np.mean(mine["by_request"][:number]))
            earlier = (Remeasured("earlier", now, float(np.mean(then)), float(np.mean(retrained[:number]))),)
        found.append(retrain_due(History(tuple(requests), None, earlier), limits).when)
    return found


if __name__ == "__main__":
    main()
