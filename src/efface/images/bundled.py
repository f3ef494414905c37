"""Sample photographs that come with scikit-image and scikit-learn, for trying things out offline.

Only pictures whose free terms are stated in those packages. `CREDITS` repeats what is stated there, in the
docstrings of `skimage/data/_fetchers.py` and in `sklearn/datasets/images/README.txt`.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from efface.errors import InputError
from efface.images.listings import Candidate, FileLocator, Listing
from efface.wording import did_you_mean, printable

SKIMAGE, SKLEARN = "skimage.data docstring", "sklearn/datasets/images/README.txt"
FOLDERS = {SKIMAGE: ("skimage", "data"), SKLEARN: ("sklearn", "datasets/images")}


@dataclass(frozen=True, slots=True)
class Credit:
    """Who made a bundled photograph and under which terms, and where that is stated."""

    name: str
    file: str
    shows: str
    holder: str
    licence: str
    stated: str


CREDITS = (
    Credit("astronaut", "astronaut.png", "astronaut Eileen Collins", "NASA Great Images database",
           "no known copyright restrictions, released into the public domain", SKIMAGE),
    Credit("brick", "brick.png", "a brick wall (grey)", "CC0Textures", "CC0", SKIMAGE),
    Credit("camera", "camera.png", "a photographer (grey)", "Lav Varshney", "CC0", SKIMAGE),
    Credit("chelsea", "chelsea.png", "Chelsea the cat", "Stefan van der Walt", "CC0", SKIMAGE),
    Credit("china", "china.jpg", "a temple", "danielbuechele", "CC BY 2.0", SKLEARN),
    Credit("clock", "clock_motion.png", "a wall clock, motion-blurred (grey)", "Stefan van der Walt",
           "released into the public domain", SKIMAGE),
    Credit("coffee", "coffee.png", "a cup of coffee, courtesy of Pikolo Espresso Bar", "Rachel Michetti",
           "CC0", SKIMAGE),
    Credit("coins", "coins.png", "Greek coins from Pompeii (grey)", "Brooklyn Museum Collection",
           "no known copyright restrictions", SKIMAGE),
    # The README names danielbuechele for this one too, but the page it links is by flickr user vultilion.
    Credit("flower", "flower.jpg", "a flower", "danielbuechele (as stated; the linked page is vultilion's)",
           "CC BY 2.0", SKLEARN),
    Credit("grass", "grass.png", "grass (grey)", "linolafett on DeviantArt", "CC0", SKIMAGE),
    Credit("gravel", "gravel.png", "gravel (grey)", "CC0Textures", "CC0", SKIMAGE),
    Credit("hubble_deep_field", "hubble_deep_field.jpg", "the Hubble eXtreme Deep Field", "NASA",
           "may be freely used in the public domain", SKIMAGE),
    Credit("immunohistochemistry", "ihc.png", "stained colonic glands",
           "Center for Microscopy And Molecular Imaging (CMMI)", "no known copyright restrictions", SKIMAGE),
    Credit("retina", "retina.jpg", "a human retina", "Mikael Häggström", "CC0 1.0", SKIMAGE),
    Credit("rocket", "rocket.jpg", "launch of a Falcon 9", "SpaceX", "released in the public domain",
           SKIMAGE),
)  # fmt: skip


def list_bundled(name: str | None = None) -> Listing:
    """All bundled photographs, sorted by name, each with its name as label, or the one called `name`."""
    names = [credit.name for credit in CREDITS]
    if name is not None and name not in names:
        hint = did_you_mean(name, names)
        raise InputError(f"no bundled photo '{printable(name)}'{hint}. There are: {', '.join(names)}")
    listing = Listing()
    for credit in CREDITS:
        if name in (None, credit.name):
            place = os.path.realpath(_folder(*FOLDERS[credit.stated]) / credit.file)
            listing.candidates.append(Candidate(f"bundled:{credit.name}", FileLocator(place), credit.name))
    return listing


def _folder(package: str, inside: str) -> Path:
    """A folder of an installed package, found without importing it."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise InputError(f"the bundled photos come with the package '{package}', which is not installed")
    return Path(found.submodule_search_locations[0]) / inside
