"""What the record says of the request and of the work, as terms and their values in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from efface.runs.config import StatedRequest
from efface.runs.log import TrainingLog
from efface.runs.presets import as_published
from efface.runs.record import (
    OF_BASE,
    BaseFacts,
    ClassifierTraining,
    Description,
    Duplicates,
    EarlierFacts,
    Environment,
    GeneratorTraining,
    ImagesFacts,
    MethodFacts,
    Record,
    Skipped,
    StatisticsFacts,
    WorkingFiles,
)
from efface.runs.words import corruption_words, family_words, view_words
from efface.wording import counted, duration, moment, name_of, setting

SHORT = 16
CLASSES = (
    "`config.json` beside the weights lists the names of its classes, as every classifier's must. If they name people, "
    "whoever is given the model reads them."
)
PARTS = {
    "encoder": "the encoder only; the decoder's weights are those of the original model",
    "all": "the whole model: encoder and decoder",
    "first-stage": "the first stage only",
}


@dataclass(frozen=True)
class Fact:
    """A term and what is to be said under it, a line each."""

    term: str
    lines: list[str]


@dataclass(frozen=True)
class Digest:
    """A file or model and its full sha256."""

    what: str
    full: str

    @property
    def short(self) -> str:
        return self.full[:SHORT] + "…"


def request_facts(record: Record) -> list[Fact]:
    """The request, the sets, duplicates and what was left out."""
    facts = _request(record.request) if record.request else []
    facts.append(Fact("Images", _sets(record.images)))
    facts.append(Fact("Copies in the other sets", [_duplicates(record.images.duplicates)]))
    facts.append(Fact("Left out", [_skipped(record.images.skipped)]))
    facts.append(Fact("Forgotten earlier", _earlier(record.images.earlier)))
    return [*facts, Fact("Notes", record.notes)] if record.notes else facts


def work_facts(record: Record, log: TrainingLog) -> list[Fact]:
    """How it was done: model, method, training, time, seeds."""
    facts = [*_model(record), *_base(record.model.base)]
    if record.method:
        facts += _method(record.method, record.training)
    if record.training:
        facts += _training(record.training, log)
    if record.corruption:
        facts.append(Fact("Corruption when it was measured", [corruption_words(record.corruption)]))
    if record.evaluation and record.evaluation.views:
        facts.append(Fact("Views that were asked for", view_words(record.evaluation)))
    if record.statistics:
        facts.append(Fact("Running statistics of batch normalisation", [_statistics(record.statistics)]))
    facts.append(Fact("Seeds", _named(record.seeds.model_dump(exclude_none=True))))
    times = record.durations.model_dump(exclude_none=True).items()
    between = f"{moment(record.started)} to {moment(record.finished)}"
    parts = [f"{name_of(name)}: {duration(seconds)}" for name, seconds in times]
    return [*facts, Fact("Time", [between, *parts])]


def leftovers(working: WorkingFiles) -> str:
    """What of the run's own making still holds, or held, forgotten images."""
    if working.kept:
        return (
            f"{counted(len(working.kept), 'working file')} of this run were kept on request and may hold forgotten "
            f"images: {', '.join(working.kept)}. `efface purge RUN` removes them."
        )
    elsewhere = f" {working.living_on} of them had another name elsewhere, where their content lives on."
    return (
        f"The run's own working files (pixels, checkpoints, optimizer state; {working.removed} in number) were "
        "overwritten and removed."
        + (elsewhere if working.living_on else "")
        + " On flash or copy-on-write storage old blocks may outlive that."
    )


