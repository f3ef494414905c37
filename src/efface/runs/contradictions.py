"""What in a record contradicts the rest of it, or the files beside it, whoever made the digests anew.

Each question gives sentences, none where all fits. `Unanswered` is raised where what it takes is not there: that is no
contradiction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from pydantic import JsonValue

from efface.corruptions import parse_corruption
from efface.errors import InputError
from efface.methods import CLASSIFIER_METHODS, GENERATOR_METHODS
from efface.methods.base import Method
from efface.probes.registry import PROBES
from efface.runs.claims import claim_of
from efface.runs.contradicting_figures import of_figures, of_images, of_probes, of_requirements, of_verdict
from efface.runs.environment import source_state
from efface.runs.limits import limits_of
from efface.runs.people import KEYED, in_the_words_of
from efface.runs.record import (
    CLOCK_SET_BACK,
    CONFIG_NAMES,
    CONFIG_PURGED,
    SET_BEFORE,
    ClassifierTraining,
    EvaluationFacts,
    GeneratorTraining,
    Record,
)
from efface.runs.sameness import unchanged
from efface.runs.stated import SETS, Stated, Unanswered
from efface.runs.unlearn_config import ClassifierRunConfig, RunConfig
from efface.training.settings import TrainingSettings
from efface.wording import counted

OPERATORS_TEXTS = ("request", "substitute")
MEASURED_FIRST = {"unlearning": "forget", "evaluation": "forget", "training": "retain"}
"""The set without which a kind of run is none."""


def contradictions(stated: Stated) -> Iterator[tuple[str, list[str] | Unanswered]]:
    """Every question that applies, and what contradicts, or why it cannot be answered."""
    record, questions = stated.record, dict(QUESTIONS)
    if record.results:
        questions |= OF_FIGURES
    if record.requirements:
        questions["the requirements"] = of_requirements
    if record.probes:
        questions["the probes"] = of_probes
    for what, question in questions.items():
        try:
            yield what, list(question(stated))
        except Unanswered as reason:
            yield what, reason
        except InputError as error:
            yield what, list(error.problems)
        except UnicodeDecodeError as error:
            yield what, [f"what it stands in is no UTF-8 text: {error.reason} at byte {error.start}"]
        except OSError as error:
            yield what, Unanswered(f"{error.filename} cannot be read: {error.strerror}")


def _models(stated: Stated) -> Iterator[str]:
    record = stated.record
    before, after, work = record.model.before, record.model.after, record.training
    made, began = record.kind != "evaluation", record.kind != "training"
    for name, there, due in (
        ("model.after", after is not None, made),
        ("training", work is not None, made),
        ("model.before", before is not None, began),
        ("method", record.method is not None, record.kind == "unlearning"),
        ("evaluation", record.evaluation is not None, began),
        ("results", record.results is not None, began),
        ("first_stage", record.first_stage is not None, record.first_stage is not None and not began),
    ):
        if there != due:
            yield f"{name}: {record.kind} has {'one' if due else 'none'}, and the record {'none' if due else 'one'}"
    if record.model.path and not made:
        yield "model.path: an evaluation makes no models"
    if work is not None and isinstance(work, GeneratorTraining) != (record.model_kind == "generator"):
        yield f"training: it is not that of a {record.model_kind}"
    if work is not None and not 0 <= work.changed_tensors <= work.tensors:
        yield f"training: {work.changed_tensors} of {work.tensors} tensors changed"
    if before is None or after is None or work is None:
        return
    if before.description.kind != after.description.kind:
        yield "model: it is of another kind after the run"
    same = before.weights == after.weights
    if isinstance(work, ClassifierTraining) and same != (work.changed_tensors == 0):
        yield (
            f"model: its weights are {'the same' if same else 'others'} after the run, and {work.changed_tensors} tensors "
            "are said to have changed"
        )
    elif same and work.steps and not isinstance(work, ClassifierTraining):
        yield f"model: its weights are those before the run, though {work.steps} steps were trained"


def _claim(stated: Stated) -> Iterator[str]:
    record, method = stated.record, None
    if record.method is not None:
        method = _method(record.method.name, record).claim
    work = record.training
    complete = not isinstance(work, ClassifierTraining) or work.complete
    fitting = claim_of(method, record.images, record.model, record.first_stage, complete)
    if record.claim != fitting:
        yield f"claim: what was done allows '{fitting.level}: {fitting.words}', and the record says '{record.claim.level}'"


def _sources(stated: Stated) -> Iterator[str]:
    record = stated.record
    facts = {
        "original" if record.kind == "evaluation" else "model": record.model.before,
        "retrained": record.retrained,
        "base": record.model.base,
        "yardstick": record.yardstick,
    }
    due = {name: model.weights for name, model in facts.items() if model is not None}
    # what an evaluation compares, or a training is made like, is stated nowhere else in a record
    apart = {"evaluation": "unlearned", "training": "like"}.get(record.kind)
    given = {name: digest for name, digest in record.sources.items() if name != apart}
    if given != due:
        yield f"sources: the models that were read are {_listed(due)}, and the record lists {_listed(given)}"


def _images(stated: Stated) -> Iterator[str]:
    images, first = stated.record.images, MEASURED_FIRST[stated.record.kind]
    if not images.count(first):
        yield f"images: {stated.record.kind} without {first} images"
    yield from (f"images: there is no set named {name}" for name in images.sets if name not in SETS)
    copies = images.duplicates.exact + images.duplicates.near
    if copies and images.duplicates.action == "stop":
        yield f"images: {counted(copies, 'copy', 'copies')}, where a single one stops the run"
    ids = {name: stated.ids(name) for name in images.sets if name in SETS}
    for name, found in ids.items():
        if len(found) != images.sets[name].count:
            yield f"images: the {name} set has {counted(images.sets[name].count, 'image')}, its manifest {len(found)}"
    both = set(ids.get("forget", ())) & set(ids.get("retain", ()))
    if both and images.duplicates.action != "ignore":
        yield f"images: {len(both)} of the forget set are in the retain set too"


def _times(stated: Stated) -> Iterator[str]:
    record, seal = stated.record, stated.seal
    stated_times = {
        "started": record.started,
        "finished": record.finished,
        **({"purged": record.working_files.purged} if record.working_files.purged else {}),
        **({"sealed": seal.at} if seal and not record.working_files.purged else {}),
    }
    times = {}
    for name, text in stated_times.items():
        try:
            times[name] = datetime.fromisoformat(text)
        except ValueError:
            yield f"{name}: '{text}' is no time"
            continue
        if times[name].tzinfo is None:
            yield f"{name}: '{text}' names no time zone"
            return
    for (early, first), (late, second) in zip(times.items(), list(times.items())[1:], strict=False):
        if second < first:
            yield f"{late} before it was {early}: {second.isoformat()}, {first.isoformat()}"


def _config(stated: Stated) -> Iterator[str]:
    """What the record says was asked, beside the settings themselves."""
    record, config = stated.record, stated.config
    if config is None:
        raise Unanswered("the settings in config.yaml are not those of the run")
    unlearns, trains = record.kind == "unlearning", record.kind == "training"
    evaluation = _section(config, "evaluation")
    request = record.request.model_dump(mode="json") if record.request else None
    recorded: dict[str, tuple[object, object]] = {
        "kind": (record.kind, _kind(config)),
        "method": (record.method.name if record.method else None, _section(config, "method").get("name")),
        "method.preset": (record.method.preset if record.method else None, config.get("preset")),
        "method.departures": (record.method.departures if record.method else [], _departures(config)),
        "seeds.unlearning": (record.seeds.unlearning, config.get("seed") if unlearns else None),
        "seeds.training": (record.seeds.training, config.get("seed") if trains else None),
        "seeds.evaluation": (record.seeds.evaluation, None if trains else evaluation.get("seed")),
        "request": (request, None if trains else config.get("request")),
        "substitute": (record.substitute, config.get("substitute")),
        "corruption": (record.corruption, None if trains else _label(config.get("corruption"))),
        "requirements": (_texts(record), _all(config.get("require"))),
        "probes": ([probe.name for probe in record.probes], _names(config.get("probes"))),
        "training.budget": (record.training.budget if record.training else None, config.get("budget")),
        "images.duplicates.action": (
            record.images.duplicates.action,
            (config if trains else _section(config, "images")).get("duplicates"),
        ),
        "images.proxy_retain": (
            record.images.proxy_retain,
            bool(not trains and _section(config, "images").get("proxy_retain")),
        ),
    }
    for name, (said, asked) in recorded.items():
        if name in OPERATORS_TEXTS:
            # texts may name people: the record has keyed words for some, and a message repeats none
            if said != _in_the_words_of(said, asked, stated.key):
                yield f"{name}: the record does not say what config.yaml says"
        elif said != asked:
            yield f"{name}: the record says {said!r}, config.yaml {asked!r}"
    for name, settings, section in _settings(record, config):
        for key, value in settings.items():
            if value != section.get(key) and not _hidden(value):
                yield f"{name}.{key}: the record says {value!r}, config.yaml {section.get(key)!r}"


def _departures(config: Mapping[str, JsonValue]) -> list[str]:
    """What the settings say in the place of their preset."""
    if config.get("preset") is None:
        return []
    kind = ClassifierRunConfig if _kind(config) == "unlearning" and "recipe" in config else RunConfig
    try:
        return kind.from_values(config).departures
    except InputError as error:
        raise Unanswered(f"the settings cannot be compared with their preset: {error}") from None


def _in_the_words_of(said: object, asked: object, key: bytes | None) -> object:
    """What was asked, with the keyed words that the record has in the place of names."""
    if isinstance(said, Mapping) and isinstance(asked, Mapping):
        return {name: _in_the_words_of(said.get(name), value, key) for name, value in asked.items()}
    if not (isinstance(said, str) and isinstance(asked, str) and KEYED.search(said)):
        return asked
    if key is None:
        raise Unanswered("the record holds keyed words, and run.key is not here; show it with --key FILE")
    return in_the_words_of(said, asked, key)


def _settings(
    record: Record, config: Mapping[str, JsonValue]
) -> Iterator[tuple[str, Mapping[str, JsonValue], Mapping[str, JsonValue]]]:
    """Each group of settings that the record repeats, and the section of the config that it is from."""
    work, evaluation = record.training, record.evaluation
    if record.method:
        yield "method.settings", record.method.settings, _section(config, "method")
    if isinstance(work, GeneratorTraining):
        settings = work.settings.model_dump(mode="json", exclude={"corruption"})
        yield "training.settings", settings, _with_crops(config, settings, evaluation)
    elif work:
        yield "training.recipe", work.recipe.model_dump(mode="json"), _section(config, "recipe")
    if evaluation:
        # an extractor stands in the record by its name, since the setting may name a place
        settings = evaluation.settings.model_dump(mode="json")
        named = {name: value for name, value in settings.items() if name not in ("extractor", "similarity")}
        configured = _section(config, "evaluation")
        if evaluation.views and configured.get("crop_scale") is None:
            learnt = evaluation.views.learnt
            configured = {**configured, "crop_scale": [*learnt.scale] if learnt else None}
        yield "evaluation.settings", named, configured
    for probe, asked in zip(record.probes, _all(config.get("probes")), strict=False):
        if isinstance(asked, Mapping):
            yield f"probes.{probe.name}.settings", probe.settings, asked


def _with_crops(
    config: Mapping[str, JsonValue], recorded: Mapping[str, JsonValue], evaluation: EvaluationFacts | None
) -> Mapping[str, JsonValue]:
    """The settings of a generator's training; of crops that they do not name, what the record says of the model."""
    learnt = evaluation.views.learnt if evaluation and evaluation.views else None
    crops = (learnt or TrainingSettings().crops).model_dump(mode="json")
    open_ = {"crop_scale": crops["scale"], "flip": crops["flip"]}
    if evaluation is None and (config.get("like") or config.get("base")):
        open_ = {name: recorded[name] for name in open_}  # of that model a record of training says nothing
    named = _section(config, "training")
    return {**named, **{name: value for name, value in open_.items() if named.get(name) is None}}


