"""The account that every job gives of itself: sets, models and figures, as the record holds them."""

from __future__ import annotations

import csv
import hmac
import io
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from efface.classifiers.classifier import Classifier
from efface.corruptions import parse_corruption
from efface.errors import RunRefused
from efface.evaluation.answers import Wanted, view_batches
from efface.evaluation.protocol import Evaluation, evaluate
from efface.evaluation.results import ModelName, SetName, write_results
from efface.evaluation.settings import EvaluationSettings
from efface.files import (
    canonical_json,
    flush_folder,
    sha256_of_bytes,
    sha256_of_file,
    system_errors,
    write_json,
    write_text,
)
from efface.generators.base import Generator
from efface.images.items import ImageSet
from efface.images.selection import Split
from efface.images.splits import split_facts_of
from efface.jobs.preparation import Prepared
from efface.methods.base import Method
from efface.metrics.extractors import FeatureExtractor
from efface.progress import Progress
from efface.runs.folder import RunFolder
from efface.runs.record import manifest_text, write_manifest
from efface.training.settings import TrainingSettings

IMAGES_FOR_RISKS = 16
Model = Generator | Classifier


def split_facts(split: Split, selectors: Iterable[str]) -> dict[str, Any]:
    """How the sets came about: by which split files, what was left out, what was found twice, and the notes."""
    return {
        "split_files": split_facts_of(selectors),
        "notes": list(split.notes),
        "proxy_retain": split.proxy,
        "skipped": {
            "count": len(split.skipped),
            # without what stands in brackets: it may quote a part of the plain id
            "reasons": sorted({fault.reason.partition(" (")[0] for fault in split.skipped}),
        },
        "duplicates": {
            "exact": split.duplicates.count("exact"),
            "near": split.duplicates.count("near"),
            "action": split.duplicates.action,
            "distance": split.duplicates.distance,
        },
    }


def manifests(run: Path, sets: Mapping[Any, ImageSet], key: bytes) -> dict[str, Any]:
    """Write the manifest of every set; returns their counts and digests."""
    return {name: write_manifest(run, name, images, key) for name, images in sets.items()}


def refuse_other_images(sets: Mapping[Any, ImageSet], key: bytes, recorded: Mapping[str, Any]) -> None:
    """Raise `RunRefused` if a continued run would go on with other images than its manifests name."""
    changed = [
        f"{name}: {recorded[name]['count']} images when the run began, {len(images)} now"
        for name, images in sets.items()
        if sha256_of_bytes(manifest_text(images, key).encode()) != recorded[name]["sha256"]
    ]
    if changed:
        raise RunRefused(
            "the images are no longer those with which this run began; put them back to continue it, or choose "
            "another --out folder. What differs:\n" + "\n".join(f"  - {line}" for line in changed)
        )


def refuse_other_models(models: Mapping[str, Model | None], recorded: Mapping[str, Any]) -> None:
    """Raise `RunRefused` if a continued run would go on with another model, `before` or `retrained`."""
    for name, model in models.items():
        if model and model.weights_digest() != recorded[name]["weights"]:
            what = "model" if name == "before" else "retrained model"
            raise RunRefused(
                f"the {what} is no longer the one with which this run began: its weights differ. Put it back to "
                "continue, or choose another --out folder"
            )


def keyed_pairs(prepared: Prepared, key: bytes) -> str | None:
    """A digest of which picture is shown in each image's place, that says nothing without the key; None for no pairs."""
    pairs = [prepared.pairs, prepared.training_pairs]
    if pairs == [None, None]:
        return None
    return hmac.new(key, canonical_json(pairs).encode(), "sha256").hexdigest()


def only_retain_images(preparation: Mapping[str, Any]) -> bool:
    """Whether nothing but the named retain images, free of copies of forgotten ones, is trained on."""
    duplicates = preparation["duplicates"]
    ignored = duplicates["action"] == "ignore" and (duplicates["exact"] or duplicates["near"])
    return not (preparation["proxy_retain"] or ignored)


def model_facts(model: Model) -> dict[str, Any]:
    """Digest of a model's weights, and what it is."""
    return {"weights": model.weights_digest(), "description": model.describe()}


def method_facts(method: Method, trains: str) -> dict[str, Any]:
    """The method as the record names it, and what of the model it trains."""
    return {
        "name": method.name,
        "summary": method.summary,
        "source": method.source,
        "deviations": method.deviations,
        "settings": without_places(method.model_dump(mode="json")),
        "trains": trains,
    }