def digests(record: Record) -> list[Digest]:
    """Every digest of the record, in the order in which a reader would check them."""
    model, found = record.model, list[Digest]()
    if model.before:
        found.append(
            Digest(
                "weights, before unlearning" if model.after else "weights, original model",
                model.before.weights,
            )
        )
    if model.base:
        found.append(Digest("weights, base model", model.base.weights))
    if model.after:
        found.append(Digest("weights, after unlearning", model.after.weights))
        found += [Digest(f"model/{name}", digest) for name, digest in model.after.files.items()]
    for name, further in model.path.items():
        found += [Digest(f"path/{name}/{file}", digest) for file, digest in further.files.items()]
    if record.retrained:
        found.append(Digest("weights, retrained model", record.retrained.weights))
    if record.yardstick:
        found.append(Digest("weights, second retrained model", record.yardstick.weights))
    found += [Digest(f"manifests/{name}.jsonl", facts.sha256) for name, facts in record.images.sets.items()]
    if record.results:
        found += [Digest(name, digest) for name, digest in record.results.files.items()]
    found.append(Digest("config.yaml (settings)", record.config.sha256))
    extractor = record.evaluation.extractor if record.evaluation else None
    return [*found, Digest(f"feature extractor {extractor.name}", extractor.digest)] if extractor else found


def environment_facts(environment: Environment) -> list[Fact]:
    """Software and hardware."""
    named = environment.model_dump(exclude={"packages", "source"})
    facts = [Fact(name_of(name).capitalize(), [setting(value)]) for name, value in named.items()]
    packages = [f"{name} {version or '(not installed)'}" for name, version in environment.packages.items()]
    facts.append(Fact("Packages", packages))
    source = environment.source
    if source.commit:
        changed = ", with changes that were not committed" if source.changed else ""
        facts.append(Fact("Source of efface", [f"commit {source.commit}{changed}"]))
    return facts


def _request(request: StatedRequest) -> list[Fact]:
    return [
        Fact("Request", [request.id or "no number stated"]),
        Fact("Received", [moment(request.received.isoformat() if request.received else None)]),
        Fact("Made under", [request.regime or "not stated"]),
        Fact("Reason", [request.reason or "not stated"]),
    ]


def _sets(images: ImagesFacts) -> list[str]:
    words = {
        "forget": "to be forgotten",
        "retain": "as a proxy for those to be kept" if images.proxy_retain else "to be kept",
        "neutral": "neutral (neither trained on nor named)",
        "validation": "for validation (shown to the method only)",
    }
    return [f"{facts.count} {words.get(name, name)}" for name, facts in images.sets.items()]


def _duplicates(facts: Duplicates) -> str:
    bound = " (near-copies were not looked for)"
    if facts.agreement < 1:
        bound = f" (near: detail that agrees by {facts.agreement:g} or more)"
    if not facts.exact + facts.near:
        return f"no copies or near-copies of forgotten images were found{bound}"
    outcome = {
        "forget": "they were moved to the images to be forgotten",
        "ignore": "they stayed where they were, as chosen",
        "stop": "the run was to stop at them",
    }[facts.action]
    exact, near = (
        counted(facts.exact, "exact copy", "exact copies"),
        counted(facts.near, "near-copy", "near-copies"),
    )
    return f"{exact} and {near} found; {outcome}{bound}"


def _earlier(facts: EarlierFacts) -> list[str]:
    lines = [
        f"{request.name}: {counted(request.forgotten, 'image')}; taken out of the sets of this run: "
        f"{request.left_out or 'none'}"
        + (f"; to be forgotten once more: {request.again}" if request.again else "")
        for request in facts.requests
    ]
    if not facts.followed:
        lines.append(
            "what was forgotten before could not be read to its beginning, and the run went on without"
        )
    return lines or ["nothing, by any run behind the model"]


def _skipped(facts: Skipped) -> str:
    if not facts.count:
        return "no image: all could be read"
    return f"{counted(facts.count, 'image')} that could not be read: {'; '.join(facts.reasons)}"


