"""What every job states of its models, images and figures, as the record and the result files hold it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from efface.classifiers.classifier import Classifier
from efface.documents import csv_text
from efface.errors import RunRefused
from efface.evaluation.protocol import Evaluation
from efface.evaluation.results import SetName, write_results
from efface.files import sha256_of_file, system_errors, write_text
from efface.generators.base import Generator
from efface.images.items import ImageSet
from efface.images.selection import Split
from efface.images.splits import split_facts_of
from efface.methods.base import Method
from efface.metrics.base import ModelKind
from efface.metrics.extractors import FeatureExtractor
from efface.model_files import mark_forgetting
from efface.runs.digests import file_digests, manifest_facts, write_manifest
from efface.runs.earlier import EarlierRequests
from efface.runs.erasing import put_in_place, remove_folder
from efface.runs.people import keyed_word
from efface.runs.record import (
    DeliveredFacts,
    Description,
    Duplicates,
    ExtractorFacts,
    ImagesFacts,
    MethodFacts,
    ModelFacts,
    ReferenceFacts,
    SetFacts,
    Skipped,
    SplitFileFacts,
)
from efface.runs.results import write_worst
from efface.runs.state import PreparedPart
from efface.runs.unlearn_config import ClassifierRunConfig, RunConfig
from efface.weights import READING, content_digest, tensor_digest
from efface.wording import counted

Model = Generator | Classifier

FORGOTTEN = (
    "Images were forgotten or left out when this model was made. Which ones stands in the folder of its run (record.json, "
    "manifests, run.key): keep the model there, or that folder beside it, so that no later request trains them back in."
)


def images_facts(
    split: Split,
    selectors: Iterable[str],
    sets: Mapping[str, SetFacts],
    earlier: EarlierRequests,
) -> ImagesFacts:
    """How the sets came about: by which split files, what was left out, and what was found twice."""
    duplicates = split.duplicates
    return ImagesFacts(
        earlier=earlier.facts(split.earlier),
        sets=dict(sets),
        split_files=[SplitFileFacts.model_validate(facts) for facts in split_facts_of(selectors)],
        proxy_retain=split.proxy,
        skipped=Skipped(
            count=len(split.skipped),
            # without what stands in brackets: it may quote a part of the plain id
            reasons=sorted({fault.reason.partition(" (")[0] for fault in split.skipped}),
        ),
        duplicates=Duplicates(
            exact=duplicates.count("exact"),
            near=duplicates.count("near"),
            action=duplicates.action,
            agreement=duplicates.agreement,
            apart=duplicates.apart,
        ),
    )


def manifests(run: Path, sets: Mapping[Any, ImageSet], key: bytes) -> dict[str, SetFacts]:
    """Write the manifest of every set; returns their counts and digests."""
    return {name: write_manifest(run, name, images, key) for name, images in sets.items()}


def refuse_other_images(sets: Mapping[Any, ImageSet], key: bytes, recorded: ImagesFacts) -> None:
    """Raise `RunRefused` if a run that is given again has other images than its manifests name."""
    changed = [
        f"{name}: {counted(recorded.count(name), 'image')} when the run began, {count} now"
        for name in dict.fromkeys((*sets, *recorded.sets))
        if manifest_facts(images := sets.get(name, ImageSet()), key) != recorded.sets.get(name)
        and (count := len(images)) + recorded.count(name)
    ]
    if changed:
        raise RunRefused(
            "the images are no longer those with which this run began; put them back, or choose another --out folder for "
            "a run with those that are there now. What differs:\n"
            + "\n".join(f"  - {line}" for line in changed)
        )


def refuse_other_models(models: Mapping[Any, Model], recorded: PreparedPart) -> None:
    """Raise `RunRefused` if a run that is given again has other models than those that it began with."""
    read: dict[str, ModelFacts | None] = {
        "original": recorded.before,
        "base": recorded.base,
        "unlearned": recorded.unlearned,
        "retrained": recorded.retrained,
        "yardstick": recorded.yardstick,
    }
    known = {name: facts.weights for name, facts in read.items() if facts} | {"like": recorded.like}
    for name, model in models.items():
        _refuse_others(name, known[name], model.weights_digest())


def refuse_another_base(base: ModelFacts | None, recorded: PreparedPart) -> None:
    """Raise `RunRefused` if a run that is given again has another base than the one that it began with."""
    _refuse_others(
        "base", recorded.base.weights if recorded.base else None, base.weights if base else "no weights"
    )


def _refuse_others(name: str, known: str | None, weights: str) -> None:
    if known and weights != known:
        what = "model" if name == "original" else f"{name} model"
        raise RunRefused(
            f"the {what} is no longer the one with which this run began: its weights differ. Put it back, or choose "
            "another --out folder"
        )


def model_facts(model: Model) -> ModelFacts:
    """Digest of a model's weights, and what it is."""
    tensors = content_digest(map(tensor_digest, model.weights().values()))
    return ModelFacts(weights=model.weights_digest(), tensors=tensors, description=description_of(model))


