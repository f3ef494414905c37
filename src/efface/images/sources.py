"""From what the user names (a folder, a manifest, a data set, `bundled`) to an `ImageSet`.

Indexing reads every file once: for its sha256, and for what its header tells (format, frames, size).
Damage behind the header shows when pixels are decoded, in `PixelCache.add`.
"""

from __future__ import annotations

import os
from pathlib import Path

from efface.errors import InputError
from efface.files import no_such, sha256_of_bytes
from efface.images.archives import list_tars
from efface.images.bundled import list_bundled
from efface.images.folders import list_file, list_folder
from efface.images.items import Fault, ImageItem, ImageSet, ReadingError
from efface.images.listings import Candidate, FileLocator, Listing, is_image_name
from efface.images.lists import list_entries
from efface.images.names import respelled
from efface.images.reading import header
from efface.images.requested import take_whole
from efface.images.rows import JSON_SUFFIXES, TABLE_SUFFIXES
from efface.images.signatures import RAW_SUFFIXES, encoding_of, what_it_is
from efface.images.splits import list_split
from efface.images.tables import list_hub, list_parquet, list_saved_dataset, saved_splits
from efface.images.threads import Progress, in_threads
from efface.wording import printable

METADATA = ("metadata.csv", "metadata.jsonl")
LIST_SUFFIXES = (".txt", *TABLE_SUFFIXES, *JSON_SUFFIXES)


def open_images(
    source: str | Path, *, skip_unreadable: bool = False, progress: Progress | None = None
) -> ImageSet:
    """The images of `source`, in a fixed order.

    `source` is a folder (one class per sub-folder, or flat, or with `metadata.csv`/`.jsonl` in it or below, or
    holding parquet files, tar archives or a saved data set), a list in text, CSV or JSON, a parquet file, a tar archive, an
    image, `hub:owner/name[:split]`, `split:FILE#ROLE`, `bundled` or `bundled:NAME`. Raises InputError naming everything
    that is wrong with it; with `skip_unreadable`, unreadable images are in the set's `skipped` instead.
    """
    return index(list_source(source), skip_unreadable=skip_unreadable, progress=progress)


def list_source(source: str | Path, also: str | None = None, whole: bool = False) -> Listing:
    """What `source` offers. Rows of lists are also looked for in the folder `also`; `whole`: as `requested` says."""
    name = os.fspath(source)
    if name == "bundled" or name.startswith("bundled:"):
        return list_bundled(name.partition(":")[2] or None)
    if name.startswith("hub:"):
        return list_hub(name.removeprefix("hub:"))
    if name.startswith("split:"):
        return list_split(name)
    name = respelled(name)
    if not os.path.exists(name):
        raise InputError(f"{printable(name)}: {no_such(name)}")
    listing = _list_directory(name, whole) if os.path.isdir(name) else _list_one(name, also)
    if whole:
        take_whole(listing)
    return listing


def _list_one(name: str, also: str | None) -> Listing:
    """What a file offers, which is told by its first bytes: many a list has no suffix, and many a picture a wrong one."""
    suffix = os.path.splitext(name)[1].lower()
    try:
        head = FileLocator(name).head()
    except OSError:
        return list_file(name)  # which says what is wrong
    kind = what_it_is(head)
    if kind == "a parquet file" or suffix == ".parquet":
        return list_parquet([name])
    if kind == "a tar archive" or suffix == ".tar":
        return list_tars([name])
    if not kind and not is_image_name(name) and (encoding_of(head) or suffix in LIST_SUFFIXES):
        pictured = not encoding_of(head) and isinstance(
            _identified(Candidate(name, FileLocator(name))), ImageItem
        )
        return list_file(name) if pictured else list_entries(name, also)
    return list_file(name)


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
    faults = list(listing.faults)
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


def _list_directory(name: str, whole: bool) -> Listing:
    if splits := saved_splits(name):
        return list_saved_dataset(name, splits)
    listing = list_folder(name, hidden=whole)
    if any(os.path.basename(other.path) in METADATA for other in listing.others):
        return _with_metadata(listing, whole)
    for suffix, list_files in ((".parquet", list_parquet), (".tar", list_tars)):
        files = [other.path for other in listing.others if other.path.lower().endswith(suffix)]
        if files and not listing.candidates:
            found = list_files(sorted(files, key=os.fsencode))
            found.others += [other for other in listing.others if other.path not in files]
            found.omitted += listing.omitted
            return found
    return listing


def _with_metadata(listing: Listing, whole: bool) -> Listing:
    """The rows of the metadata in a folder or below it, then the images for which there is none."""
    tables = [other for other in listing.others if os.path.basename(other.path) in METADATA]
    named = Listing(root=listing.root, omitted=listing.omitted, problems=listing.problems)
    named.others = [other for other in listing.others if other not in tables]
    rows: dict[str, Candidate] = {}
    for table in tables:
        found = list_entries(table.path)
        rows.update((candidate.source.where, candidate) for candidate in found.candidates)
        named.problems += found.problems
        named.notes += found.notes
        named.digests += found.digests
    folders = {os.path.dirname(table.path): os.path.basename(table.path) for table in tables}
    named.others = [other for other in named.others if other.source.where not in rows]
    named.candidates = list(rows.values())
    for candidate in listing.candidates:
        if candidate.source.where in rows:
            continue
        above = next((folders[place] for place in _folders_above(candidate.path) if place in folders), None)
        if above is None or whole:
            named.candidates.append(candidate)
        else:
            named.omitted[f"(image without a row in {above})"] += 1
    return named


def _folders_above(path: str) -> list[str]:
    above = []
    while (parent := os.path.dirname(path)) != path:
        above.append(parent)
        path = parent
    return above


def _identified(candidate: Candidate) -> ImageItem | Fault:
    try:
        data = candidate.source.read_bytes()
        if os.path.splitext(candidate.path)[1].lower() in RAW_SUFFIXES:
            raise ReadingError("a raw photo, convert it")
        told = header(data)
    except OSError as error:
        return Fault(str(candidate), error.strerror or str(error), candidate.source.where)
    except ReadingError as error:
        return Fault(str(candidate), error.reason, candidate.source.where)
    digest = sha256_of_bytes(data)
    names = (digest, candidate.path, candidate.label)
    return ImageItem(*names, candidate.source, told.width, told.height, told.frames)
