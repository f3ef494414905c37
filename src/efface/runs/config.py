"""What the configs of all jobs share. A config is everything that decides a run's result, and lies in `RUN/config.yaml`.

Each verb has a module of its own: `unlearn_config`, `train_config`, `evaluate_config`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from os import PathLike, fspath
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    SerializeAsAny,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from efface.classifiers.architecture import ClassifierSettings
from efface.corruptions import parse_corruption
from efface.devices import AUTO, readable_device
from efface.errors import Faults, InputError
from efface.files import sha256_of_json
from efface.generators.families import ModelSettings
from efface.generators.registry import FAMILIES, read_model
from efface.images.copies import ONLY_EXACT
from efface.images.copy_index import DEFAULT_AGREEMENT
from efface.images.selection import ImagesSettings
from efface.memory import PIXELS
from efface.metrics.base import ModelKind
from efface.probes.base import Probe
from efface.probes.registry import GROUPS, PROBES, probes_of_group, read_probe
from efface.runs.requirements import Requirement, contradictions, probes_for
from efface.settings import Settings, unknown_name
from efface.training.settings import StatisticsChoice
from efface.wording import shortened

Verb = Literal["unlearn", "train", "evaluate"]

NOT_DECIDING = (
    "keep_working_files",
    "with_pictures",
    "device",
    "batch_pixels",
    "training.trackers",
    "ledger",
    "erased",
)
"""Settings that do not change the result, or by rounding alone, so they may differ when a run is continued."""

SHORT_FORMS = {
    **dict.fromkeys(("model", "retrained", "yardstick", "original", "unlearned", "like", "base"), "path"),
    "method": "name",
}
"""Sections that may be given as a text alone, and the entry that the text then is."""

MOMENT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d))?")

STATISTICS: StatisticsChoice = Field(
    "auto",
    description="running statistics of batch normalisation: keep (as training leaves them), recompute (from retain images, "
    "after training), or auto: keep, but where one batch replaces more than half (a momentum above 0.5) train with "
    "1 - momentum, and recompute those that begin fresh",
)

Read = TypeVar("Read")
Measured = TypeVar("Measured", bound="MeasuredConfig")


class StatedRequest(Settings):
    """What is known of the deletion request; free text, printed in record and report."""

    id: str | None = Field(None, description="the request's number or UUID")
    received: datetime | date | None = Field(
        None, description="the day on which it came in, or day and time with the time zone, as stated"
    )
    regime: str | None = Field(None, description="the law or policy under which it was made")
    reason: str | None = Field(None, description="why, in the requester's or operator's words")

    @field_validator("received", mode="before")
    @classmethod
    def _day_or_moment(cls, stated: object) -> object:
        if stated is None or isinstance(stated, date):
            return stated
        if isinstance(stated, str) and (form := MOMENT.fullmatch(stated)):
            try:
                return datetime.fromisoformat(stated) if form[1] else date.fromisoformat(stated)
            except ValueError:
                pass
        raise ValueError(
            f"{shortened(stated)} is no date; write 2026-11-30, or with time and zone 2026-11-30T23:30-05:00 (Z for UTC)"
        )


class RequestSettings(StatedRequest):
    """The same of a request that is to be carried out, and so has come in."""

    @field_validator("received", mode="after")
    @classmethod
    def _has_come_in(cls, received: datetime | date | None) -> datetime | date | None:
        latest = datetime.now(UTC) + timedelta(days=1)  # clocks and zones differ
        if received is not None and (
            received > latest if isinstance(received, datetime) else received > latest.date()
        ):
            raise ValueError(f"{received.isoformat()} is in the future")
        return received


DeviceText = Annotated[str, AfterValidator(lambda text: or_value_error(readable_device, text))]


class JobConfig(Settings, ABC):
    """What every job has: what it does, and with models of which kind."""

    verb: ClassVar[Verb]
    kind: ClassVar[ModelKind]

    keep_working_files: bool = Field(
        False, description="keep caches and checkpoints; they hold forgotten images"
    )
    earlier: Literal["follow", "unknown"] = Field(
        "follow",
        description="what earlier runs behind the model forgot is never trained on again: `follow` those runs and stop "
        "where one cannot be read, or take that as `unknown` and go on, which record and page then say",
    )

    exact: bool = Field(
        False,
        description="one thread, fp32, deterministic algorithms: so that `efface verify --rerun` comes to the same bits",
    )

    device: DeviceText = Field(
        AUTO, description="where models run: cpu, cuda, cuda:1, mps; auto is a CUDA GPU where there is one"
    )
    batch_pixels: int = Field(
        PIXELS,
        ge=1,
        description="most pixels of pictures that go through a model at once where nothing is learnt (by default 64 of "
        "224 px); halved where memory ends",
    )

    ledger: str | None = Field(
        None,
        description="folder of the ledger whose erased images are not trained on again, and in which the model that is "
        "made is registered; by default what EFFACE_LEDGER names",
    )
    erased: Literal["stop", "exact"] = Field(
        "stop",
        description="with a ledger: `stop` where erased images or copies of them are to be trained on, or only where the "
        "very same bytes are (`exact`)",
    )

    unasked: ClassVar[tuple[str, ...]] = ("exact", "device", "batch_pixels", "ledger", "erased")
    """Settings that are not written down unless asked for, so that a run from before there were any can go on."""

    @classmethod
    @abstractmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """A config from plain values, as a YAML file holds them; raises `InputError` naming all faults."""

    @property
    @abstractmethod
    def selectors(self) -> tuple[str, ...]:
        """Everything that says where images come from."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values, without those of `unasked` that were left as they are."""
        fields = type(self).model_fields
        left = {name for name in self.unasked if getattr(self, name) == fields[name].default}
        return {name: value for name, value in super().as_dict().items() if name not in left}

    def digest(self) -> str:
        """sha256 over all settings that decide the result."""
        return deciding_digest(self.as_dict())