def _method(method: MethodFacts, training: GeneratorTraining | ClassifierTraining | None) -> list[Fact]:
    preset = [as_published(method.departures)] if method.preset else []
    part = PARTS[method.trains] if method.trains else "what the method chooses; see the weight tensors below"
    return [
        Fact("Method", [method.name, f"after {method.source}"]),
        Fact("What it does", [method.summary]),
        Fact("Deviations from the source", [method.deviations]),
        Fact("Its settings", [*preset, *(_named(method.settings) or ["none"])]),
        Fact("Part that was trained", [part, *([_tensors(training)] if training else [])]),
    ]


def _tensors(training: GeneratorTraining | ClassifierTraining) -> str:
    what = "trained" if isinstance(training, GeneratorTraining) else "changed"
    return f"{training.changed_tensors} of {counted(training.tensors, 'weight tensor')} {what}"


def _training(training: GeneratorTraining | ClassifierTraining, log: TrainingLog) -> list[Fact]:
    steps = [f"{phase.phase}: {counted(phase.planned or 0, 'step')} planned" for phase in log.phases]
    steps.append(f"{counted(training.steps, 'step')} done in all")
    precision = f"{training.precision}, {counted(training.processes, 'process', 'processes')}"
    facts = [Fact("Steps", steps), Fact("Precision", [f"{precision}; {_tensors(training)}"])]
    if isinstance(training, GeneratorTraining):
        settings = training.settings.model_dump(
            mode="json", exclude={"steps", "precision", "corruption"}, exclude_none=True
        )
        own = " (what the model's own training hides)" if training.under_own_masks else ""
        facts.append(Fact("Corruption while it trained", [corruption_words(training.corruption) + own]))
        facts.append(Fact("Training settings", ["; ".join(_named(settings))]))
    else:
        facts.append(Fact("Recipe", ["; ".join(_named(training.recipe.as_dict()))]))
        if training.cut:
            facts.append(Fact("Bound on time", ["the method went beyond it"]))
        if training.preparation_steps or training.preparation_seconds:
            before = (
                f"{counted(training.preparation_steps, 'step')}, {duration(training.preparation_seconds)}"
            )
            facts.append(Fact("Work that stands for what was done before the request", [before]))
    if training.resumed_from is not None:
        facts.append(Fact("Continued", [f"last from step {training.resumed_from}"]))
    return [*facts, Fact("Budget", [training.budget or "none set"])]


def _named(settings: Mapping[str, JsonValue]) -> list[str]:
    return [f"{name_of(name)}: {setting(value)}" for name, value in settings.items()]


def _base(base: BaseFacts | None) -> list[Fact]:
    """From which model one was trained on."""
    return [Fact("Base", [base.place, OF_BASE[base.saw]])] if base else []


def _model(record: Record) -> list[Fact]:
    """Which family the model is of, and how large it is."""
    model = record.model.after or record.model.before
    if model is None:
        return []
    described = model.description
    if described.kind == "classifier":
        return [Fact("Model", [_classifier(described), *([CLASSES] if model is record.model.after else [])])]
    lines = [
        f"{family_words(described.family or '')}; {described.parameters:,} parameters, {described.image_size} px"
    ]
    stage = described.first_stage
    return [Fact("Model", [*lines, f"behind and before it: {stage.kind}"] if stage else lines)]


def _classifier(described: Description) -> str:
    colour = "grey" if described.channels == 1 else "colour"
    return (
        f"image classifier ({described.network}, {described.origin.get('kind', '')} layout) of {described.classes} "
        f"classes; {described.parameters:,} parameters, {described.image_size} px, {colour}"
    )


def _statistics(facts: StatisticsFacts) -> str:
    count = facts.batch_norm_layers
    if not count:
        return facts.handled
    swift = facts.replaced_by_a_batch
    turned = f"; {facts.turned} took 1 - momentum of each" if facts.turned else ""
    which = f" (of {swift}, one batch replaces more than half{turned})" if swift else ""
    return f"{counted(count, 'layer')}{which}: {facts.handled}"
