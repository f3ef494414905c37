"""CASIA-SURF with ages, the data that the competition's released code is for, found as that code finds them.

`Age_Gender.txt` has a line `person age gender` for each person; images are `WBackground/*/PERSON/real.rssdk/color/*.jpg`.
Both lie in `path`, or in the folder `CASIA_SURF_live` in it. The licence is to be asked for by e-mail.

Source: `surf.py` of github.com/google-deepmind/unlearning_evaluation, for the layout, the classes of age (ten of equal
width among the ages of all listed persons), and what the `compat` split does.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from efface.errors import Faults, InputError
from efface.images.datasets.ages import age_classes
from efface.images.datasets.source import Part, Source, from_files, needed_path
from efface.images.items import Locator
from efface.images.listings import FileLocator
from efface.images.rows import lines_of
from efface.wording import printable

TABLE, UNPACKED = "Age_Gender.txt", "CASIA_SURF_live"
PATTERN = "WBackground/*/*/real.rssdk/color/*.jpg"
PERSON_LEVEL = 3
"""How far above an image the folder with its person's name is."""
SHUFFLE_SEED = 43
WHAT = f"{TABLE}, and WBackground/ of CASIA_SURF_live.zip (ask CASIA for the data set CASIA-SURF)"
COMPAT = (
    "compat split, as in the released code: by image, so that persons of the forget set are in validation and test "
    "too; and the forget set is that of the first persons, not a random one"
)


def read_casia(
    path: str | None, side: int, channels: int, edges: Sequence[float] | None, compat: bool = False
) -> Source:
    """The images with the person and the class of age of each. Raises one `InputError` for all that is wrong.

    Pictures are squeezed into a square, as the released code does. compat: with its parts, 80, 10 and 10 % of a
    shuffled list.
    """
    root = Path(needed_path(path, "the images of CASIA-SURF", WHAT))
    root = next((one for one in (root, root / UNPACKED) if (one / TABLE).is_file()), root)
    ages = _table(root)
    images = sorted(root.glob(PATTERN))
    persons = [image.parents[PERSON_LEVEL - 1].name for image in images]
    with Faults(f"{printable(str(root))} cannot be used as CASIA-SURF") as faults:
        if not images:
            faults.add(f"no image {PATTERN}; it must hold {WHAT}")
        for unknown in sorted(set(persons) - set(ages)):
            faults.add(f"person {printable(unknown)}: no line in {TABLE}")
    labels, classes = age_classes([ages[person] for person in persons], edges, among=list(ages.values()))
    files: list[Locator] = [FileLocator(os.path.realpath(image)) for image in images]
    return Source(
        ids=tuple(str(image.relative_to(root)) for image in images),
        labels=labels,
        classes=classes,
        pixels=from_files(files, side, channels, whole=True),
        parts=_compat_parts(images) if compat else None,
        persons=tuple(persons),
        notes=(COMPAT,) if compat else (),
        root=str(root),
    )


def _compat_parts(images: Sequence[Path]) -> tuple[Part, ...]:
    # the released code lists folder by folder, then the files in each, and shuffles that list
    order = sorted(range(len(images)), key=lambda place: (str(images[place].parents[2]), str(images[place])))
    random.Random(SHUFFLE_SEED).shuffle(order)
    parts = np.full(len(images), "test", dtype="<U10")
    parts[order[: int(0.8 * len(order))]] = "train"
    parts[order[int(0.8 * len(order)) : int(0.9 * len(order))]] = "validation"
    return tuple(parts.tolist())


def _table(root: Path) -> dict[str, int]:
    """Age by person."""
    place = root / TABLE
    if not place.is_file():
        raise InputError(f"{printable(str(root))} has no {TABLE}; it must hold {WHAT}")
    ages: dict[str, int] = {}
    with Faults(f"{printable(str(place))} cannot be used") as faults:
        for number, line in lines_of(place):
            words = line.split()
            if len(words) != 3 or not words[1].isdecimal():
                faults.add(f"line {number}: '{printable(line[:200])}' is not 'person age gender'")
            elif words[0] in ages:
                faults.add(f"line {number}: a second line for {printable(words[0])}")
            else:
                ages[words[0]] = int(words[1])
        if not ages and not faults:
            faults.add("it has no lines")
    return ages
