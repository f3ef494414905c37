"""Selectors: how a user says which images are meant. `GRAMMAR` is their help text.

With a main set of images, selectors choose entries of it: by resolved file, else by content. Without one,
each selector is a source of its own.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from efface.errors import InputError
from efface.files import no_such, sha256_of_bytes
from efface.images.folders import parts_not_classes
from efface.images.items import Fault, ImageSet
from efface.images.listings import Candidate, FileLocator, Listing, is_image_name
from efface.images.lists import SHA256
from efface.images.names import respelled
from efface.images.requested import take_whole
from efface.images.sources import identify, list_source, nothing_in
from efface.images.threads import Progress, in_threads
from efface.wording import did_you_mean, printable

GRAMMAR = (
    "a folder, an image file, a list (a path or sha256 per line, CSV, JSON, or the output of sha256sum), "
    "a .parquet file, a .tar archive, glob:PATTERN, label:NAME, sha256:HEX, split:FILE#ROLE, bundled, or bundled:NAME"
)


@dataclass
class Chosen:
    """What selectors led to: images, unreadable ones among them, what was not found, and sentences for the log.

    strangers: pictures that are none of the main images, which is among the problems.
    """

    images: ImageSet = field(default_factory=ImageSet)
    unreadable: list[Fault] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    strangers: list[Candidate] = field(default_factory=list)


@dataclass
class Main:
    """The main set of images, with the ways to look one up; `others` are files of its source that lack a picture's name."""

    images: ImageSet
    root: str | None
    unreadable: list[Fault]
    others: list[Candidate] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.by_place = {item.source.where: index for index, item in enumerate(self.images)}
        self.by_id: dict[str, list[int]] = {}
        self.by_label: dict[str, list[int]] = {}
        for index, item in enumerate(self.images):
            self.by_id.setdefault(item.id, []).append(index)
            if item.label is not None:
                self.by_label.setdefault(unicodedata.normalize("NFC", item.label), []).append(index)
        self.unreadable_by_place = {fault.where: fault for fault in self.unreadable}


def choose_within(main: Main, selectors: Sequence[str], role: str, whole: bool = False) -> Chosen:
    """The entries of the main set that the selectors name, in the order of the set; `whole`: as `requested` says.

    An image named by file is that entry only; named by content (a copy elsewhere, a sha256), every entry
    with that content.
    """
    chosen = Chosen()
    indices: set[int] = set()
    for selector in selectors:
        problems: list[str] = []
        try:
            indices.update(_within(main, selector, whole, chosen, problems))
        except InputError as error:
            problems += error.problems
        chosen.problems += [f"{role} {printable(selector)}: {problem}" for problem in problems]
    chosen.images = main.images.subset(sorted(indices))
    return chosen


def choose_alone(
    selectors: Sequence[str], role: str, progress: Progress | None = None, whole: bool = False
) -> Chosen:
    """The images of the selectors' own sources, one after the other, each file once; `whole`: as `requested` says."""
    chosen = Chosen()
    for selector in selectors:
        problems: list[str] = []
        try:
            if selector.startswith(("label:", "sha256:")):
                raise InputError("chooses among the main images; give those with --images")
            pattern = selector.removeprefix("glob:")
            by_pattern = pattern != selector
            listing = (
                _globbed(pattern, os.getcwd(), whole) if by_pattern else list_source(selector, whole=whole)
            )
            problems += [
                f"{row}: a sha256 is looked for in --images, which is not given" for row, _ in listing.digests
            ]
            images, unreadable, found = identify(listing, progress)
            problems += found
            if not (len(images) or unreadable or problems):
                problems.append(nothing_in(listing))
            chosen.images = chosen.images.union(images)
            chosen.unreadable += unreadable
            chosen.notes += listing.notes
        except InputError as error:
            problems += error.problems
        chosen.problems += [f"{role} {printable(selector)}: {problem}" for problem in problems]
    return chosen


def _within(main: Main, selector: str, whole: bool, chosen: Chosen, problems: list[str]) -> Iterable[int]:
    kind, colon, rest = selector.partition(":")
    if colon and kind == "label":
        label = unicodedata.normalize("NFC", rest)
        if parts := parts_not_classes(main.images):
            problems.append(parts)
        elif label not in main.by_label:
            problems.append(f"no image has this label{did_you_mean(rest, main.by_label)}")
        _disguised([other for other in main.others if whole and other.label == rest], chosen, problems)
        return main.by_label.get(label, ())
    if colon and kind == "sha256":
        if not SHA256.fullmatch(rest):
            problems.append("a sha256 has 64 hexadecimal digits")
        return _by_digests(main, [("", rest.lower())], problems) if not problems else ()
    if colon and kind == "glob":
        return _by_pattern(main, rest, whole, chosen, problems)
    name = respelled(selector)
    if not os.path.exists(name) and main.root:
        inside = respelled(os.path.join(main.root, selector))
        name = inside if os.path.exists(inside) else name
    if not os.path.exists(name) and kind not in ("bundled", "hub", "split"):
        problems.append(no_such(os.path.join(main.root, name) if main.root else name))
        return ()
    listing = list_source(name, main.root, whole)
    problems += listing.problems
    chosen.notes += listing.notes
    chosen.unreadable += listing.faults
    if not (listing.candidates or listing.digests or listing.faults or problems):
        problems.append(nothing_in(listing))
    found = _by_candidates(main, listing.candidates, chosen, problems)
    return [*found, *_by_digests(main, listing.digests, problems)]