def _label(corruption: JsonValue) -> str | None:
    return parse_corruption(corruption).label if isinstance(corruption, str) else None


def _hidden(value: JsonValue) -> bool:
    """Whether the record shows a setting not as it was, because it names a place."""
    values = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else [value]
    return any(isinstance(one, str) and one.startswith(("sha256:", "(a place)")) for one in values)


def _words(stated: Stated) -> Iterator[str]:
    """What efface itself says of config, method, probes and limits; another version may say it otherwise."""
    record = stated.record
    said = {"limits": (record.limits, limits_of(record, stated.rows if record.results else []))}
    said["config.names"] = ([record.config.names], [CONFIG_PURGED if record.config.purged else CONFIG_NAMES])
    if record.requirements:
        said["requirements.words"] = ([record.requirements.words], [SET_BEFORE])
    if record.method:
        method = _method(record.method.name, record)
        family = record.model.before.description.family if record.model.before else None
        said["method"] = (
            [record.method.summary, record.method.source, record.method.deviations],
            [method.summary, method.source, method.deviations_on(family)],
        )
    for probe in record.probes:
        if probe.name not in PROBES:
            raise Unanswered(f"the probe {probe.name} is not installed here")
        asked = PROBES[probe.name]
        said[f"probes.{probe.name}"] = ([probe.question, probe.source], [asked.question, asked.source])
    unlike = [name for name, (there, here) in said.items() if there != here]
    source = source_state()
    if unlike and (source != record.environment.source or source.changed):
        raise Unanswered(f"{', '.join(unlike)}: another version of efface wrote this")
    yield from (f"{name}: these are not efface's words for what was done" for name in unlike)