class FromScratchConfig(JobConfig):
    """What every job has that trains a model, with no method."""

    images: str = Field(description="the images to train on, with all that is excluded below")
    without: tuple[str, ...] = Field((), description="what is left out, said as in images.forget")
    neutral: tuple[str, ...] = Field((), description="what is never trained on, said as in images.forget")
    duplicates: Literal["stop", "forget", "ignore"] = Field(
        "stop",
        description="copies of left-out images among the others: stop, forget (leave out too) or ignore",
    )
    copy_agreement: float = Field(DEFAULT_AGREEMENT, ge=0.5, le=ONLY_EXACT, description="as in images")
    skip_unreadable: bool = Field(False, description="leave out images that cannot be read, and say so")

    @property
    def selectors(self) -> tuple[str, ...]:
        return (self.images, *self.without, *self.neutral)


ProbeSection = Annotated[
    SerializeAsAny[Probe],
    BeforeValidator(
        lambda section: section if isinstance(section, Probe) else or_value_error(_probe, section)
    ),
]
CorruptionText = Annotated[str, AfterValidator(lambda text: str(or_value_error(parse_corruption, text)))]


YARDSTICK: Any = Field(
    None,
    description="a second model trained without the forget images, by another seed, to know how far two retrainings differ",
)


class MeasuredConfig(JobConfig):
    """What every job has that measures models: image sets, questions, and thresholds set before the run."""

    images: ImagesSettings = ImagesSettings()
    retrained_stages: str = Field(
        "all",
        description="which stages of the reference were retrained; anything but 'all' is printed as a limit",
    )
    request: RequestSettings = RequestSettings()
    require: tuple[str, ...] = Field(
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

    unasked: ClassVar[tuple[str, ...]] = (*JobConfig.unasked, "require", "probes", "substitute", "yardstick")

    @property
    def selectors(self) -> tuple[str, ...]:
        return self.images.selectors

    @field_validator("require", mode="before")
    @classmethod
    def _lone_requirement(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @field_validator("require", mode="after")
    @classmethod
    def _each_once_and_together_possible(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        texts, problems = [], list[str]()
        for text in given:
            try:
                texts.append(Requirement.parse(text, kind=cls.kind).text)
            except InputError as error:
                problems += error.problems
        problems += contradictions(texts, cls.kind)
        if problems:
            raise ValueError("; ".join(problems))
        return tuple(dict.fromkeys(texts))

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

    @model_validator(mode="after")
    def _yardstick_beside_retrained(self) -> Self:
        if getattr(self, "yardstick", None) is not None and getattr(self, "retrained", None) is None:
            raise ValueError("yardstick: it is held against a retrained model; give that too (--retrained)")
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
        meant = dict.fromkeys(name for group in sorted(groups) for name in probes_of_group(group, cls.kind))
        return (*single, *(name for name in meant if name not in named))

    @field_validator("probes", mode="after")
    @classmethod
    def _with_those_required(cls, given: tuple[Probe, ...], info: ValidationInfo) -> tuple[Probe, ...]:
        """Each probe once, and those whose figures are required, in the registry's order."""
        chosen: dict[str, Probe] = {}
        for probe in given:
            if chosen.setdefault(probe.name, probe) != probe:
                raise ValueError(f"{probe.name} is given twice, with different settings")
        for name in probes_for(info.data.get("require", ()), cls.kind):
            if name not in chosen:
                chosen[name] = or_value_error(_probe, name)
        foreign = [
            f"{name} questions {' and '.join(probe.figures)}s, and this model is a {cls.kind}: {probe.question}"
            for name, probe in chosen.items()
            if cls.kind not in probe.figures
        ]
        if foreign:
            raise ValueError("; ".join(foreign))
        return tuple(chosen[name] for name in PROBES if name in chosen)

    @field_serializer("probes")
    def _with_names(self, probes: tuple[Probe, ...]) -> list[dict[str, Any]]:
        return [{"name": probe.name, **probe.model_dump(mode="json")} for probe in probes]


def in_full_precision(values: Mapping[str, Any], section: Mapping[str, Any]) -> dict[str, Any]:
    """The training settings of a config; one that is to be exact trains in fp32. Raises `InputError`."""
    if not values.get("exact"):
        return dict(section)
    if section.get("precision") not in (None, "auto", "fp32"):
        raise InputError("exact: an exact run trains in fp32; leave training.precision out")
    return {**section, "precision": "fp32"}


def written_out(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `model: PATH` and `method: NAME` written as the sections for which they are short."""
    return {
        name: {SHORT_FORMS[name]: fspath(value)}
        if name in SHORT_FORMS and isinstance(value, str | PathLike)
        else _with_path(value)
        if SHORT_FORMS.get(name) == "path" and isinstance(value, Mapping)
        else value
        for name, value in values.items()
    }


def _with_path(section: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """A section of a model whose file may be given as `weights`."""
    return {
        "path" if name == "weights" and "path" not in section else name: value
        for name, value in section.items()
    }


def deciding_digest(values: Mapping[str, Any]) -> str:
    """sha256 over a config's plain values without those that do not change the result."""
    deciding = {name: value for name, value in values.items() if name not in NOT_DECIDING}
    training = deciding.get("training")
    if isinstance(training, Mapping):
        kept = {name: value for name, value in training.items() if f"training.{name}" not in NOT_DECIDING}
        deciding |= {"training": kept}
        if not kept:
            del deciding["training"]
    return sha256_of_json(deciding)


def differences(before: Mapping[str, Any], after: Mapping[str, Any], place: str = "") -> list[str]:
    """Each setting that differs, as `place: old -> new`."""
    lines = []
    for name in sorted(set(before) | set(after)):
        old, new = before.get(name), after.get(name)
        if old == new or f"{place}{name}" in NOT_DECIDING:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += differences(old, new, f"{place}{name}.")
        else:
            lines.append(f"{place}{name}: {old!r} -> {new!r}")
    return lines


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


def or_value_error(read: Any, value: Any, section: str = "model") -> Any:
    """pydantic collects ValueErrors; an InputError would leave the other faults unsaid. section: as of `of_section`."""
    try:
        return read(value)
    except InputError as error:
        raise ValueError("; ".join(of_section(problem, section) for problem in error.problems)) from None


def of_section(problem: str, section: str) -> str:
    """A sentence on settings of `model`, where another section names the model that it is about.

    >>> of_section("model.safetensors holds several sets: choose with --set model.entry=NAME", "base")
    'model.safetensors holds several sets: choose with --set base.entry=NAME'
    """
    options = {*ClassifierSettings.model_fields}.union(
        *(family.settings.model_fields for family in FAMILIES.values())
    )
    return re.sub(rf"\bmodel\.(?=({'|'.join(options)})\b)", f"{section}.", problem)


ModelSection = Annotated[
    SerializeAsAny[ModelSettings],
    BeforeValidator(
        lambda section, info: (
            or_value_error(read_model, section, info.field_name) if isinstance(section, Mapping) else section
        )
    ),
]
"""The section of a config that names a generator, with the options of its family."""


def under_its_corruption(config: Measured) -> Measured:
    """The config with every model told under which corruption the job has it, should it not know its own."""
    sections = {
        name: getattr(config, name, None)
        for name in ("model", "original", "unlearned", "retrained", "yardstick")
    }
    corruption = getattr(config, "corruption", None)
    told = {
        name: one.under(corruption)
        for name, one in sections.items()
        if isinstance(one, ModelSettings) and corruption
    }
    return config.model_copy(update=told)


def readable(read: Callable[[str], object], text: str) -> str:
    """`text` as it is; raises `ValueError` where it cannot be read."""
    or_value_error(read, text)
    return text


def chosen(
    read: Callable[[Mapping[str, Any]], Read],
    values: Mapping[str, Any],
    name: str,
    instead: Read,
    faults: Faults,
) -> Read:
    """What `read` makes of the section `name`; on a fault `instead`, so that the other sections are read too."""
    section = values.get(name) or {}
    try:
        if not isinstance(section, Mapping):
            what = "a name, or a section with a name" if name == "method" else "a section with settings"
            raise InputError(f"give {what}, not {section!r}")
        return read(section)
    except InputError as error:
        faults.problems += [f"{name}: {problem}" for problem in error.problems]
    return instead
