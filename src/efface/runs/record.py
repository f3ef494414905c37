"""The record of a run, for machines: what was asked, done and measured, bound by digests.

A record is one `Record`. `write_record` is the only place that writes one and `read_record` the only one that reads it;
`docs/record.md` is printed from the descriptions here. It carries no picture, no path and no plain image id: images
appear as HMAC-SHA256 of their id under the run's key, so that only who holds the key can tell whether an image was
among them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, JsonValue, TypeAdapter

from efface.documents import Absent, Described, read_json
from efface.errors import InputError
from efface.evaluation.settings import ClassifierEvaluationSettings, EvaluationSettings
from efface.evaluation.verdict import Verdict
from efface.files import json_text, refuse_absent, sha256_of_json, write_text
from efface.generators.families import LearntCrops
from efface.metrics.base import ModelKind
from efface.runs.config import StatedRequest
from efface.runs.requirements import Outcome
from efface.settings import validated
from efface.training.settings import OWN_MASK, Recipe, TrainingSettings
from efface.wording import shortened

NAME: Final = "record.json"
SCHEMA: Final = "efface-record/6"

CLAIMS: dict[str, str] = {
    "exact": "The delivered model was trained from fresh weights without the forgotten images.",
    "exact from base": (
        "The delivered model was trained on from the weights of a base model, without the forgotten images: with respect "
        "to that training it never saw them."
    ),
    "empirical": (
        "The delivered model was changed so that it behaves differently on the forgotten images. What it "
        "still holds of them was measured with the tests below and not proven to be nothing."
    ),
}
COMPARED = "Models were compared; none was changed, and nothing is claimed of how they came about."
FROM_SCRATCH = "A model trained from fresh weights on the images named below and on no others."
FROM_BASE = (
    "A model trained on from the weights of a base model, with the images named below and with no others."
)

Saw = Literal["not known", "no", "forgotten"]
OF_BASE: dict[Saw, str] = {
    "not known": "Whether the base itself was trained on images to be forgotten is not known: no record of it tells.",
    "no": "The records behind the base list all that it was trained on, and no file to be forgotten is among it.",
    "forgotten": "By the records behind the base it was trained on some of them, and then changed to forget them.",
}
"""What is known of a base and the forget images."""

SET_BEFORE = "The thresholds are part of the config whose digest this record holds: they cannot be changed in this run."
CLOCK_SET_BACK = "the clock was set back in between"
"""How a note ends where the machine's clock said that the run finished before it began."""
CONFIG_NAMES = (
    "config.yaml keeps labels, places and the operator's texts as they were given, since a run is continued by them. It is "
    "for its owner alone; efface purge --config replaces them by keyed words, and resume and rerun end with that."
)
CONFIG_PURGED = (
    "config.yaml holds keyed words for labels, places and texts: the run cannot be continued or rerun."
)

RunKind = Literal["unlearning", "training", "evaluation"]
ClaimLevel = Literal["exact", "exact from base", "empirical"]


class Claim(Described):
    """What is claimed of the delivered model."""

    level: ClaimLevel = Field(
        description="`exact`: trained from fresh weights on the named retain images only, without proxy images and "
        "without ignored copies of forgotten images; `exact from base`: the same, but from the weights of a base model, "
        "whose own training it says nothing of; `empirical`: everything else"
    )
    words: str = Field(description="the claim in a sentence")

    @classmethod
    def of(cls, level: ClaimLevel) -> Claim:
        """What is claimed of an unlearned model."""
        return cls(level=level, words=CLAIMS[level])


class Durations(Described):
    """Seconds of the parts of a run, over all starts; null for parts that it does not have."""

    preparation: float | None = Field(None, description="opening models, choosing and decoding images")
    training: float | None = Field(None, description="training or unlearning, over all starts")
    evaluation: float | None = Field(None, description="measuring")
    probes: float | None = Field(None, description="asking probes and judging requirements")


class FirstStage(Described):
    """A tokenizer or VAE before the encoder and behind the decoder."""

    kind: str = Field(description="what it is")
    weights: str | None = Field(description="digest of its weights")
    origin: dict[str, JsonValue] | None = Field(None, description="where it comes from")