def without_places(value: Any) -> Any:
    """Settings as a record may show them: a file by its digest, another place not at all."""
    if isinstance(value, Mapping):
        return {name: without_places(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(one) for one in value]
    if isinstance(value, str) and Path(value).is_file():
        return f"sha256:{sha256_of_file(Path(value))}"
    return "(a place)" if isinstance(value, str) and "/" in value else value


def first_stage_of(facts: Mapping[str, Any]) -> str | None:
    """Digest of the first stage of a model, from its facts; None for a model without."""
    stage = facts["description"].get("first_stage")
    return str(stage["weights"]) if stage else None


def shares_first_stage(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two models have the very same first stage."""
    return first_stage_of(one) is not None and first_stage_of(one) == first_stage_of(other)


def retrained_facts(
    reference: Mapping[str, Any] | None, original: Mapping[str, Any], stages: str
) -> dict[str, Any] | None:
    """The facts of the reference; a first stage that it shares with the original was not retrained."""
    if reference is None:
        return None
    if stages == "all" and shares_first_stage(reference, original):
        stages = "encoder and decoder only; the first stage is the original's"
    return {**reference, "stages": stages}


def extractor_facts(prepared: Prepared) -> dict[str, Any]:
    """Which features were used, and what their distances compare with; `similarity` where the cosine has its own."""
    facts: dict[str, Any] = {"extractor": _facts_of(prepared.extractor)}
    if prepared.similarity is not None and prepared.similarity is not prepared.extractor:
        facts["similarity"] = _facts_of(prepared.similarity)
    return facts


def _facts_of(extractor: FeatureExtractor) -> dict[str, Any]:
    return {
        "name": extractor.name,
        "dimension": extractor.dimension,
        "digest": extractor.digest,
        "comparable_to": extractor.comparable_to,
    }


def some_images(prepared: Prepared, settings: EvaluationSettings) -> Tensor:
    """A few centre crops of retain (else forget) images, uint8 `[B, 3, size, size]`."""
    images = prepared.split.retain if len(prepared.split.retain) else prepared.split.forget
    some = images.subset(range(min(len(images), IMAGES_FOR_RISKS)))
    settings = settings.model_copy(update={"batch_size": IMAGES_FOR_RISKS, "crops_per_image": 1})
    return next(view_batches(some, prepared.cache, prepared.generator.image_size, settings)).images


def measure(
    config: Any,
    run: RunFolder,
    models: Mapping[ModelName, Generator],
    prepared: Prepared,
    device: Any,
    progress: Progress,
) -> Evaluation:
    """Evaluate `models` and write the result files, and the pictures if they were asked for.

    Where probes will be asked, each model's own loss is measured too.
    """
    for model in models.values():
        model.to(device)
    sets, cache, corruption = prepared.sets, prepared.cache, prepared.corruption
    extractor, settings = prepared.extractor, config.evaluation
    pairs = prepared.pairs
    wanted = Wanted(task_loss=bool(config.probes))
    evaluation = evaluate(
        models, sets, cache, corruption, extractor, settings,
        pairs=pairs, wanted=wanted, similarity=prepared.similarity, progress=progress,
    )  # fmt: skip
    write_evaluation(run.path, evaluation, sets, run.key)
    if config.with_pictures:
        from efface.reports.pictures import write_pictures

        write_pictures(run.path, models, sets, cache, corruption, settings, pairs=pairs)
    return evaluation


def sources(**models: Mapping[str, Any] | None) -> dict[str, Any]:
    """Weights digests of the models that a run read, by the name that its config gives them."""
    return {name: {"weights": facts["weights"]} for name, facts in models.items() if facts}


def training_facts(
    settings: TrainingSettings, training: Mapping[str, Any], budget: str | None
) -> dict[str, Any]:
    """What the record tells of training: its settings, and what was done in their place."""
    done = ("steps", "precision", "processes", "seconds_per_step", "resumed_from", "changed_tensors")
    return {**settings_facts(settings), **{name: training[name] for name in done}, "budget": budget}


def settings_facts(settings: TrainingSettings) -> dict[str, Any]:
    """Training settings without the place of paired pictures."""
    facts = settings.as_dict()
    if settings.corruption:
        facts["corruption"] = parse_corruption(settings.corruption).label
    return facts


def write_evaluation(
    folder: Path, evaluation: Evaluation, sets: Mapping[SetName, ImageSet], key: bytes
) -> None:
    """Write results.json, results.csv, per_image.csv and worst.json; images appear by keyed id."""
    write_results(folder, evaluation.rows)
    keyed = keyed_by_id(sets, key)
    metrics = list(dict.fromkeys(name for values in evaluation.per_image.values() for name in values))
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["model", "set", "image", *metrics])
    for (model, set_name), values in evaluation.per_image.items():
        for place, id_ in enumerate(sets[set_name].ids):
            row = [repr(float(values[name][place])) if name in values else "" for name in metrics]
            writer.writerow([model, set_name, keyed[id_], *row])
    write_text(folder / "per_image.csv", table.getvalue())
    worst = [
        {**asdict(entry), "name": keyed[entry.name] if entry.kind == "image" else entry.name}
        for entry in evaluation.worst
    ]
    write_json(folder / "worst.json", worst)


def keyed_by_id(sets: Mapping[SetName, ImageSet], key: bytes) -> dict[str, str]:
    """The keyed id of every image, by its plain id."""
    return {
        id_: keyed_id
        for images in sets.values()
        for id_, keyed_id in zip(images.ids, images.keyed_ids(key), strict=True)
    }


def save_model(write: Callable[[Path], None], folder: Path) -> None:
    """Put a model's folder in place at once: written beside it by `write(folder)`, flushed, renamed."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with system_errors(folder.parent):
        write(temporary)
    for path in temporary.rglob("*"):
        if path.is_file():
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(temporary, folder)
    flush_folder(folder.parent)
