"""From what the user names (a folder, a manifest, a data set, `bundled`) to an `ImageSet`.

Indexing reads every file once: for its sha256, and for what its header tells (format, frames, size).
Damage behind the header shows when pixels are decoded, in `PixelCache.add`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from efface.errors import InputError
from efface.files import sha256_of_bytes
from efface.images.bundled import list_bundled
from efface.images.folders import list_file, list_folder
from efface.images.items import Fault, ImageItem, ImageSet, ReadingError
from efface.images.listings import Candidate, Listing, no_such
from efface.images.manifests import list_manifest, list_text
from efface.images.reading import header
from efface.images.splits import list_split
from efface.images.tables import list_hub, list_parquet, list_saved_dataset
from efface.images.threads import Progress, in_threads
from efface.wording import printable

METADATA = ("metadata.csv", "metadata.jsonl")


def open_images(
    source: str | Path, *, skip_unreadable: bool = False, progress: Progress | None = None
) -> ImageSet:
    """The images of `source`, in a fixed order.

    `source` is a folder (one class per sub-folder, or flat, or with a `metadata.csv`/`.jsonl`, or holding
    parquet files or a saved data set), a `.csv` or `.jsonl` manifest, a `.txt` list, a `.parquet` file, an
    image, `hub:owner/name[:split]`, `split:FILE#ROLE`, `bundled` or `bundled:NAME`. Raises InputError naming everything
    that is wrong with it; with `skip_unreadable`, unreadable images are in the set's `skipped` instead.
    """
    return index(list_source(source), skip_unreadable=skip_unreadable, progress=progress)


def list_source(source: str | Path, also: str | None = None) -> Listing:
    """What `source` offers. Rows of lists are also looked for in the folder `also`."""
    name = os.fspath(source)
    if name == "bundled" or name.startswith("bundled:"):
        return list_bundled(name.partition(":")[2] or None)
    if name.startswith("hub:"):
        return list_hub(name.removeprefix("hub:"))
    if name.startswith("split:"):
        return list_split(name)
    if os.path.isdir(name):
        return _list_directory(name)
    if not os.path.exists(name):
        raise InputError(f"{printable(name)}: {no_such(name)}")
    match os.path.splitext(name)[1].lower():
        case ".csv" | ".jsonl":
            listing = list_manifest(name, also)
        case ".txt":
            listing = list_text(name, also)
        case ".parquet":
            listing = list_parquet([name])
        case _:
            listing = list_file(name)
    return listing


def index(listing: Listing, *, skip_unreadable: bool = False, progress: Progress | None = None) -> ImageSet:
    """Read and identify the candidates of a listing. Raises one InputError for all that is wrong."""
    images, faults, problems = identify(listing, progress)
    problems += [
        f"{row}: a sha256 names no file by itself; give --images to find it in" for row, _ in listing.digests
    ]
    if not skip_unreadable:
        problems += [str(fault) for fault in faults]
    if not (len(images) or problems):
        problems.append(nothing_in(listing))
    if problems:
        raise InputError(*problems, what="the images cannot be used" if len(problems) > 1 else "")
    return ImageSet(images, passed_over=listing.passed_over, skipped=faults)


def identify(listing: Listing, progress: Progress | None = None) -> tuple[ImageSet, list[Fault], list[str]]:
    """(readable images, unreadable ones, other problems) of a listing; raises nothing."""
    items: list[ImageItem] = []
    faults: list[Fault] = []
    problems = list(listing.problems)
    for done, (candidate, outcome) in enumerate(
        zip(listing.candidates, in_threads(_identified, listing.candidates), strict=True), 1
    ):
        if isinstance(outcome, Fault):
            faults.append(outcome)
        elif candidate.sha256 not in (None, outcome.id):
            problems.append(
                f"{candidate}: its sha256 is {outcome.id[:12]}…, but {str(candidate.sha256)[:12]}… is stated"
            )
        else:
            items.append(outcome)
        if progress:
            progress("reading images", done, len(listing.candidates))
    return ImageSet(items, passed_over=listing.passed_over), faults, problems


def nothing_in(listing: Listing) -> str:
    """A sentence for a source without any image."""
    return (
        f"no images found in {printable(listing.root or 'the source')}{passed_over_text(listing.passed_over)}"
    )


def passed_over_text(counts: dict[str, int]) -> str:
    """ " (passed over: 3 .txt, 1 .csv)", or nothing."""
    parts = [f"{count} {printable(suffix)}" for suffix, count in sorted(counts.items())]
    return f" (passed over: {', '.join(parts)})" if parts else ""


def _list_directory(name: str) -> Listing:
    if os.path.isfile(os.path.join(name, "state.json")) or os.path.isfile(
        os.path.join(name, "dataset_dict.json")
    ):
        return list_saved_dataset(name)
    listing = list_folder(name)
    manifest = next((path for path in METADATA if os.path.isfile(os.path.join(name, path))), None)
    if manifest:
        named = list_manifest(os.path.join(name, manifest))
        places = {candidate.source.where for candidate in named.candidates}
        unnamed = sum(candidate.source.where not in places for candidate in listing.candidates)
        named.passed_over = listing.passed_over
        named.passed_over[os.path.splitext(manifest)[1]] -= 1
        if unnamed:
            named.passed_over[f"(image without a row in {manifest})"] = unnamed
        named.passed_over = +named.passed_over
        return named
    if not listing.candidates and (tables := sorted(_parquet_files(name), key=os.fsencode)):
        found = list_parquet(tables)
        del listing.passed_over[".parquet"]
        found.passed_over = listing.passed_over
        return found
    return listing


def _parquet_files(folder: str) -> Iterator[str]:
    for place, _, files in os.walk(folder):
        yield from (os.path.join(place, file) for file in files if file.lower().endswith(".parquet"))


def _identified(candidate: Candidate) -> ImageItem | Fault:
    try:
        data = candidate.source.read_bytes()
        told = header(data)
    except OSError as error:
        return Fault(str(candidate), error.strerror or str(error), candidate.source.where)
    except ReadingError as error:
        return Fault(str(candidate), error.reason, candidate.source.where)
    digest = sha256_of_bytes(data)
    names = (digest, candidate.path, candidate.label)
    return ImageItem(*names, candidate.source, told.width, told.height, told.frames)