class Description(Described):
    """What a model is, without its weights."""

    kind: ModelKind = Field(description="generator or classifier")
    family: str | None = Field(None, description="of a generator, its family")
    network: str | None = Field(None, description="the class of the network, where the model names it")
    image_size: int = Field(description="side of its square input in pixels")
    parameters: int = Field(description="number of weights")
    classes: int | None = Field(None, description="of a classifier, the number of its classes")
    channels: int | None = Field(None, description="of a classifier, colour channels: 3, or 1 for grey")
    first_stage: FirstStage | None = Field(None, description="its tokenizer or VAE")
    origin: dict[str, JsonValue] = Field(
        description="where it comes from, in which layout, and as `reading` what was taken off and left out to read it"
    )
    details: dict[str, JsonValue] = Field(description="sizes, value space, and what else its family says")

    @property
    def hub(self) -> str | None:
        """Its name on the hub, where it is from there."""
        return self._origin("hub")

    @property
    def layout(self) -> str | None:
        """The layout in which it was read, where it says so."""
        return self._origin("kind")

    def _origin(self, name: str) -> str | None:
        value = self.origin.get(name)
        return value if isinstance(value, str) else None

    @property
    def reading(self) -> list[str]:
        """How its files were read, one sentence each."""
        said = self.origin.get("reading")
        return [str(sentence) for sentence in said] if isinstance(said, list) else []


class ModelFacts(Described):
    """A model that was read."""

    weights: str = Field(description="digest of its weights")
    tensors: str | None = Field(
        None,
        description="digest of the same tensors without their names, by which they are compared where the model cannot be "
        "opened",
    )
    description: Description = Field(description="what it is")

    def shares_first_stage(self, other: ModelFacts) -> bool:
        """Whether two models have the very same first stage."""
        mine, its = self.description.first_stage, other.description.first_stage
        return mine is not None and its is not None and mine.weights == its.weights


class BaseFacts(ModelFacts):
    """The model from which one is trained on, as a public one that is fine-tuned."""

    place: str = Field(description="where it lies: its id on the hub, or a keyed word for a place")
    saw: Saw = Field(
        description="whether it was trained on images to be forgotten, by the records behind it: `no`; `forgotten`, where "
        "it was and was then changed to forget them; `not known`, where no record tells of all its training"
    )


class DeliveredFacts(ModelFacts):
    """The model that the run made."""

    files: dict[str, str] = Field(description="digest of each file in `model/` but its card, by name")


class FurtherFacts(Described):
    """A further model that a method left on its way, in `path/NAME/`."""

    weights: str = Field(description="digest of its weights")
    tensors: str | None = Field(None, description="the same without names, as of a model")
    files: dict[str, str] = Field(description="digest of each of its files, by name")


class ReferenceFacts(ModelFacts):
    """The retrained model."""

    stages: str = Field(description="which of its stages were retrained: `all`, or the operator's words")


class ModelsFacts(Described):
    """The model before and after."""

    before: ModelFacts | None = Field(description="the model that the run began with; null for trainings")
    base: BaseFacts | None = Field(
        None, description="the model from which the delivered one was trained on, or that the method asked"
    )
    after: DeliveredFacts | None = Field(description="the model in `model/`; null for evaluations")
    path: dict[str, FurtherFacts] = Field(
        default_factory=dict, description="further models that the method left, by name"
    )


class MethodFacts(Described):
    """The method of an unlearning run."""

    name: str = Field(description="its name")
    summary: str = Field(description="what it does, in a sentence")
    source: str = Field(description="paper and equation")
    deviations: str = Field(description="how it deviates from the source, on this family of models")
    settings: dict[str, JsonValue] = Field(
        description="its settings; a file by its sha256, another place as `(a place)`"
    )
    preset: Literal["published"] | None = Field(
        None, description="where its settings, and those of training and evaluation, were taken from"
    )
    departures: list[str] = Field(
        default_factory=list, description="settings that were given in the place of the preset's"
    )
    trains: Literal["encoder", "all", "first-stage"] | None = Field(
        description="of a generator, what it may change: `encoder`, `first-stage` or `all`"
    )