def _disguised(others: list[Candidate], chosen: Chosen, problems: list[str]) -> None:
    """Files that are asked for with main images, but are none of them because of their names."""
    listing = Listing(others=others)
    take_whole(listing)
    chosen.unreadable += listing.faults
    problems += [
        f"{candidate} is a picture, but its name hides it from the main images; give it a suffix such as .png"
        for candidate in listing.candidates
    ]


def _by_digests(main: Main, digests: list[tuple[str, str]], problems: list[str]) -> list[int]:
    for row, digest in digests:
        if digest not in main.by_id:
            problems.append(f"{row + ': ' if row else ''}no image has the sha256 {digest}")
    return [index for _, digest in digests for index in main.by_id.get(digest, ())]


def _by_candidates(main: Main, candidates: list[Candidate], chosen: Chosen, problems: list[str]) -> list[int]:
    found: list[int] = []
    strangers: list[Candidate] = []
    for candidate in candidates:
        place = candidate.source.where
        if place in main.by_place:
            index = main.by_place[place]
            actual = main.images[index].id
            if candidate.sha256 not in (None, actual):
                stated = str(candidate.sha256)[:12]
                problems.append(f"{candidate}: its sha256 is {actual[:12]}…, but {stated}… is stated")
            found.append(index)
        elif place in main.unreadable_by_place:
            chosen.unreadable.append(main.unreadable_by_place[place])
        else:
            strangers.append(candidate)
    for candidate, outcome in zip(strangers, in_threads(_digest, strangers), strict=True):
        if isinstance(outcome, OSError):
            problems.append(f"{candidate}: cannot be read ({outcome.strerror or outcome})")
        elif candidate.sha256 not in (None, outcome):
            problems.append(f"{candidate}: its sha256 is {outcome[:12]}…, but another one is stated")
        elif outcome not in main.by_id:
            problems.append(f"{candidate} is not one of the main images, neither by file nor by content")
            chosen.strangers.append(candidate)
        else:
            found += main.by_id[outcome]
    return found


def _by_pattern(main: Main, pattern: str, whole: bool, chosen: Chosen, problems: list[str]) -> list[int]:
    if main.root is None:
        # a row of a data set and a file in an archive may also be named without what it lies in
        names = [(path, path.partition("#")[2]) for path in main.images.paths]
        matching = [
            i for i, both in enumerate(names) if any(fnmatch.fnmatchcase(name, pattern) for name in both)
        ]
        return matching or _nothing_matches()
    listing = _globbed(pattern, main.root, whole=False)
    places = [candidate.source.where for candidate in listing.candidates]
    found = [main.by_place[place] for place in places if place in main.by_place]
    missed = [main.unreadable_by_place[place] for place in places if place in main.unreadable_by_place]
    chosen.unreadable += missed
    if whole:
        _disguised(listing.others, chosen, problems)
    return found or ([] if missed else _nothing_matches())


def _nothing_matches() -> list[int]:
    raise InputError("matches none of the main images")


def _globbed(pattern: str, root: str, whole: bool) -> Listing:
    """Image files that match a shell pattern (`**` for any folders) below `root`."""
    listing = Listing(root=root)
    forms = {pattern, *(unicodedata.normalize(form, pattern) for form in ("NFC", "NFD"))}
    matches = {match for form in forms for match in glob.glob(form, root_dir=root, recursive=True)}
    names = [os.path.join(root, match) for match in sorted(matches, key=os.fsencode)]
    files = [name for name in names if os.path.isfile(name)]
    if names and not files:
        raise InputError(f"matches only folders; their images are glob:{printable(pattern.rstrip('/'))}/*")
    for name in files:
        kind = listing.candidates if is_image_name(os.path.basename(name)) else listing.others
        kind.append(Candidate(name, FileLocator(os.path.realpath(name))))
    if whole:
        take_whole(listing)
    if not (listing.candidates or listing.faults):
        raise InputError(f"matches no image file in {printable(root)}")
    return listing


def _digest(candidate: Candidate) -> str | OSError:
    try:
        return sha256_of_bytes(candidate.source.read_bytes())
    except OSError as error:
        return error
