"""Which layout a classifier lies in, whether a model is one at all, opening and saving. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from efface.classifiers.architecture import ClassifierSettings
from efface.classifiers.layouts import Layout
from efface.errors import InputError
from efface.model_files import Contents, NothingThere, contents_of
from efface.plugins import Registry

if TYPE_CHECKING:
    from efface.classifiers.classifier import Classifier

LAYOUTS: Registry[Layout] = Registry(
    "layout of classifiers",
    "efface.classifiers",
    Layout,
    tuple(f"efface.classifiers.layouts:{name}" for name in ("EFFACE", "TRANSFORMERS", "TIMM", "TORCHVISION")),
)


def is_classifier(path: str, revision: str | None = None) -> bool:
    """Whether a classifier lies at `path`; False also where nothing does.

    A folder or hub id is told by its `config.json`; only for a file of weights torch is imported. Raises `InputError`
    for a file that cannot be read.
    """
    try:
        return _layout_of(contents_of(path, revision)) is not None
    except NothingThere:
        return False


def layout_at(path: str, revision: str | None = None) -> Layout:
    """The layout of the classifier at `path`; raises `InputError` naming what is known where there is none."""
    contents = contents_of(path, revision)
    if layout := _layout_of(contents):
        return layout
    known = "\n".join(f"  - {name}: {layout.summary}" for name, layout in LAYOUTS.items())
    raise InputError(f"{path} holds {contents}, which is no classifier that is known. Known are\n{known}")


def load_classifier(settings: ClassifierSettings | str | Path) -> Classifier:
    """Open a trained classifier, in evaluation mode. The global random state is left as it was.

    Raises `InputError` with every fault found, among them what the file does not say and the settings must: the size
    of pictures and their normalisation, for a bare state dict.
    """
    if not isinstance(settings, ClassifierSettings):
        settings = ClassifierSettings(path=str(settings))
    return layout_at(settings.path, settings.revision).load(settings)


def save_classifier(classifier: Classifier, folder: Path) -> None:
    """Write a folder that `load_classifier` opens to the same logits: efface's own, or that of the network's library.

    Raises `InputError` for a network that belongs to neither.
    """
    # efface's own first: other libraries take seconds to import, and workers save hundreds of models
    for name in dict.fromkeys(("efface", classifier.origin.kind, "transformers")):
        if name in LAYOUTS and LAYOUTS[name].save(classifier, Path(folder)):
            return
    raise InputError(
        f"a {type(classifier.network).__name__} cannot be saved as a folder that can be opened again: it is no network "
        "of efface or transformers, nor was it read by timm. Save its state dict where it was made"
    )


def _layout_of(contents: Contents) -> Layout | None:
    return next((layout for layout in LAYOUTS.values() if layout.recognises(contents)), None)
