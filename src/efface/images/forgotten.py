"""Images that earlier requests forgot: kept out of whatever a later one trains on or measures as if they had stayed.

An earlier run names what it forgot by keyed ids alone, so an image is known by its content. Where the forgotten file itself
is among those given, its near-copies are known too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from efface.images.copies import find_copies
from efface.images.items import ImageSet
from efface.images.scanning import Scan, scan
from efface.wording import counted


@dataclass(frozen=True)
class Forgotten:
    """What one earlier run forgot: keyed ids, and the key under which they are made. name: of the request, for people."""

    name: str
    key: bytes = field(repr=False)
    keyed: frozenset[str]

    def among(self, images: ImageSet) -> ImageSet:
        """Those of `images` that the run forgot."""
        keyed = images.keyed_ids(self.key)
        return images.subset(index for index, id_ in enumerate(keyed) if id_ in self.keyed)


@dataclass
class TakenOut:
    """What was taken out for one earlier request.

    images: those that it forgot among the images given. exact, copies: how many by set, with the forgotten content itself
    or nearly equal to it. again: images that are to be forgotten and were forgotten by it already; complete: whether these
    are all.
    """

    name: str
    images: ImageSet = field(repr=False)
    exact: dict[str, int] = field(default_factory=dict)
    copies: dict[str, int] = field(default_factory=dict)
    again: int = 0
    complete: bool = False

    @property
    def notes(self) -> list[str]:
        """Sentences for people."""
        notes = [
            f"{what} forgotten earlier, by {self.name}, and left out: {counted(count, f'{name} image')}"
            for counts, what in ((self.exact, "images"), (self.copies, "near-copies of images"))
            for name, count in counts.items()
        ]
        if self.complete:
            notes.append(
                f"all images to be forgotten were forgotten earlier, by {self.name}: this is the same request once more. "
                "Its page says how far it came; to try another method, begin with the model that it began with"
            )
        elif self.again:
            notes.append(f"{self.again} of the images to be forgotten were forgotten earlier, by {self.name}")
        return notes


class Earlier:
    """What earlier requests forgot among the images of one job."""

    def __init__(self, requests: Sequence[Forgotten], given: ImageSet, forget: ImageSet) -> None:
        """given: all images that the job was given; forget: those that it is to forget, whose copies are its own affair."""
        self.taken = tuple(TakenOut(request.name, request.among(given)) for request in requests)
        self.asked_for = set(forget.ids)
        for taken in self.taken:
            taken.again = len(self.asked_for & set(taken.images.ids))
            taken.complete = bool(self.asked_for) and taken.again == len(self.asked_for)

    def without(self, name: str, images: ImageSet) -> ImageSet:
        """The set `name` less what has the forgotten content itself."""
        for taken in self.taken:
            rest = images.without(set(taken.images.ids) - self.asked_for)
            if count := len(images) - len(rest):
                taken.exact[name] = count
            images = rest
        return images

    def without_copies(
        self, sets: Mapping[str, ImageSet], scanned: Scan, agreement: float
    ) -> dict[str, ImageSet]:
        """The sets less what nearly equals a forgotten image that is among those given."""
        rest = dict(sets)
        for taken in self.taken:
            known = taken.images.without(self.asked_for)
            seen = scan(known)
            known = known.without({fault.id for fault in seen.faults})
            for name, images in rest.items() if len(known) else ():
                pairs = find_copies(known, images, seen.of(known), scanned.of(images), agreement)
                copies = {pair.other for pair in pairs}
                if copies:
                    taken.copies[name] = len(copies)
                rest[name] = images.subset(index for index in range(len(images)) if index not in copies)
        return rest

    def took(self, name: str) -> int:
        """How many images were taken out of the set `name`."""
        return sum(taken.exact.get(name, 0) + taken.copies.get(name, 0) for taken in self.taken)

    @property
    def notes(self) -> list[str]:
        """Sentences for people."""
        return [note for taken in self.taken for note in taken.notes]
