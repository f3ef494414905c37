"""The config of a run: everything that decides its result. It is `RUN/config.yaml` and part of the record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from efface.corruptions import parse_corruption
from efface.errors import Faults, InputError
from efface.evaluation.requirements import Requirement, contradictions, probes_for
from efface.evaluation.settings import EvaluationSettings
from efface.files import sha256_of_json
from efface.generators.families import Family
from efface.generators.registry import FAMILIES, family_of
from efface.generators.settings import Architecture, ModelSettings
from efface.images.duplicates import DEFAULT_DISTANCE
from efface.images.selection import ImagesSettings
from efface.methods import GeneratorMethod, read_method
from efface.methods.generator.encoder_noise import EncoderNoise
from efface.methods.generator.retrain import Retrain
from efface.probes.base import Probe
from efface.probes.registry import GROUPS, PROBES, probes_of_group, read_probe
from efface.settings import Settings, unknown_name
from efface.training.settings import TrainingSettings, parse_budget

NOT_DECIDING = ("keep_working_files", "with_pictures")
"""Settings that do not change the result, so they may differ when a run is continued."""

SHORT_FORMS = {
    **dict.fromkeys(("model", "retrained", "original", "unlearned", "like"), "path"),
    "method": "name",
}
"""Sections that may be given as a text alone, and the entry that the text then is."""


class RequestSettings(Settings):
    """What is known of the deletion request; free text, printed in record and report."""

    id: str | None = Field(None, description="the request's number or UUID")
    received: date | None = Field(None, description="the day on which it came in")
    regime: str | None = Field(None, description="the law or policy under which it was made")
    reason: str | None = Field(None, description="why, in the requester's or operator's words")


class JobConfig(Settings):
    """What every job has, whatever the kind of model."""

    keep_working_files: bool = Field(
        False, description="keep caches and checkpoints; they hold forgotten images"
    )

    def digest(self) -> str:
        """sha256 over all settings that decide the result."""
        return deciding_digest(self.as_dict())


class MeasuredConfig(JobConfig):
    """What every job has that measures models on image sets."""

    images: ImagesSettings = ImagesSettings()
    retrained_stages: str = Field(
        "all",
        description="which stages of the reference were retrained; anything but 'all' is printed as a limit",
    )
    request: RequestSettings = RequestSettings()


class FromScratchConfig(JobConfig):
    """What every job has that trains a model from scratch."""

    images: str = Field(description="the images to train on, with all that is excluded below")
    without: tuple[str, ...] = Field((), description="what is left out, said as in images.forget")
    neutral: tuple[str, ...] = Field((), description="what is never trained on, said as in images.forget")
    duplicates: Literal["stop", "forget", "ignore"] = Field(
        "stop",
        description="copies of left-out images among the others: stop, forget (leave out too) or ignore",
    )
    near_duplicate_distance: int = Field(DEFAULT_DISTANCE, ge=-1, le=32, description="as in images")
    skip_unreadable: bool = Field(False, description="leave out images that cannot be read, and say so")


ProbeSection = Annotated[
    SerializeAsAny[Probe],
    BeforeValidator(
        lambda section: section if isinstance(section, Probe) else or_value_error(_probe, section)
    ),
]
RequirementText = Annotated[
    str, AfterValidator(lambda text: or_value_error(partial(Requirement.parse, kind="generator"), text).text)
]


class JudgedConfig(MeasuredConfig):
    """What jobs on generators have: questions to the unlearned model, and thresholds set before the run."""

    require: tuple[RequirementText, ...] = Field(
        (),
        description="thresholds, such as retain-error<=1.02x or detectability<=0.05; see docs/requirements.md",
    )
    probes: tuple[ProbeSection, ...] = Field(
        (),
        description="probes by name, or sections with a name and settings; all, or cheap: those without training",
    )
    substitute: str | None = Field(
        None,
        description="without a retrained model: what is declared to stand in its place, in your words; it is printed",
    )

    added: ClassVar[tuple[str, ...]] = ("require", "probes", "substitute")
    """Settings that are not written down unless asked for, so that a run from before there were any can go on."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values, without `added` ones that were left as they are."""
        fields = type(self).model_fields
        unasked = {name for name in self.added if getattr(self, name) == fields[name].default}
        return {name: value for name, value in super().as_dict().items() if name not in unasked}

    @field_validator("require", mode="before")
    @classmethod
    def _lone_requirement(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @field_validator("require", mode="after")
    @classmethod
    def _each_once_and_together_possible(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        found = contradictions(given, "generator")
        if found:
            raise ValueError("; ".join(found))
        return tuple(dict.fromkeys(given))

    @field_validator("substitute", mode="after")
    @classmethod
    def _said_in_words(cls, given: str | None) -> str | None:
        if given is not None and not given.strip():
            raise ValueError("say in words what stands in the place of a retrained model, or leave it out")
        return given

    @model_validator(mode="after")
    def _substitute_or_retrained(self) -> Self:
        if self.substitute is not None and getattr(self, "retrained", None) is not None:
            raise ValueError(
                "substitute: a retrained model is given, so nothing stands in its place; leave out one of the two"
            )
        return self

    @field_validator("probes", mode="before")
    @classmethod
    def _groups_of_probes(cls, given: Any) -> Any:
        """A lone probe as a list; all and cheap as the names of those that are not given with settings."""
        sections = [given] if isinstance(given, str | Mapping) else given
        if not isinstance(sections, list | tuple):
            return given
        groups = {section for section in sections if isinstance(section, str) and section in GROUPS}
        single = tuple(
            section for section in sections if not (isinstance(section, str) and section in groups)
        )
        named = {section.get("name") for section in single if isinstance(section, Mapping)} | {
            section for section in single if isinstance(section, str)
        }
        meant = dict.fromkeys(
            name for group in sorted(groups) for name in probes_of_group(group, "generator")
        )
        return (*single, *(name for name in meant if name not in named))

    @field_validator("probes", mode="after")
    @classmethod
    def _with_those_required(cls, given: tuple[Probe, ...], info: ValidationInfo) -> tuple[Probe, ...]:
        """Each probe once, and those whose figures are required, in the registry's order."""
        found: dict[str, Probe] = {}
        for probe in given:
            if found.setdefault(probe.name, probe) != probe:
                raise ValueError(f"{probe.name} is given twice, with different settings")
        for name in probes_for(info.data.get("require", ()), "generator"):
            if name not in found:
                found[name] = or_value_error(_probe, name)
        return tuple(found[name] for name in PROBES if name in found)

    @field_serializer("probes")
    def _with_names(self, asked: tuple[Probe, ...]) -> list[dict[str, Any]]:
        return [{"name": probe.name, **probe.model_dump(mode="json")} for probe in asked]


class RunConfig(JudgedConfig):
    """One unlearning run."""

    model: ModelSettings
    method: SerializeAsAny[GeneratorMethod]
    training: TrainingSettings
    corruption: str = Field("centre:0.5", description="what is hidden from the model")
    evaluation: EvaluationSettings = EvaluationSettings()
    retrained: ModelSettings | None = Field(None, description="a model trained without the forget images")
    seed: int = Field(0, description="seed of unlearning")
    stored_side: int | None = Field(
        None,
        ge=8,
        description="short side at which decoded images are kept; default: 8/7 of the model's input",
    )
    budget: str | None = Field(None, description="bound on training, for example 10m or 500steps")
    with_pictures: bool = Field(False, description="also write pictures.html, which shows forgotten images")

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """A config from plain values, as a YAML file holds them; raises `InputError` naming all faults."""
        values = written_out(values)
        with Faults("the config cannot be used") as faults:
            method = _method(values.get("method", {}), faults)
            training = _section(values, "training", type(method).training_settings, faults)
            return cls.read({**values, "method": method, "training": training}, where="the config")

    @field_validator("corruption")
    @classmethod
    def _known_corruption(cls, text: str) -> str:
        return str(or_value_error(parse_corruption, text))

    @field_validator("budget")
    @classmethod
    def _readable_budget(cls, text: str | None) -> str | None:
        if text is not None:
            or_value_error(parse_budget, text)
        return text

    @field_serializer("method")
    def _with_name(self, method: GeneratorMethod) -> dict[str, Any]:
        return {"name": method.name, **method.model_dump(mode="json")}


class TrainConfig(FromScratchConfig):
    """Training a model from scratch, for instance the reference without the forget images."""

    generator: str = Field("mae", description="the family of the new model")
    architecture: SerializeAsAny[Architecture]
    like: ModelSettings | None = Field(
        None, description="a model whose family, shape and value space are taken over"
    )
    keep_first_stage: bool = Field(
        False,
        description="with like: take over its tokenizer or VAE as it is, which may hold left-out images",
    )
    training: TrainingSettings
    first_stage: TrainingSettings = Field(
        description="how a tokenizer or VAE is trained, if the model has one"
    )
    seed: int = Field(0, description="seed of initialisation, order, crops and masks")
    stored_side: int | None = Field(None, ge=8, description="short side at which decoded images are kept")
    budget: str | None = Field(None, description="bound on training, for example 10m or 500steps")

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """A config from plain values; raises `InputError` naming all faults."""
        values = written_out(values)
        with Faults("the config cannot be used") as faults:
            family = _family(values, faults)
            architecture = _architecture(family, values.get("architecture"), faults)
            if values.get("like") is not None and architecture != family.architecture():
                faults.add(
                    "architecture: with like, the shape is that of the model named there; leave it out"
                )
            training = _section(
                values,
                "training",
                lambda chosen: Retrain.training_settings({**family.training, **chosen}),
                faults,
            )
            recommended = {**training.as_dict(), **family.first_stage}
            first_stage = _section(
                values,
                "first_stage",
                lambda chosen: TrainingSettings.read({**recommended, **chosen}, where="first_stage"),
                faults,
            )
            decided = {"generator": family.name, "architecture": architecture, "training": training}
            return cls.read({**values, **decided, "first_stage": first_stage}, where="the config")

    @model_validator(mode="after")
    def _first_stage_of_a_model(self) -> Self:
        if self.keep_first_stage and self.like is None:
            raise ValueError("keep_first_stage: only with like, a model whose first stage is taken over")
        return self

    @field_validator("budget")
    @classmethod
    def _readable_budget(cls, text: str | None) -> str | None:
        if text is not None:
            or_value_error(parse_budget, text)
        return text


class EvaluateConfig(JudgedConfig):
    """Comparing models that are there already."""

    original: ModelSettings = Field(description="the model before unlearning")
    unlearned: ModelSettings | None = Field(None, description="the model after unlearning")
    retrained: ModelSettings | None = Field(None, description="a model trained without the forget images")
    corruption: str = Field("centre:0.5", description="what is hidden from the models")
    evaluation: EvaluationSettings = EvaluationSettings()
    training: TrainingSettings = Field(
        TrainingSettings(), description="how the run trained, for probes that train: batch, precision, crops"
    )
    stored_side: int | None = Field(None, ge=8, description="short side at which decoded images are kept")
    with_pictures: bool = Field(False, description="also write pictures.html, which shows forgotten images")

    added: ClassVar[tuple[str, ...]] = (*JudgedConfig.added, "training")

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """A config from plain values; raises `InputError` naming all faults."""
        return cls.read(written_out(values), where="the config")

    @field_validator("corruption")
    @classmethod
    def _known_corruption(cls, text: str) -> str:
        return str(or_value_error(parse_corruption, text))


def written_out(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `model: PATH` and `method: NAME` written as the sections for which they are short."""
    return {
        name: {SHORT_FORMS[name]: value} if name in SHORT_FORMS and isinstance(value, str) else value
        for name, value in values.items()
    }


def deciding_digest(values: Mapping[str, Any]) -> str:
    """sha256 over a config's plain values without those that do not change the result."""
    return sha256_of_json({name: value for name, value in values.items() if name not in NOT_DECIDING})


def differences(before: Mapping[str, Any], after: Mapping[str, Any], place: str = "") -> list[str]:
    """Each setting that differs, as `place: old -> new`."""
    lines = []
    for name in sorted(set(before) | set(after)):
        old, new = before.get(name), after.get(name)
        if old == new or (not place and name in NOT_DECIDING):
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += differences(old, new, f"{place}{name}.")
        else:
            lines.append(f"{place}{name}: {old!r} -> {new!r}")
    return lines


def _method(section: Any, faults: Faults) -> GeneratorMethod:
    """The method of a config section; on a fault a stand-in, so that the other sections are read too."""
    try:
        if not isinstance(section, Mapping):
            raise InputError(f"give a name, or a section with a name, not {section!r}")
        return read_method(section)
    except InputError as error:
        faults.problems += [f"method: {problem}" for problem in error.problems]
    return EncoderNoise()


def _probe(section: Any) -> Probe:
    if not isinstance(section, str | Mapping):
        raise InputError(f"give a name, or a section with a name, not {section!r}")
    name = section if isinstance(section, str) else section.get("name")
    if name not in PROBES:
        raise InputError(unknown_name("probe", str(name), (*PROBES, *GROUPS)))
    try:
        return read_probe(section)
    except InputError as error:
        raise InputError(*(f"{name}: {problem}" for problem in error.problems)) from None


def _section(
    values: Mapping[str, Any],
    name: str,
    read: Callable[[Mapping[str, Any]], TrainingSettings],
    faults: Faults,
) -> TrainingSettings:
    """The training settings that `read` makes of a section; on a fault a stand-in, as in `_method`."""
    section = values.get(name) or {}
    try:
        if not isinstance(section, Mapping):
            raise InputError(f"give a section with settings, not {section!r}")
        return read(section)
    except InputError as error:
        faults.problems += [f"{name}: {problem}" for problem in error.problems]
    return TrainingSettings()


def _family(values: Mapping[str, Any], faults: Faults) -> Family:
    """The family of a new model: the one named, else that of the model it is to be like."""
    name = values.get("generator")
    try:
        if name is None and isinstance(values.get("like"), Mapping):
            return family_of(ModelSettings.read(values["like"], where="like"))
        return FAMILIES.named("mae" if name is None else str(name))
    except InputError as error:
        faults.problems += error.problems
    return FAMILIES.named("mae")


def _architecture(family: Family, section: Any, faults: Faults) -> Architecture:
    """The shape of a new model, `size` written out; on a fault a stand-in, as in `_method`."""
    try:
        if not isinstance(section or {}, Mapping):
            raise InputError(f"give a section with settings, not {section!r}")
        chosen = dict(section or {})
        size = chosen.pop("size", "tiny")
        if size not in family.sizes:
            raise InputError(unknown_name("size", str(size), family.sizes))
        architecture = family.architecture.read({**family.sizes[size], **chosen}, where="architecture")
        faults.problems += [f"architecture: {problem}" for problem in architecture.faults()]
        return architecture
    except InputError as error:
        faults.problems += [f"architecture: {problem}" for problem in error.problems]
    return family.architecture()


def or_value_error(read: Any, value: Any) -> Any:
    """pydantic collects ValueErrors; an InputError would leave the other faults unsaid."""
    try:
        return read(value)
    except InputError as error:
        raise ValueError("; ".join(error.problems)) from None
