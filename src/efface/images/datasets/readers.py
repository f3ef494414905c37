"""The data sets by name: those built in, and those that other packages add in the group `efface.tasks`.

A package adds one with an entry point that names a `DatasetReader`. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from efface.images.datasets.casia import read_casia
from efface.images.datasets.cifar import read_cifar
from efface.images.datasets.class_folders import read_folders
from efface.images.datasets.digits import read_digits
from efface.images.datasets.faces import read_faces
from efface.images.datasets.packed import read_packed
from efface.images.datasets.source import Source
from efface.images.datasets.tiles import read_tiles
from efface.plugins import Registry

if TYPE_CHECKING:
    from efface.images.datasets.settings import DatasetSettings


@dataclass(frozen=True)
class DatasetReader:
    """How one sort of data is found and read.

    read: what the settings lead to, always in the same order. comes_with: the packages that the data come with, where
    they need no path. path_in_name: whether `NAME:PATH` sets the path. has_ages: whether classes may be made of ages.
    side, channels: what images are brought to where settings say nothing.
    """

    name: str
    read: Callable[[DatasetSettings], Source]
    comes_with: str = ""
    path_in_name: bool = False
    has_ages: bool = False
    side: int = 32
    channels: Literal[1, 3] = 3


DIGITS = DatasetReader(
    "digits",
    lambda settings: read_digits(settings.side, settings.colours),
    comes_with="scikit-learn",
    side=8,
    channels=1,
)
TILES = DatasetReader(
    "tiles",
    lambda settings: read_tiles(settings.side, settings.colours),
    comes_with="scikit-image and scikit-learn",
)
FACES_AGE = DatasetReader(
    "faces-age",
    lambda settings: read_faces(settings.path, settings.side, settings.colours, settings.age_edges),
    has_ages=True,
)
CASIA_SURF = DatasetReader(
    "casia-surf",
    lambda settings: read_casia(
        settings.path,
        settings.side,
        settings.colours,
        settings.age_edges,
        compat=settings.split == "compat",
    ),
    has_ages=True,
)
CIFAR10 = DatasetReader(
    "cifar10", lambda settings: read_cifar(settings.path, settings.side, settings.colours)
)
FOLDER = DatasetReader(
    "folder",
    lambda settings: read_folders(settings.path, settings.side, settings.colours),
    path_in_name=True,
)
PACKED = DatasetReader(
    "packed",
    lambda settings: read_packed(settings.path, settings.side, settings.colours),
    path_in_name=True,
)

DATASETS: Registry[DatasetReader] = Registry(
    "data set",
    "efface.tasks",
    DatasetReader,
    tuple(
        f"efface.images.datasets.readers:{name}"
        for name in ("DIGITS", "TILES", "FACES_AGE", "CASIA_SURF", "CIFAR10", "FOLDER", "PACKED")
    ),
)