def _parts(stated: Stated) -> Iterator[str]:
    """What the record says was done, beside what each part of the run remembered when it was finished."""
    stated.need("state.json")
    record, parts = stated.record, stated.parts
    prepared, trained, evaluated = parts.prepared, parts.trained, parts.evaluated
    risks = [*prepared.risks, *(trained.risks if trained else []), *unchanged(prepared, trained)]
    remembered: dict[str, tuple[object, object]] = {
        "started": (record.started, parts.started.at),
        "images": (record.images, prepared.images),
        "risks": (record.risks, risks),
        "model.before": (record.model.before, prepared.before),
        "model.base": (record.model.base, prepared.base),
        "model.after": (record.model.after, trained.after if trained else None),
        "model.path": (record.model.path, parts.further.models if parts.further else {}),
        "retrained": (record.retrained, prepared.retrained),
        "yardstick": (record.yardstick, prepared.yardstick),
        "sources.like": (record.sources.get("like"), prepared.like),
        "sources.unlearned": (
            record.sources.get("unlearned"),
            prepared.unlearned.weights if prepared.unlearned else None,
        ),
        "training": (record.training, trained.work if trained else None),
        "first_stage": (record.first_stage, trained.first_stage if trained else None),
        "statistics": (record.statistics, trained.statistics if trained else None),
        "evaluation": (record.evaluation, evaluated.facts if evaluated else None),
        "durations.preparation": (record.durations.preparation, prepared.seconds),
        "durations.training": (record.durations.training, round(trained.seconds, 3) if trained else None),
        "durations.evaluation": (record.durations.evaluation, evaluated.seconds if evaluated else None),
        "durations.probes": (record.durations.probes, evaluated.probing if evaluated else None),
    }
    yield from (
        f"{name}: it is not as in state.json" for name, (said, was) in remembered.items() if said != was
    )
    added = record.notes[len(prepared.notes) :]
    if [*prepared.notes, *added] != record.notes or any(not note.endswith(CLOCK_SET_BACK) for note in added):
        yield "notes: they are not as in state.json"
    working, removal = record.working_files, parts.removal
    if (working.removed, working.living_on) != (len(removal.files), len(removal.living_on)):
        yield f"working_files: {working.removed} removed, {working.living_on} living on; state.json lists others"