class WorkFacts(Described):
    """What training or unlearning did, whatever the kind of model."""

    steps: int = Field(description="optimizer steps done, without preparation")
    seconds_per_step: float | None = Field(description="mean seconds of a step; null where none was done")
    precision: str = Field(description="the precision used: fp32 or bf16")
    processes: int = Field(description="number of processes")
    resumed_from: int | None = Field(description="step of the last continuation; null where there was none")
    changed_tensors: int = Field(
        description="weight tensors that were trained: of a generator those open to change, of a classifier those that "
        "differ afterwards"
    )
    tensors: int = Field(description="weight tensors that the model has")
    budget: str | None = Field(description="the bound on training as it was asked for")
    micro_batches: int = Field(
        1,
        description="parts into which each batch was cut to save memory, at the end: as asked for, or more where memory "
        "ended; loss and gradient were those of the whole batch",
    )
    activation_checkpointing: bool = Field(
        False, description="whether activations were computed again for the gradient, to save memory"
    )


class GeneratorTraining(WorkFacts):
    """How a generator was trained."""

    corruption: str = Field(description="the corruption while it trained: `own-mask` is written out")
    settings: TrainingSettings = Field(description="the training settings")

    @property
    def under_own_masks(self) -> bool:
        """Whether it trained under what the model's own training hid."""
        return self.settings.corruption == OWN_MASK


class ClassifierTraining(WorkFacts):
    """How a classifier was trained."""

    recipe: Recipe = Field(description="how models like it are trained from scratch")
    cut: bool = Field(description="whether the method went beyond its bound on time")
    complete: bool = Field(description="whether it came to its end all the same")
    preparation_steps: int = Field(
        description="steps of what stands for work done before the request, as a committee's first training; in none of "
        "the other figures"
    )
    preparation_seconds: float = Field(description="seconds of that work")


class FirstStageTraining(Described):
    """How the tokenizer or VAE of a new model came about."""

    kept: bool = Field(description="whether it was taken over from another model as it was")
    training: TrainingSettings | None = Field(description="else its training settings")


Handled = Literal[
    "none in this model",
    "recomputed from retain images",
    "recomputed from retain images in part, else kept (may hold forgotten images)",
    "of the new training alone",
    "of the base and the new training",
    "kept (may hold forgotten images)",
]
"""What was done with running statistics of batch normalisation."""


class StatisticsFacts(Described):
    """Running statistics of batch normalisation in a classifier."""

    batch_norm_layers: int = Field(description="layers that keep running statistics of images")
    replaced_by_a_batch: int = Field(
        description="those of them of whose statistics one batch replaces more than half: a momentum above 0.5"
    )
    turned: int = Field(description="of these, layers that trained with 1 - momentum")
    recomputed: int = Field(
        description="layers whose statistics were computed anew, from retain images alone"
    )
    handled: Handled = Field(description="how these were handled")


class Seeds(Described):
    """Seeds of all draws; null for parts that the run does not have."""

    unlearning: int | None = Field(None, description="of unlearning")
    training: int | None = Field(None, description="of training from scratch")
    evaluation: int | None = Field(None, description="of the evaluation and the probes")


class SetFacts(Described):
    """One set of images."""

    count: int = Field(description="its images")
    sha256: str = Field(description="digest of its manifest, `manifests/NAME.jsonl`")


class SplitRule(Described):
    """How a split file's classes were chosen."""

    name: str = Field(description="`released`, `random` or `listed`")
    seed: int = Field(description="seed of its draws")


class RoleCounts(Described):
    """How much a split file chose for one role."""

    classes: int = Field(description="its classes")
    images: int = Field(description="its images")