def delivered_facts(model: Model, folder: Path) -> DeliveredFacts:
    """The facts of a model that was saved in `folder`."""
    return DeliveredFacts(**vars(model_facts(model)), files=file_digests(folder))


def description_of(model: Model) -> Description:
    """What a model says of itself: the common facts by their names, all others as details."""
    facts = dict(model.describe())
    kind: ModelKind = "classifier" if isinstance(model, Classifier) else "generator"
    if kind == "classifier":
        del facts["kind"]
    if model.adapter:
        facts["origin"] = with_adapter(facts["origin"], model.adapter)
    named = {name: facts.pop(name) for name in Description.model_fields if name in facts and name != "kind"}
    return Description.model_validate({"kind": kind, **named, "details": facts})


def with_adapter(origin: dict[str, JsonValue], adapter: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """A model's origin with that of the LoRA adapter that was added to its weights."""
    said = origin.get(READING)
    note = f"adapter: LoRA in the layout of {adapter['layout']}, on top of its base"
    return {**origin, READING: [*(said if isinstance(said, list) else []), note], "adapter": adapter}


def reading_notes(models: Mapping[Any, Description]) -> list[str]:
    """How the files of a run's models were read, by each model's name; the original's without it."""
    return [
        note if name == "original" else f"{name} model: {note}"
        for name, description in models.items()
        for note in description.reading
    ]


def method_facts(config: RunConfig | ClassifierRunConfig, family: str | None) -> MethodFacts:
    """The method of a run as the record names it. family: that of the model, of a generator."""
    method: Method = config.method
    return MethodFacts(
        name=method.name,
        summary=method.summary,
        source=method.source,
        deviations=method.deviations_on(family),
        settings=without_places(method.model_dump(mode="json")),
        preset=config.preset,
        departures=config.departures,
        trains=getattr(method, "trains", None),
    )


def without_places(value: Any) -> Any:
    """Settings as a record may show them: a file by its digest, another place not at all."""
    if isinstance(value, Mapping):
        return {name: without_places(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(item) for item in value]
    if isinstance(value, str) and Path(value).is_file():
        return f"sha256:{sha256_of_file(Path(value))}"
    return "(a place)" if isinstance(value, str) and "/" in value else value


def retrained_facts(
    reference: ModelFacts | None, original: ModelFacts, stages: str, base: ModelFacts | None
) -> ReferenceFacts | None:
    """The facts of the reference; a first stage that it shares with the original was not retrained.

    base: that from which the reference was trained on: a first stage that both have of it was trained by neither.
    """
    if reference is None:
        return None
    of_base = base is not None and reference.shares_first_stage(base)
    if stages == "all" and not of_base and reference.shares_first_stage(original):
        stages = "encoder and decoder only; the first stage is the original's"
    return ReferenceFacts(**vars(reference), stages=stages)


def extractor_facts(extractor: FeatureExtractor) -> ExtractorFacts:
    """Which features were used, and what their distances compare with."""
    return ExtractorFacts(
        name=extractor.name,
        dimension=extractor.dimension,
        digest=extractor.digest,
        comparable_to=extractor.comparable_to,
    )


def write_evaluation(
    folder: Path, evaluation: Evaluation, sets: Mapping[SetName, ImageSet], key: bytes
) -> None:
    """Write results.json, results.csv, per_image.csv and worst.json; images appear by keyed id, classes by keyed word."""
    write_results(folder, evaluation.rows)
    keyed = keyed_by_id(sets, key)
    metrics = list(dict.fromkeys(name for values in evaluation.per_image.values() for name in values))
    rows = (
        [
            *(model, set_name, keyed[id_]),
            *(float(values[name][place]) if name in values else None for name in metrics),
        ]
        for (model, set_name), values in evaluation.per_image.items()
        for place, id_ in enumerate(sets[set_name].ids)
    )
    write_text(folder / "per_image.csv", csv_text([["model", "set", "image", *metrics], *rows]))
    worst = [
        replace(
            entry, name=keyed[entry.name] if entry.kind == "image" else keyed_word(key, entry.name, "class")
        )
        for entry in evaluation.worst
    ]
    write_worst(folder, worst)


def keyed_by_id(sets: Mapping[SetName, ImageSet], key: bytes) -> dict[str, str]:
    """The keyed id of every image, by its plain id."""
    return {
        id_: keyed_id
        for images in sets.values()
        for id_, keyed_id in zip(images.ids, images.keyed_ids(key), strict=True)
    }


def save_model(write: Callable[[Path], None], folder: Path, forgets: bool) -> None:
    """Put a model's folder in place at once: written beside it by `write(folder)`, flushed, renamed.

    forgets: whether images were forgotten or left out in making it, which a note in it says wherever it is copied.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    remove_folder(temporary)
    with system_errors(folder.parent):
        write(temporary)
        if forgets:
            mark_forgetting(temporary, FORGOTTEN)
    put_in_place(temporary, folder)