QUESTIONS: Mapping[str, Callable[[Stated], Iterator[str]]] = {
    "the models in record.json": _models,
    "the claim in record.json": _claim,
    "the sources in record.json": _sources,
    "the sets in record.json": _images,
    "the times in record.json": _times,
    "what was asked, in record.json": _config,
    "what was done, in record.json": _parts,
    "the words in record.json": _words,
}
OF_FIGURES: Mapping[str, Callable[[Stated], Iterator[str]]] = {
    "the figures": of_figures,
    "the figures of single images": of_images,
    "the verdict": of_verdict,
}
"""By what is in question, as a check names it: of every run, and of those that measured."""


def _method(name: str, record: Record) -> type[Method]:
    methods: Mapping[str, type[Method]] = GENERATOR_METHODS
    if record.model_kind == "classifier":
        methods = CLASSIFIER_METHODS
    if name not in methods:
        raise Unanswered(f"the method {name} is not installed here")
    return methods[name]


def _listed(digests: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {digest[:16]}..." for name, digest in digests.items()) or "none"


def _section(config: Mapping[str, JsonValue], name: str) -> Mapping[str, JsonValue]:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}


def _kind(config: Mapping[str, JsonValue]) -> str:
    return "evaluation" if "original" in config else "unlearning" if "method" in config else "training"


def _texts(record: Record) -> list[JsonValue]:
    return [outcome.requirement for outcome in record.requirements.outcomes] if record.requirements else []


def _all(values: JsonValue) -> Sequence[JsonValue]:
    return values if isinstance(values, list) else []


def _names(values: JsonValue) -> list[JsonValue]:
    return [value.get("name") if isinstance(value, Mapping) else value for value in _all(values)]