class SplitFileFacts(Described):
    """A split file that chose images."""

    data_set: str = Field(description="which data set it splits")
    rule: SplitRule = Field(description="how classes were chosen")
    images_per_class: dict[str, JsonValue] = Field(description="images of each class that were asked for")
    counts: dict[str, RoleCounts] = Field(description="classes and images by role")
    sha256: str = Field(description="its digest, without the place of the data set")


class Skipped(Described):
    """Images that were left out because they could not be read."""

    count: int = Field(description="how many")
    reasons: list[str] = Field(description="the kinds of reasons")


class Duplicates(Described):
    """Copies of forget images in the other sets, and of these among each other."""

    exact: int = Field(description="with the same bytes")
    near: int = Field(description="that look alike")
    action: Literal["stop", "forget", "ignore"] = Field(
        description="what was to be done with them: `stop`, `forget` or `ignore`"
    )
    agreement: float = Field(
        description="correlation of detail from which on images count as near-copies; 1: they were not looked for"
    )
    apart: int = Field(
        description="near-copies of neutral or validation images that were taken out of the sets before them"
    )


class EarlierRequest(Described):
    """An earlier run behind the models, and what was taken out since it had forgotten it."""

    name: str = Field(
        description="its number in the chain, the operator's number of the request, and the day"
    )
    weights: str = Field(description="digest of the weights of the model that it left")
    forgotten: int = Field(description="images that it forgot, or that were left out of its training")
    taken_out: dict[str, int] = Field(description="such images that were taken out of a set, by set")
    copies: dict[str, int] = Field(description="near-copies of such images that were taken out too, by set")
    again: int = Field(description="images of the forget set that it forgot already")

    @property
    def left_out(self) -> int:
        """How many images were taken out for it."""
        return sum(self.taken_out.values()) + sum(self.copies.values())


class EarlierFacts(Described):
    """What the runs behind the models forgot, which no later run may train back in."""

    followed: bool = Field(
        description="whether all of it could be read; false: the operator went on without (`earlier: unknown`)"
    )
    requests: list[EarlierRequest] = Field(description="the runs that forgot images, the oldest first")


class ImagesFacts(Described):
    """The image sets, and how they came about."""

    earlier: EarlierFacts = Field(description="what was forgotten before")

    sets: dict[str, SetFacts] = Field(
        description="`forget`, `retain`, `neutral`, and `validation` where a method used such images"
    )
    split_files: list[SplitFileFacts] = Field(description="the split files that chose images")
    proxy_retain: bool = Field(
        description="true: the retain set is a stand-in; the real retain images were not used"
    )
    skipped: Skipped = Field(description="what could not be read")
    duplicates: Duplicates = Field(description="copies of forget images in the other sets")

    def count(self, name: str) -> int:
        """Images of a set; 0 where there is none."""
        return self.sets[name].count if name in self.sets else 0

    @property
    def only_retain(self) -> bool:
        """Whether nothing but the named retain images, free of copies of forgotten ones, is trained on."""
        copies = self.duplicates.exact + self.duplicates.near
        return not (self.proxy_retain or (copies and self.duplicates.action == "ignore"))


class ExtractorFacts(Described):
    """A feature extractor."""

    name: str = Field(description="its name, at the head of every figure made with it")
    dimension: int = Field(description="length of its vectors")
    digest: str = Field(description="digest of its definition or weights")
    comparable_to: str = Field(description="what its distances may be compared with")


class ViewFacts(Described):
    """Under which views of the images generators were asked; `settings` say how many, and which share they cover."""

    learnt: LearntCrops | None = Field(
        description="the crops with which the original was trained; null: it does not say"
    )
    area: float = Field(description="mean share of an image's area that its central view shows")


class EvaluationFacts(Described):
    """How models were measured."""

    settings: EvaluationSettings | ClassifierEvaluationSettings = Field(description="the evaluation settings")
    extractor: ExtractorFacts | None = Field(description="whose features were used; null for classifiers")
    similarity: ExtractorFacts | None = Field(
        None, description="the extractor of `feature_cosine`, where it has one of its own"
    )
    views: ViewFacts | None = Field(None, description="of generators, under which views")


