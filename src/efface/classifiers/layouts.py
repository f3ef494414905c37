"""The layouts in which classifiers lie: how each is told, and opening and saving. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from efface.classifiers.architecture import BY_FACTORY, MODEL_TYPE, ClassifierSettings
from efface.factories import is_held
from efface.hub import NothingThere
from efface.model_files import Contents, UnknownModel, contents_of, model_place
from efface.model_formats import OWN_NETWORK
from efface.plugins import Registry

if TYPE_CHECKING:
    from efface.classifiers.classifier import Classifier

TRANSFORMERS_HEAD = "ForImageClassification"
TIMM_KEYS = frozenset({"architecture", "num_classes", "pretrained_cfg"})
RESNET_TENSORS = frozenset({"conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer1.0.bn1.weight"})
"""Tensors that every ResNet in torchvision's layout has, and in that of pytorch-cifar."""
HEADS = frozenset({"fc.weight", "linear.weight"})
"""The last layer in the one and in the other."""


@dataclass(frozen=True)
class Layout:
    """One layout of classifiers.

    summary: what lies there, in words.
    module: where `load(settings)` and `save(classifier, folder)` live; imported when a model is opened or saved. `save`
        gives False, with nothing written, for a network that cannot be opened again from this layout.
    recognises: whether a model in this layout lies there.
    """

    name: str
    summary: str
    module: str
    recognises: Callable[[Contents], bool]

    def load(self, settings: ClassifierSettings) -> Classifier:
        """Open a trained classifier, in evaluation mode; raises `InputError` with every fault found."""
        classifier: Classifier = import_module(self.module).load(settings)
        return classifier

    def save(self, classifier: Classifier, folder: Path) -> bool:
        """Write a folder that `load` opens to the same logits; False if the network is not of this layout."""
        return bool(import_module(self.module).save(classifier, folder))


def _names_a_head(architectures: object) -> bool:
    return isinstance(architectures, list) and any(
        str(name).endswith(TRANSFORMERS_HEAD) for name in architectures
    )


EFFACE = Layout(
    name="efface",
    summary="a folder that efface has saved",
    module="efface.classifiers.efface_folder",
    recognises=lambda contents: contents.config.get("model_type") == MODEL_TYPE,
)
TRANSFORMERS = Layout(
    name="transformers",
    summary=f"a folder, or hub:owner/name, of a network ...{TRANSFORMERS_HEAD}",
    module="efface.classifiers.transformers_folder",
    recognises=lambda contents: _names_a_head(contents.config.get("architectures")),
)
TIMM = Layout(
    name="timm",
    summary="a folder, or hub:owner/name, whose config.json names architecture, num_classes and pretrained_cfg",
    module="efface.classifiers.timm_folder",
    recognises=lambda contents: set(contents.config) >= TIMM_KEYS,
)
TORCHVISION = Layout(
    name="torchvision",
    summary="a file with the state dict of a ResNet, in the layout of torchvision or of pytorch-cifar",
    module="efface.classifiers.torchvision_file",
    recognises=lambda contents: contents.tensors >= RESNET_TENSORS and bool(contents.tensors & HEADS),
)
FACTORY = Layout(
    name="factory",
    summary="any network that code of yours builds: --set model.network=package.module:build with a file of weights, and "
    "model.classes, model.image_size and the normalisation, which no file of weights says (docs/classifiers.md)",
    module="efface.classifiers.factory_network",
    recognises=lambda contents: contents.config.get("model_type") == BY_FACTORY,
)


LAYOUTS: Registry[Layout] = Registry(
    "layout of classifiers",
    "efface.classifiers",
    Layout,
    tuple(
        f"efface.classifiers.layouts:{name}"
        for name in ("EFFACE", "TRANSFORMERS", "TIMM", "TORCHVISION", "FACTORY")
    ),
)


def is_classifier(
    path: str, revision: str | None = None, entry: str | None = None, base: str | None = None
) -> bool:
    """Whether a classifier lies at `path`; False also where nothing does.

    A folder or a model of the hub is told by its `config.json`; only for a file of weights torch is imported. Raises
    `InputError` for a file that cannot be read.
    """
    try:
        return _layout_of(contents_of(path, revision, entry, base)) is not None
    except NothingThere:
        return False


def layout_at(
    path: str, revision: str | None = None, entry: str | None = None, base: str | None = None
) -> Layout:
    """The layout of the classifier at `path`; raises `InputError` naming what is known where there is none."""
    contents = contents_of(path, revision, entry, base)
    if layout := _layout_of(contents):
        return layout
    raise UnknownModel(
        f"{path} holds {contents}, which is no classifier that is known. Known are\n{known_layouts()}\n{OWN_NETWORK}"
    )


def known_layouts() -> str:
    """What is known, a line each."""
    return "\n".join(f"  - {name}: {layout.summary}" for name, layout in LAYOUTS.items())


def load_classifier(settings: ClassifierSettings | str | Path) -> Classifier:
    """Open a trained classifier, in evaluation mode. The global random state is left as it was.

    Raises `InputError` with every fault found, among them what the file does not say and the settings must: the size
    of pictures and their normalisation, for a bare state dict.
    """
    if not isinstance(settings, ClassifierSettings):
        settings = ClassifierSettings(path=str(settings))
    from efface.model_bounds import check_opened, opening

    if settings.network is not None or is_held(settings.path):
        with opening(settings.path):
            return FACTORY.load(settings)
    layout = layout_at(settings.path, settings.revision, settings.entry, settings.base)
    place = model_place(settings.path, settings.base)
    with opening(place):
        classifier = layout.load(settings.model_copy(update={"path": place, "base": None}))
    check_opened(place, classifier.network)
    if place != settings.path:
        from efface.adapters import read_adapter

        classifier.add_adapter(read_adapter(settings.path))
    return classifier


def save_classifier(classifier: Classifier, folder: Path) -> None:
    """Write a folder that `load_classifier` opens to the same logits: efface's own, or that of the network's library.

    Any other network is written as weights and the name of what builds it.
    """
    # efface's own first: other libraries take seconds to import, and workers save hundreds of models
    for name in dict.fromkeys(("efface", classifier.origin.kind, "transformers", FACTORY.name)):
        if name in LAYOUTS and LAYOUTS[name].save(classifier, Path(folder)):
            return


def _layout_of(contents: Contents) -> Layout | None:
    return next((layout for layout in LAYOUTS.values() if layout.recognises(contents)), None)
