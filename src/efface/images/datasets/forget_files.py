"""Files that say which images are to be forgotten: lists of images, and scores of memorisation."""

from __future__ import annotations

import os
import re
import unicodedata

import numpy as np

from efface.arrays import read_arrays
from efface.errors import Faults, InputError
from efface.images.datasets.source import Places, Source
from efface.images.rows import lines_of
from efface.wording import did_you_mean, printable

MOST_FAULTS = 10
NAMES_TO_COMPARE = 2000


def listed_places(file: str, source: Source) -> Places:
    """The images that a list names, one a line; lines that begin with # and are no ids are passed over.

    An entry is an id, else the number of an image in the order of the data, from 0 on, else the name of a file. Raises
    one `InputError` for all entries that name no image.
    """
    by_id = {unicodedata.normalize("NFC", id_): place for place, id_ in enumerate(source.ids)}
    by_id |= {id_: place for place, id_ in enumerate(source.ids)}
    found: list[int] = []
    problems: list[str] = []
    for number, entry in lines_of(file):
        forms = (entry, entry.replace("\\", "/"), unicodedata.normalize("NFC", entry))
        place = next((by_id[form] for form in forms if form in by_id), None)
        if place is None and entry.startswith("#"):
            continue
        if place is None and re.fullmatch(r"0*\d{1,18}", entry, re.ASCII) and int(entry[-18:]) < len(source):
            place = int(entry[-18:])
        if place is None and source.root is not None:
            place = by_id.get(os.path.relpath(os.path.realpath(entry), os.path.realpath(source.root)))
        if place is None:
            # comparing names is slow, and of many faults only the first are shown
            near = source.ids[:NAMES_TO_COMPARE] if len(problems) < MOST_FAULTS else ()
            problems.append(f"line {number}: no image '{printable(entry[:200])}'{did_you_mean(entry, near)}")
        else:
            found.append(place)
    with Faults(f"forget: the list {printable(file)} does not fit the data") as faults:
        for problem in problems[:MOST_FAULTS]:
            faults.add(problem)
        if len(problems) > MOST_FAULTS:
            faults.add(f"and {len(problems) - MOST_FAULTS} more lines")
        if not found and not problems:
            faults.add("it names no image")
    return np.unique(np.array(found, dtype=np.int64))


def by_memorisation(file: str, source: Source, train: Places, count: int) -> Places:
    """The training images that have a score in a file of `benchmark.memorisation`, the most memorised first.

    Raises `InputError` where it is no such file, or fewer than `count` of them have a score.
    """
    found = read_arrays(file, ("ids", "scores"), "forget:")
    try:
        scores = dict(zip(found["ids"].tolist(), found["scores"].tolist(), strict=True))
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"forget: {printable(file)} is no file of memorisation scores: it needs arrays ids and scores, of one length"
        ) from None
    values = np.array([scores.get(source.ids[place], np.nan) for place in train], dtype=np.float64)
    known = np.isfinite(values)
    if known.sum() < count:
        raise InputError(
            f"forget: memorised:{count}: only {known.sum()} of the {len(train)} training images have a score"
        )
    order = np.argsort(-values[known], kind="stable")
    return train[known][order]