class ProbeFacts(Described):
    """A probe that was asked; what it found is in `probes.json`."""

    name: str = Field(description="its name")
    question: str = Field(description="what it asks")
    source: str = Field(description="where it comes from")
    settings: dict[str, JsonValue] = Field(description="its settings, places as those of the method")


class Judgement(Described):
    """What became of the thresholds that were set before the run."""

    words: str = Field(description="that they were set before the run, and how that is bound")
    summary: str = Field(description="all outcomes in a sentence or two")
    outcomes: list[Annotated[Outcome, BeforeValidator(TypeAdapter(Outcome).validate_python)]] = Field(
        description="one for each requirement, as in `requirements.json`"
    )


class ConfigFacts(Described):
    """The config of the run."""

    sha256: str = Field(description="digest of all settings that decide the result")
    names: str = Field(
        description="that the file keeps labels, places and texts as they were given, or no longer does"
    )
    purged: str | None = Field(None, description="when `efface purge --config` replaced these by keyed words")


class ResultsFacts(Described):
    """The result files."""

    files: dict[str, str] = Field(description="digest of each result file, by name")
    rows: int = Field(description="rows of `results.json`")


class SourceState(Described):
    """The state of efface's own source."""

    commit: str | None = Field(description="its commit; null outside a git checkout")
    changed: bool | None = Field(description="whether it was changed since")


class Environment(Described):
    """Where the run took place."""

    python: str = Field(description="Python's version")
    platform: str = Field(description="system and machine")
    processor: str = Field(description="the processor's name")
    cores: int | None = Field(description="its cores")
    memory_gib: float = Field(description="memory in GiB")
    gpus: list[str] = Field(description="names of the GPUs")
    device: str | None = Field(
        None, description="where models ran: cpu, mps, or a GPU with its name; null where that was not noted"
    )
    threads: int = Field(description="threads of torch")
    instructions: str | None = Field(
        None, description="the processor's instructions that torch used; null where that was not noted"
    )
    packages: dict[str, str | None] = Field(description="versions of packages; null where not installed")
    source: SourceState = Field(description="efface's own source")

    @property
    def efface(self) -> str:
        """efface's version."""
        return self.packages.get("efface") or "of unknown version"


class WorkingFiles(Described):
    """Caches and checkpoints, which hold forgotten images."""

    kept: list[str] = Field(description="names of those that are still there")
    removed: int = Field(description="how many were overwritten and removed; listed before the first one was")
    living_on: int = Field(
        0,
        description="how many of those had another name outside the run (a hard link): their names were removed, their "
        "content was left as it is, and lives on there",
    )
    purged: str | None = Field(None, description="when `efface purge` did so after the run")


class Statement(Described):
    """What a job states of its run. `Record` adds what is the same for every job."""

    kind: RunKind = Field(description="`unlearning`, `training` or `evaluation`")
    claim: Claim = Field(description="what is claimed")
    request: StatedRequest | None = Field(
        description="what the operator stated of the deletion request; null for trainings"
    )
    durations: Durations = Field(description="seconds of the parts of the run")
    model: ModelsFacts = Field(description="the model before and after")
    retrained: ReferenceFacts | None = Field(description="the reference model, where there is one")
    yardstick: ModelFacts | None = Field(
        None,
        description="a second retrained model beside it, from which nothing but a probe's figure was made",
    )
    sources: dict[str, str] = Field(
        description="digest of the weights of every model that the run read, by the name that the config gives it"
    )
    method: MethodFacts | None = Field(description="the method of an unlearning run")
    training: GeneratorTraining | ClassifierTraining | None = Field(
        description="how the delivered model was trained"
    )
    first_stage: FirstStageTraining | None = Field(
        description="of a training, how the model's tokenizer or VAE came about"
    )
    statistics: StatisticsFacts | None = Field(
        description="running statistics of a trained or unlearned classifier"
    )
    corruption: str | None = Field(description="the corruption in evaluation; null for classifiers")
    seeds: Seeds = Field(description="seeds of all draws")
    images: ImagesFacts = Field(description="the image sets, and how they came about")
    notes: list[str] = Field(
        description="sentences on how the sets came about, on what stands in the place of a missing retrained model, and "
        "on where memory ended, so that batches were made smaller"
    )
    risks: list[str] = Field(
        description="sentences on what looked wrong with the model when it was shown real images, and on what in it or "
        "beside it may outlive the method (running statistics, averaged weights)"
    )
    evaluation: EvaluationFacts | None = Field(description="how models were measured; null for trainings")
    probes: list[ProbeFacts] = Field(
        default_factory=list, description="the probes that were asked; empty where none was"
    )
    verdict: Verdict | None = Field(
        None,
        description="whether it is gone, as in `verdict.json` ([verdict.md](verdict.md)); null without an unlearned model",
    )
    requirements: Judgement | None = Field(
        None, description="thresholds that were set before the run ([requirements.md](requirements.md))"
    )
    substitute: str | None = Field(
        None,
        description="what the operator declared to stand in the place of a retrained model, in their words",
    )

    @property
    def model_kind(self) -> ModelKind:
        """Which kind of model the run is about."""
        model = self.model.before or self.model.after
        assert model is not None, "a run has a model before or after"
        return model.description.kind


