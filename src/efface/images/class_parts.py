"""One part of a data set (training or validation images), by class, wherever its files lie."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from efface.images.archives import ArchivedFile, files_in_inner_tar
from efface.images.items import Locator
from efface.images.listings import FileLocator, is_image_name


class Part(Protocol):
    """The images of one part. Classes and files are sorted by name, so that draws do not depend on the disk."""

    def classes(self) -> list[str]: ...

    def files(self, class_: str) -> dict[str, Locator]:
        """The files of a class by name; none for a class that is not there."""
        ...


@dataclass(frozen=True)
class FolderPart:
    """A folder for each class."""

    folders: Mapping[str, str]

    def classes(self) -> list[str]:
        return sorted(self.folders)

    def files(self, class_: str) -> dict[str, Locator]:
        folder = self.folders.get(class_)
        return files_of(folder) if folder is not None else {}


@dataclass(frozen=True)
class TarPart:
    """An archive of the files of a class for each class, inside one archive (ILSVRC2012_img_train.tar)."""

    archives: Mapping[str, ArchivedFile]

    def classes(self) -> list[str]:
        return sorted(self.archives)

    def files(self, class_: str) -> dict[str, Locator]:
        if class_ not in self.archives:
            return {}
        found = files_in_inner_tar(self.archives[class_])
        return {name: found[name] for name in sorted(found) if is_image_name(name)}


@dataclass(frozen=True)
class LabelledPart:
    """Files that lie side by side, and a list that says which class each is of."""

    by_class: Mapping[str, Mapping[str, Locator]]

    @classmethod
    def joined(cls, files: Mapping[str, Locator], labels: Mapping[str, str]) -> LabelledPart:
        """From files and labels by file name without suffix; files without a label are left out."""
        by_class: dict[str, dict[str, Locator]] = {}
        for name in sorted(files):
            label = labels.get(os.path.splitext(os.path.basename(name))[0])
            if label is not None:
                by_class.setdefault(label, {})[os.path.basename(name)] = files[name]
        return cls(by_class)

    def classes(self) -> list[str]:
        return sorted(self.by_class)

    def files(self, class_: str) -> dict[str, Locator]:
        return dict(self.by_class.get(class_, {}))


@dataclass(frozen=True)
class DataSet:
    """A known data set at a place. A part that was not found is None, with the reason in `absent`.

    count: how many classes it has. least: the fewest images that any of its classes has, by part.
    """

    name: str
    title: str
    root: str
    count: int
    least: Mapping[str, int]
    parts: Mapping[str, Part | None]
    absent: Mapping[str, str]


def files_of(folder: str) -> dict[str, Locator]:
    """The image files that lie directly in a folder, by name; links are followed."""
    with os.scandir(os.path.realpath(folder)) as entries:
        files = [entry for entry in entries if is_image_name(entry.name) and entry.is_file()]
    places = {
        entry.name: os.path.realpath(entry.path) if entry.is_symlink() else entry.path for entry in files
    }
    return {name: FileLocator(places[name]) for name in sorted(places)}


def folders_of(folder: str) -> dict[str, str]:
    """The sub-folders of a folder by name, hidden ones left out."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    return {name: os.path.join(folder, name) for name in sorted(names)}


def first_folder(root: str, names: Iterable[str]) -> str | None:
    """The first of these folders below `root` that is there."""
    return next((path for name in names if os.path.isdir(path := os.path.join(root, name))), None)
