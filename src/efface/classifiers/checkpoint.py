"""Opening and saving classifiers: efface's own folders, ResNet-18 state dicts, and the folders of two libraries.

Pickles are read with `weights_only=True`; a file that asks for anything else is refused by name. The tensor names of
torchvision's ResNet-18 are facts of its files; no code of it is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor

from efface.classifiers.architecture import (
    ClassifierSettings,
    NetworkSettings,
    SavedClassifier,
    SavedNormalisation,
)
from efface.classifiers.classifier import Classifier, Normalisation, Origin
from efface.classifiers.layouts import CONFIG, WRAPPED, layout_at
from efface.classifiers.networks import build, settings_of
from efface.classifiers.reading import (
    WEIGHTS,
    Found,
    assembled,
    fill,
    needed,
    write_tensors,
)
from efface.errors import InputError
from efface.files import sha256_of_file, write_json
from efface.settings import read_json
from efface.weights import read_tensors

STEMS: dict[int, Literal["imagenet", "cifar"]] = {7: "imagenet", 3: "cifar"}
OTHER_RESNETS = {
    "layer1.0.conv3.weight": "ResNet-50, -101 or -152",
    "layer1.2.conv1.weight": "ResNet-34",
}
"""A tensor of other ResNets in the same layout, and what has it."""


def load_classifier(settings: ClassifierSettings | str | Path) -> Classifier:
    """Open a trained classifier, in evaluation mode. The global random state is left as it was.

    Raises `InputError` with every fault found, among them what the file does not say and the settings must: the size
    of pictures and their normalisation, for a bare state dict.
    """
    if not isinstance(settings, ClassifierSettings):
        settings = ClassifierSettings(path=str(settings))
    layout = layout_at(settings.path, settings.revision)
    if layout == "efface":
        return _load_own(settings)
    if layout == "torchvision":
        return _load_state_dict(settings)
    # only here, because transformers takes seconds to import, and hundreds of workers open efface's own folders
    from efface.classifiers import libraries

    return libraries.load_timm(settings) if layout == "timm" else libraries.load_transformers(settings)


def save_classifier(classifier: Classifier, folder: Path) -> None:
    """Write a folder that `load_classifier` opens to the same logits: that of the library whose network it is.

    Raises `InputError` for a network that is none of efface's own, of transformers or read by timm.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    network = classifier.network
    if own := settings_of(network, classifier.image_size):
        _save_own(classifier, own, folder)
        return
    if hasattr(network, "save_pretrained") or classifier.origin.kind == "timm":
        from efface.classifiers import libraries

        if libraries.save(classifier, folder):
            return
    raise InputError(
        f"a {type(network).__name__} cannot be saved as a folder that can be opened again: it is no network of "
        "efface or transformers, nor was it read by timm. Save its state dict where it was made"
    )


def _load_own(settings: ClassifierSettings) -> Classifier:
    path = needed(settings, CONFIG)
    saved = SavedClassifier.read(read_json(path), where=str(path))
    network = build(saved.network, seed=0)
    fill(network, read_tensors(needed(settings, WEIGHTS)), settings.path)
    local = Path(settings.path).is_dir()
    found = Found(
        network,
        outputs=saved.network.classes,
        origin=Origin("efface", {} if local else {"hub": settings.path, "revision": settings.revision}),
        channels=saved.network.channels,
        classes=saved.classes,
        image_size=saved.network.image_size,
        normalisation=Normalisation(**saved.normalisation.model_dump()),
    )
    return assembled(found, settings)


def _save_own(classifier: Classifier, own: NetworkSettings, folder: Path) -> None:
    normalisation = classifier.normalisation
    config = SavedClassifier(
        network=own,
        classes=classifier.classes,
        normalisation=SavedNormalisation(
            scale=normalisation.scale, mean=normalisation.mean, std=normalisation.std
        ),
    )
    write_tensors(folder / WEIGHTS, classifier.network)
    write_json(folder / CONFIG, config.as_dict())


def _load_state_dict(settings: ClassifierSettings) -> Classifier:
    path = Path(settings.path)
    tensors = {name.removeprefix(WRAPPED): tensor for name, tensor in read_tensors(path).items()}
    for name, kind in OTHER_RESNETS.items():
        if name in tensors:
            raise InputError(
                f"{path} holds a {kind}; of files with bare state dicts only those of ResNet-18 are opened. Save the "
                "network as a folder with transformers or timm"
            )
    network = build(_shape(tensors, path), seed=0)
    fill(network, tensors, str(path))
    weights = tensors["conv1.weight"]
    origin = Origin("torchvision", {"sha256": sha256_of_file(path), "stem": STEMS[weights.shape[-1]]})
    outputs = tensors["fc.weight"].shape[0]
    return assembled(Found(network, outputs, origin, channels=weights.shape[1]), settings)


def _shape(tensors: dict[str, Tensor], path: Path) -> NetworkSettings:
    """The network that these tensors belong to: kernel 3 means the stem for small pictures, without max-pooling."""
    first, last = tensors["conv1.weight"], tensors["fc.weight"]
    kernel = first.shape[-1] if first.ndim == 4 else 0
    if kernel not in STEMS or last.ndim != 2:
        raise InputError(
            f"{path} holds no ResNet-18 that is known: conv1.weight is {tuple(first.shape)} and fc.weight "
            f"{tuple(last.shape)}; (64, 3, 7, 7) or (64, 3, 3, 3) and (classes, 512) are"
        )
    shape = {"classes": last.shape[0], "channels": first.shape[1], "image_size": 1, "stem": STEMS[kernel]}
    return NetworkSettings.read({"network": "resnet18", **shape}, where=str(path))
