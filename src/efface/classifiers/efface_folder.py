"""Classifiers in efface's own folders: `config.json` and `model.safetensors`."""

from __future__ import annotations

from pathlib import Path

from efface.classifiers.architecture import CONFIG, ClassifierSettings, SavedClassifier, SavedNormalisation
from efface.classifiers.classifier import Classifier, Normalisation, Origin
from efface.classifiers.networks import build, settings_of
from efface.classifiers.reading import WEIGHTS, Stored, assembled, fill, needed, write_tensors
from efface.documents import read_object
from efface.files import write_json
from efface.hub import hub_facts
from efface.weights import read_weights


def load(settings: ClassifierSettings) -> Classifier:
    """A network of efface's own; raises `InputError` naming all faults."""
    path = needed(settings, CONFIG)
    saved = SavedClassifier.read(read_object(path), where=str(path))
    network = build(saved.network, seed=0)
    fill(network, read_weights(needed(settings, WEIGHTS), wanted=network.state_dict()).tensors, settings.path)
    stored = Stored(
        network,
        outputs=saved.network.classes,
        origin=Origin("efface", hub_facts(settings.path, settings.revision)),
        channels=saved.network.channels,
        classes=saved.classes,
        image_size=saved.network.image_size,
        normalisation=Normalisation(**saved.normalisation.model_dump()),
    )
    return assembled(stored, settings)


def save(classifier: Classifier, folder: Path) -> bool:
    """Write a folder that `load` opens; False if the network is none of efface's own."""
    network = settings_of(classifier.network, classifier.image_size)
    if network is None:
        return False
    normalisation = classifier.normalisation
    config = SavedClassifier(
        network=network,
        classes=classifier.classes,
        normalisation=SavedNormalisation(
            scale=normalisation.scale, mean=normalisation.mean, std=normalisation.std
        ),
    )
    write_tensors(folder / WEIGHTS, classifier.network)
    write_json(folder / CONFIG, config.as_dict())
    return True