class Record(Statement):
    """The record of a finished run."""

    schema_name: Literal["efface-record/6"] = Field(
        SCHEMA, alias="schema", description=f"`{SCHEMA}`; a reader refuses any other"
    )
    started: str = Field(description="UTC, ISO 8601: the first start of a run that was continued")
    finished: str = Field(description="UTC, ISO 8601")
    config: ConfigFacts = Field(description="the config, thresholds included")
    results: ResultsFacts | None = Field(description="the result files; null for trainings")
    environment: Environment = Field(description="software and hardware")
    working_files: WorkingFiles = Field(description="caches and checkpoints")
    limits: list[str] = Field(description="what the run does not show, in plain sentences")
    digest: str = Field("", description="digest of everything above")


def write_record(run: Path, record: Record) -> Record:
    """Write `RUN/record.json` with its own digest; returns what was written."""
    sealed = with_digest(record)
    write_text(run / NAME, record_text(sealed))
    return sealed


def with_digest(record: Record) -> Record:
    """The record with its own digest."""
    return record.model_copy(update={"digest": digest_of(record.as_dict())})


def record_text(record: Record) -> str:
    """The text of `record.json`."""
    return json_text({"schema": SCHEMA, **record.as_dict()})


def read_record(run: Path) -> Record:
    """The record of a run; raises `InputError` where it is missing, damaged, of another schema, or lost a part."""
    return parse_record(run, raw_record(run))


def parse_record(run: Path, values: dict[str, JsonValue]) -> Record:
    """The record that `raw_record` read; raises `InputError` naming every field that the schema refuses."""
    return validated(Record, values, f"{run / 'record.json'} is damaged")


def raw_record(run: Path) -> dict[str, JsonValue]:
    """The record's plain values, for digests over them; raises `InputError` where it has no schema that is read here."""
    return read_of_schema(run / NAME, SCHEMA, f"{run} holds no {NAME}: it is no run, or not finished")


def read_of_schema(path: Path, schema: str, missing: str) -> dict[str, JsonValue]:
    """The plain values of a JSON object of one `schema`; raises `InputError`, with `missing` where there is no file."""
    refuse_absent(path.parent)
    try:
        values = read_json(path)
    except Absent:
        raise InputError(missing) from None
    stated = values.get("schema") if isinstance(values, dict) else None
    if not isinstance(values, dict) or stated != schema:
        raise InputError(f"{path} has schema {shortened(stated)}; this version reads {schema!r}")
    return values


def is_intact(run: Path) -> bool:
    """Whether the record is as it was written, by its own digest."""
    record = raw_record(run)
    return bool(record.get("digest") == digest_of(record))


def digest_of(record: dict[str, JsonValue]) -> str:
    """sha256 of the canonical JSON of a record's plain values without its `digest`."""
    return sha256_of_json({name: value for name, value in record.items() if name != "digest"})
