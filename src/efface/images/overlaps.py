"""Copies of one set's images in another: which they are, and what becomes of them.

No set may hold the picture of another one under other bytes. Copies of forget images, wherever they are, are treated as
`duplicates` says. Among the others, what is never trained on comes first: copies of neutral and of validation images
leave the set that is trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from efface.errors import InputError
from efface.images.copies import ONLY_EXACT, Pair, find_copies, near_copies
from efface.images.copy_index import DEFAULT_AGREEMENT
from efface.images.fingerprints import PrintRows, fingerprint, stacked
from efface.images.items import ReadingError
from efface.images.reading import decode_image
from efface.images.scanning import Scan, scan
from efface.wording import counted, printable

if TYPE_CHECKING:
    from efface.images.items import ImageSet
    from efface.images.listings import Candidate
    from efface.images.threads import Progress

Action = Literal["stop", "forget", "ignore"]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An image of another set and the forget image that it is a copy of."""

    set_name: str
    forget_id: str
    other_id: str
    forget_path: str
    other_path: str
    agreement: float
    kind: Literal["exact", "near"]
    turned: bool

    def __str__(self) -> str:
        if self.kind == "exact":
            how = "has the same bytes as"
        else:
            turned = "; turned or mirrored" if self.turned else ""
            how = f"nearly equals (detail agrees by {self.agreement:.2f}{turned})"
        return (
            f"{printable(self.other_path)} ({self.set_name}) {how} forget image {printable(self.forget_path)}"
        )


@dataclass(frozen=True)
class DuplicateReport:
    """Copies of forget images in the other sets, each with the forget image that it agrees with best.

    apart: how many images left a set because they nearly equal one that is never trained on.
    """

    pairs: tuple[Duplicate, ...] = ()
    action: Action = "stop"
    agreement: float = DEFAULT_AGREEMENT
    apart: int = 0

    def count(self, kind: Literal["exact", "near"]) -> int:
        return sum(pair.kind == kind for pair in self.pairs)

    def __str__(self) -> str:
        return (
            f"{counted(self.count('exact'), 'copy', 'copies')} and "
            f"{counted(self.count('near'), 'near-copy', 'near-copies')} of forget images"
        )


class Overlaps:
    """Finds copies among sets whose fingerprints were scanned."""

    def __init__(self, scanned: Scan, agreement: float, progress: Progress | None) -> None:
        self.scanned, self.agreement, self.progress = scanned, agreement, progress

    def pairs(self, ours: ImageSet, others: ImageSet) -> list[Pair]:
        """The images of `others` that are copies of one of `ours`."""
        if not (len(ours) and len(others)):
            return []
        prints = self.scanned.of(ours), self.scanned.of(others)
        return find_copies(ours, others, *prints, self.agreement, self.progress)

    def of_forgotten(self, forget: ImageSet, others: dict[str, ImageSet], action: Action) -> DuplicateReport:
        """The copies of forget images; raises InputError where there are some and `action` is `stop`."""
        report = DuplicateReport(
            tuple(
                _named(name, pair, forget, images)
                for name, images in others.items()
                for pair in self.pairs(forget, images)
            ),
            action,
            self.agreement,
        )
        if report.pairs and action == "stop":
            raise InputError(*(str(pair) for pair in report.pairs), what=_what_to_do(report))
        return report


def likely_originals(
    strangers: Sequence[Candidate], images: ImageSet, agreement: float, progress: Progress | None
) -> list[str]:
    """Of pictures that are none of `images`: which of them look like one, a sentence for each."""
    prints, named = [], []
    for stranger in strangers if agreement < ONLY_EXACT else ():
        with suppress(ReadingError, OSError):
            prints.append(fingerprint(decode_image(stranger.source.read_bytes())))
            named.append(stranger)
    if not named:
        return []
    scanned = scan(images, progress=progress)
    readable = images.without({fault.id for fault in scanned.faults})
    pairs = near_copies(scanned.of(readable), PrintRows.all_of(stacked(prints)), agreement, progress)
    return [
        f"{named[pair.other]} nearly equals {printable(readable[pair.ours].path)} (detail agrees by "
        f"{pair.agreement:.2f}); choose that one if it is meant"
        for pair in pairs
    ]


def _named(name: str, pair: Pair, forget: ImageSet, others: ImageSet) -> Duplicate:
    ours, theirs = forget[pair.ours], others[pair.other]
    names = (name, ours.id, theirs.id, ours.path, theirs.path)
    return Duplicate(*names, pair.agreement, pair.kind, pair.turned)


def _what_to_do(report: DuplicateReport) -> str:
    names = " and ".join(dict.fromkeys(pair.set_name for pair in report.pairs))
    words = (
        f"the {names} set holds {report}; remove them, or choose --duplicates forget (forget them too) or "
        "--duplicates ignore (keep them)"
    )
    if near := [pair.agreement for pair in report.pairs if pair.kind == "near"]:
        above = round(max(near) + 0.01, 2)
        passing = f"{above:.2f}" if above < ONLY_EXACT else "1 (only equal bytes count)"
        words += (
            f". If these near-copies are other pictures that look alike, set copy_agreement to {passing} "
            f"(now {report.agreement:g})"
        )
    return words
