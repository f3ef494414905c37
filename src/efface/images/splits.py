"""Split files: which images of ImageNet-1K or Places365 are forgotten, kept, or only looked at.

`split:FILE#ROLE` is a source and a selector. Roles of training images: `forget`, `retain`, and `proxy` (the classes in
neither, in the retain set's place). Roles of validation images, which no model was trained on: `forget-val` and
`retain-val`, the evaluation sets of the paper, and `neutral`, from classes in neither. Without a role: forget and retain.

A file names classes and files, not where the data set lies on other machines: its digest leaves `root` out, so
`root` may be edited.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from efface.documents import Absent, read_json
from efface.errors import InputError
from efface.files import no_such, sha256_of_json, write_json
from efface.images.class_parts import DataSet
from efface.images.imagenet import open_imagenet
from efface.images.listings import Candidate, Listing
from efface.images.places import open_places
from efface.settings import problems_of, unknown_name
from efface.wording import printable, shortened

SCHEMA = "efface-split/1"
PREFIX = "split:"
PART_OF_ROLE = {
    "forget": "train",
    "retain": "train",
    "proxy": "train",
    "forget-val": "val",
    "retain-val": "val",
    "neutral": "val",
}
OPENERS = {"imagenet-1k": open_imagenet, "places-365": open_places}


class Needed(BaseModel):
    """What of a split file is used here."""

    data_set: Literal["imagenet-1k", "places-365"]
    root: str
    val_labels: str | None = None
    rule: dict[str, str | int]
    images_per_class: dict[str, int]
    counts: dict[str, dict[str, int]]
    images: dict[str, dict[str, list[str]]]


@dataclass(frozen=True)
class SplitFile:
    """A split file that was read: `values` as it stands there, at `path`."""

    path: str
    values: Mapping[str, Any]

    def images(self, role: str) -> dict[str, list[str]]:
        """The file names of a role, by class."""
        return {class_: list(files) for class_, files in self.values["images"].get(role, {}).items()}

    def facts(self) -> dict[str, Any]:
        """What a record says of it: no path, but the digest, and the rule it was made by."""
        names = ("data_set", "rule", "images_per_class", "counts", "sha256")
        return {name: self.values[name] for name in names}


def write_split(path: str | Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Write a split file with its schema and digest; raises `InputError` where another one stands there."""
    whole: dict[str, Any] = {"schema": SCHEMA, **values}
    whole["sha256"] = digest_of(whole)
    if os.path.exists(path):
        there = read_split(path)
        if there.values["sha256"] != whole["sha256"]:
            raise InputError(
                f"{printable(os.fspath(path))} holds another split; name another file, or remove it"
            )
    write_json(Path(path), whole)
    return whole


def read_split(path: str | Path) -> SplitFile:
    """A split file; raises `InputError` where it is missing, damaged, or changed by hand elsewhere than in `root`."""
    name = os.fspath(path)
    try:
        values = read_json(path, "split file")
    except Absent:
        raise InputError(f"split file {printable(name)}: {no_such(name)}") from None
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        found = values.get("schema") if isinstance(values, dict) else None
        raise InputError(
            f"{printable(name)} is no split file: its schema is {shortened(found)}, not {SCHEMA!r}"
        )
    if values.get("sha256") != digest_of(values):
        raise InputError(
            f"split file {printable(name)} was changed after it was written: its digest does not fit. Only 'root' may "
            "be edited; make a new one with: efface split"
        )
    try:
        Needed.model_validate(values)
    except ValidationError as error:
        raise InputError(
            *problems_of(error, Needed), what=f"split file {printable(name)} is damaged"
        ) from None
    return SplitFile(name, values)


def digest_of(values: Mapping[str, Any]) -> str:
    """sha256 over all of a split but for where the data set lies."""
    return sha256_of_json({name: value for name, value in values.items() if name not in ("root", "sha256")})


def open_data_set(name: str, root: str, val_labels: str | None = None) -> DataSet:
    """The data set `name` below `root`; raises `InputError` if there is no such folder."""
    if not os.path.isdir(root):
        raise InputError(f"{printable(root)}: {no_such(root)}")
    return OPENERS[name](root, val_labels)


def list_split(selector: str) -> Listing:
    """The images of `split:FILE#ROLE`, in the order of the file. Their label is their class."""
    name, _, role = selector.removeprefix(PREFIX).rpartition("#") if "#" in selector else (selector, "", "")
    split = read_split(name.removeprefix(PREFIX))
    if role and role not in PART_OF_ROLE:
        raise InputError(unknown_name("role", role, PART_OF_ROLE))
    roles = [role] if role else ["forget", "retain"]
    data = _data_set_of(split)
    listing = Listing(root=os.path.realpath(data.root))
    for role in roles:
        _add(listing, split, role, data)
    if not (listing.candidates or listing.problems):
        listing.problems.append(f"split file {printable(split.path)} has no {' or '.join(roles)} images")
    return listing


def split_facts_of(selectors: Iterable[str]) -> list[dict[str, Any]]:
    """The facts of every split file among selectors, each once."""
    found: dict[str, dict[str, Any]] = {}
    for selector in selectors:
        if selector.startswith(PREFIX):
            facts = read_split(
                selector.removeprefix(PREFIX).rpartition("#")[0] or selector[len(PREFIX) :]
            ).facts()
            found[facts["sha256"]] = facts
    return list(found.values())


def _data_set_of(split: SplitFile) -> DataSet:
    values = split.values
    try:
        return open_data_set(values["data_set"], values["root"], values.get("val_labels"))
    except InputError as error:
        raise InputError(
            *error.problems,
            what=f"the data set of split file {printable(split.path)} is not where it says; edit 'root' in it",
        ) from None


def _add(listing: Listing, split: SplitFile, role: str, data: DataSet) -> None:
    part = data.parts[PART_OF_ROLE[role]]
    if part is None:
        if split.images(role):
            listing.problems.append(data.absent[PART_OF_ROLE[role]])
        return
    for class_, wanted in split.images(role).items():
        files = part.files(class_)
        for name in wanted:
            if name in files:
                listing.candidates.append(Candidate(files[name].where, files[name], class_))
            else:
                where = f"{PART_OF_ROLE[role]}/{class_}/{name}"
                listing.problems.append(f"{data.title} in {printable(data.root)} lacks {printable(where)}")
