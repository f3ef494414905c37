"""What a family of generators says of itself before any of it is opened, and how its models are named. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, cast

from pydantic import Field, JsonValue

from efface.corruptions import Corruption, parse_corruption
from efface.documents import read_object
from efface.errors import InputError
from efface.model_files import Contents, model_place
from efface.settings import Settings, unknown_name
from efface.wording import span

if TYPE_CHECKING:
    from torch import Tensor

    from efface.generators.base import Generator

TRAINING_NOTE = "efface_training.json"
"""A file beside a model that efface trained: under which crops, and with which corruption, if not its family's usual."""
NoiseKind = Literal["standard-normal", "moment-matched", "batch-matched", "uniform", "constant"]


class LearntCrops(Settings):
    """How the images of a training were cropped: the views in which a model may know them."""

    scale: tuple[float, float] = Field(description="share of an image's area, smallest and largest")
    flip: bool = Field(description="whether half of the crops were mirrored")
    per_image: int | None = Field(
        None, description="different crops of each image; null: a new one at every visit"
    )

    @property
    def words(self) -> str:
        """The same in words."""
        mirrored = "half of them mirrored" if self.flip else "none mirrored"
        each = f", {self.per_image} of each image" if self.per_image else ""
        return f"crops of {span(*self.scale)} of an image's area, {mirrored}{each}"


class TrainingNote(Settings):
    """What stands in `TRAINING_NOTE` beside a generator."""

    crops: LearntCrops | None = None
    corruption: str | None = None


class Architecture(Settings):
    """The shape of a model to be trained from scratch; each family has its own."""

    image_size: int = Field(64, ge=8, description="side of the square input in pixels")

    def faults(self) -> list[str]:
        """What does not fit together."""
        return []


class ModelSettings(Settings):
    """Where a trained model lies. Each family adds what its files cannot say of themselves."""

    path: str = Field(
        description="a folder saved by transformers, diffusers or efface, hub:owner/name, or a file of weights"
    )
    revision: str | None = Field(None, description="the hub revision (a commit hash pins the weights)")
    base: str | None = Field(
        None,
        description="the model that a LoRA adapter, given as the path, was trained for; default: as peft noted",
    )
    variant: str | None = Field(
        None,
        description="which files of a folder that holds several, such as fp16; default: plain ones, or the only ones",
    )
    entry: str | None = Field(
        None, description="which weights of a file that holds several, such as plain and averaged ones (EMA)"
    )
    family: str | None = Field(None, description="the family of the model; default: as its files say")

    @property
    def undoes(self) -> str | None:
        """The corruption that the model was trained to undo, where the settings and not its files tell."""
        return None

    def under(self, corruption: str) -> Self:
        """The same for a job under `corruption`, which stands in where a model cannot tell what it was trained with."""
        return self

    def beside(self, other: ModelSettings) -> Self:
        """The same for a model that stands beside `other` in a job."""
        return self


@dataclass(frozen=True)
class Demo:
    """A model of the family small enough to be trained live on two cores, and how.

    Each mapping is the part of a config that the family decides; the steps are those of the full demo.
    """

    training: Mapping[str, JsonValue]
    unlearning: Mapping[str, JsonValue]
    architecture: Mapping[str, JsonValue] = field(default_factory=dict)
    first_stage: Mapping[str, JsonValue] = field(default_factory=dict)
    evaluation: Mapping[str, JsonValue] = field(default_factory=dict)
    method: str = "encoder-noise"
    corruption: str = "centre:0.5"


@dataclass(frozen=True)
class Release:
    """Released code that unlearns models of a family: the settings with which its methods were published.

    source: where it lies. training, evaluation: the parts of a config that all its methods share. methods: the settings
    of each by its name, and under `training` what of that differs. crops: on which the code that trained the released
    models always trains.
    """

    source: str
    training: Mapping[str, JsonValue]
    methods: Mapping[str, Mapping[str, JsonValue]]
    crops: LearntCrops
    evaluation: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """One family of generators.

    architecture, sizes: the shape of a new model, and what each named size changes of its defaults.
    settings: how a model of the family is named, with what its files cannot say of themselves.
    module: where `load(settings)`, `new(architecture, seed)` and `risks(generator, images)` live; imported when a
        model is opened.
    recognises: whether a model of this family lies there.
    named_by: the option by which a model is of this family, whatever its file looks like; empty where files tell.
    training, first_stage: training settings that suit a new model and its first stage; None where it has no such stage.
    demo: how `efface demo` shows the family; None where only large pre-trained models are of use.
    release: with what its methods were published; None where no code for models of the family was released.
    """

    name: str
    summary: str
    architecture: type[Architecture]
    sizes: Mapping[str, Mapping[str, JsonValue]]
    settings: type[ModelSettings]
    module: str
    recognises: Callable[[Contents], bool]
    named_by: str = ""
    training: Mapping[str, JsonValue] = field(default_factory=dict)
    first_stage: Mapping[str, JsonValue] | None = None
    demo: Demo | None = None
    release: Release | None = None

    def load(self, settings: ModelSettings) -> Generator:
        """Open a trained model; raises `InputError` with every fault found."""
        from efface.model_bounds import check_opened, opening

        place = model_place(settings.path, settings.base)
        with opening(place):
            whole = settings.model_copy(update={"path": place, "base": None})
            generator = cast("Generator", import_module(self.module).load(whole))
        check_opened(place, generator.network)
        if place != settings.path:
            from efface.adapters import read_adapter

            generator.add_adapter(read_adapter(settings.path))
        note = Path(settings.path) / TRAINING_NOTE
        if note.is_file():
            generator.learnt_crops, generator.trained_with = _noted(note)
        elif self.release and Path(settings.path).is_file():
            generator.learnt_crops = self.release.crops
        return generator

    def new(self, architecture: Architecture, seed: int) -> Generator:
        """An untrained model. The global random state is left as it was."""
        return cast("Generator", import_module(self.module).new(architecture, seed))

    def shape(self, section: Mapping[str, JsonValue]) -> Architecture:
        """The shape of a new model from a config section, `size` written out; raises `InputError` with all faults."""
        chosen = dict(section)
        size = str(chosen.pop("size", "tiny"))
        if size not in self.sizes:
            raise InputError(unknown_name("size", size, self.sizes))
        architecture = self.architecture.read({**self.sizes[size], **chosen}, where="architecture")
        if faults := architecture.faults():
            raise InputError(*faults)
        return architecture

    def risks(self, generator: Generator, images: Tensor) -> list[str]:
        """What looks wrong when `generator` is shown these real images, `[B, 3, H, W]`, one sentence each."""
        return cast("list[str]", import_module(self.module).risks(generator, images))


def _noted(note: Path) -> tuple[LearntCrops | None, Corruption | None]:
    try:
        noted = TrainingNote.model_validate(read_object(note))
        return noted.crops, parse_corruption(noted.corruption) if noted.corruption else None
    except (ValueError, InputError) as error:
        raise InputError(
            f"{note} cannot be read: {error}. Remove it if the model was trained as usual"
        ) from None
