"""Which images are to be forgotten, which are kept, and which are never trained on.

`split_images` reads the settings, finds every fault it can before it raises, and returns the sets with a note of all
that was taken out, skipped or passed over on the way.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from efface.errors import InputError
from efface.images.copies import ONLY_EXACT
from efface.images.copy_index import DEFAULT_AGREEMENT
from efface.images.folders import parts_not_classes
from efface.images.forgotten import Earlier, Forgotten, TakenOut
from efface.images.items import Fault, ImageSet
from efface.images.overlaps import DuplicateReport, Overlaps, likely_originals
from efface.images.scanning import Scan, scan
from efface.images.selectors import GRAMMAR, Chosen, Main, choose_alone, choose_within
from efface.images.sources import identify, list_source, nothing_in, passed_over_text
from efface.images.threads import Progress
from efface.settings import Settings
from efface.wording import counted, printable

if TYPE_CHECKING:
    from efface.images.cache import PixelCache


class ImagesSettings(Settings):
    """Where the images are, and which of them to forget, keep, or leave untouched."""

    images: str | None = Field(
        None,
        description="all images: a folder (one class per sub-folder, or flat), a list (text, CSV or JSON), a "
        ".parquet file, a .tar archive, hub:owner/name[:split], split:FILE, or bundled. Without it, each selector is "
        "its own source",
    )
    forget: tuple[str, ...] = Field((), description=f"what to forget: {GRAMMAR}; several are joined")
    retain: tuple[str, ...] = Field(
        (), description="what to keep, said in the same ways; with --images, everything else by default"
    )
    neutral: tuple[str, ...] = Field(
        (), description="images that are never trained on, only evaluated, said in the same ways"
    )
    proxy_retain: tuple[str, ...] = Field(
        (),
        description="images of the same kind that stand in for the retain set where the real one may no "
        "longer be used; their own source, also with --images",
    )
    duplicates: Literal["stop", "forget", "ignore"] = Field(
        "stop",
        description="what to do when another set holds copies or near-copies of forget images: `stop`, "
        "`forget` them too, or `ignore` that",
    )
    copy_agreement: float = Field(
        DEFAULT_AGREEMENT,
        ge=0.5,
        le=ONLY_EXACT,
        description="near-copies are images whose detail agrees at least so much (a correlation) when they are laid "
        "over each other; more for sets of look-alikes such as faces; 1 looks for exact copies only",
    )
    skip_unreadable: bool = Field(
        False, description="leave out images that cannot be read, and record them, instead of stopping"
    )

    @property
    def selectors(self) -> tuple[str, ...]:
        """Everything that says where images come from."""
        source = (self.images,) if self.images else ()
        return (*source, *self.forget, *self.retain, *self.neutral, *self.proxy_retain)


@dataclass(frozen=True)
class Split:
    """The sets, and how they came about. `notes` are sentences for the log.

    validation: images that a method may look at without training on them, in none of the other sets. earlier: what was
    taken out since earlier requests had forgotten it.
    """

    forget: ImageSet
    retain: ImageSet
    neutral: ImageSet
    proxy: bool = False
    skipped: tuple[Fault, ...] = ()
    duplicates: DuplicateReport = field(default_factory=DuplicateReport)
    notes: tuple[str, ...] = ()
    validation: ImageSet = field(default_factory=ImageSet)
    earlier: tuple[TakenOut, ...] = ()

    @property
    def sets(self) -> dict[str, ImageSet]:
        """All sets by name; validation images only where there are some."""
        sets = {"forget": self.forget, "retain": self.retain, "neutral": self.neutral}
        return {**sets, "validation": self.validation} if len(self.validation) else sets

    @property
    def everything(self) -> ImageSet:
        """The images of all sets."""
        return self.forget.union(self.retain).union(self.neutral).union(self.validation)


def split_images(
    settings: ImagesSettings,
    *,
    needs_retain: bool,
    validation: tuple[str, ...] = (),
    earlier: Sequence[Forgotten] = (),
    cache: PixelCache | None = None,
    progress: Progress | None = None,
) -> Split:
    """Choose, check and separate the images; `validation` is said as `settings.neutral` is.

    earlier: what earlier requests forgot; it goes into no set but `forget`, nor do its near-copies, as far as it is among
    the images given.

    Every image is decoded once: into `cache` where one is given, else only to see that it can be. Raises
    InputError in at most three steps, each naming all its faults: what selectors did not find, images
    that cannot be read, and duplicates (with `duplicates="stop"`).
    """
    draft = Draft(settings, validation, progress)
    draft.choose(needs_retain)
    draft.separate(needs_retain)
    taken = draft.leave_out(earlier, needs_retain)
    scanned = draft.read(cache, needs_retain)
    draft.leave_out_copies(taken, scanned, needs_retain)
    report = draft.move_duplicates(scanned, needs_retain)
    skipped = tuple({fault.where: fault for fault in draft.unreadable}.values())
    return Split(
        draft.forget,
        draft.retain,
        draft.neutral,
        draft.proxy,
        skipped,
        report,
        tuple(draft.notes),
        draft.validation,
        taken.taken,
    )


class Draft:
    """The sets while they are being separated."""

    def __init__(
        self, settings: ImagesSettings, validation: tuple[str, ...], progress: Progress | None
    ) -> None:
        self.settings = settings
        self.validation_selectors = validation
        self.progress = progress
        self.forget = self.retain = self.neutral = self.validation = self.given = ImageSet()
        self.proxy = bool(settings.proxy_retain)
        self.unreadable: list[Fault] = []
        self.unreadable_forget: list[Fault] = []
        self.problems: list[str] = []
        self.notes: list[str] = []

    def choose(self, needs_retain: bool) -> None:
        settings = self.settings
        main = self._main() if settings.images is not None else None
        if settings.images is not None and main is None:
            self._stop("the images cannot be used")
        self.given = main.images if main else ImageSet()
        self.forget, self.unreadable_forget = self._chosen(main, settings.forget, "forget")
        self.neutral = self._untrained(main, settings.neutral, "neutral")
        # one that is neutral too keeps the label that it has there
        known = {item.source.where: item for item in self.neutral}
        validation = self._untrained(main, self.validation_selectors, "validation")
        self.validation = ImageSet(known.get(item.source.where, item) for item in validation)
        if settings.retain and settings.proxy_retain:
            self.problems.append("retain and proxy_retain are both given; a proxy takes the place of retain")
        if settings.proxy_retain:
            self.retain, _ = self._chosen(None, settings.proxy_retain, "proxy_retain")
            self.notes.append(f"{len(self.retain)} proxy images stand in for the retain set")
        elif settings.retain:
            self.retain, _ = self._chosen(main, settings.retain, "retain")
        elif main is not None:
            self.retain = main.images
        elif needs_retain:
            self.problems.append(
                "images to keep are needed, in one of three ways: --retain (what to keep), --images (all "
                "images; what is not forgotten is kept), or --proxy-retain (images of the same kind)"
            )
        if not settings.forget:
            self.problems.append(f"nothing is said to be forgotten; give --forget: {GRAMMAR}")

    def separate(self, needs_retain: bool) -> None:
        """Have no image in two sets; stop on any fault so far."""
        forgotten = {item.id: item for item in self.forget}
        for role, images in (("neutral", self.neutral), ("validation", self.validation)):
            for item in images:
                if item.id in forgotten:
                    twin = forgotten[item.id]
                    same = "" if twin.source.where == item.source.where else f" (as {printable(twin.path)})"
                    self.problems.append(
                        f"{printable(item.path)} is chosen both to be forgotten{same} and as {role}"
                    )
        explicit = bool(self.settings.retain or self.settings.proxy_retain)
        places = {item.source.where for item in self.forget}
        kept = [index for index, item in enumerate(self.retain) if item.source.where not in places]
        if explicit and (both := len(self.retain) - len(kept)):
            self.notes.append(
                counted(
                    both,
                    "image chosen for both forget and retain was taken out of retain",
                    "images chosen for both forget and retain were taken out of retain",
                )
            )
        self.retain = self.retain.subset(kept)
        self.retain = self._without(self.retain, "retain", self.neutral, "neutral")
        self.retain = self._without(self.retain, "retain", self.validation, "validation")
        self.neutral = self._without(self.neutral, "neutral", self.validation, "validation")
        if self.problems:
            self._stop("the choice of images does not work out")

    def leave_out(self, requests: Sequence[Forgotten], needs_retain: bool) -> Earlier:
        """Take what earlier requests forgot out of all sets but `forget`, before any of it is decoded."""
        if not requests:
            return Earlier((), ImageSet(), self.forget)
        given = self.given.union(self.retain).union(self.neutral).union(self.validation).union(self.forget)
        earlier = Earlier(requests, given, self.forget)
        self.retain = earlier.without("retain", self.retain)
        self.neutral = earlier.without("neutral", self.neutral)
        self.validation = earlier.without("validation", self.validation)
        self._check_left(earlier, needs_retain)
        return earlier

    def leave_out_copies(self, earlier: Earlier, scanned: Scan, needs_retain: bool) -> None:
        """Take the near-copies out too, unless copies are to be let alone."""
        if self.settings.duplicates != "ignore":
            sets = {"retain": self.retain, "neutral": self.neutral, "validation": self.validation}
            rest = earlier.without_copies(sets, scanned, self.settings.copy_agreement)
            self.retain, self.neutral, self.validation = rest["retain"], rest["neutral"], rest["validation"]
        self.notes += earlier.notes
        self._check_left(earlier, needs_retain)

    def _check_left(self, earlier: Earlier, needs_retain: bool) -> None:
        for name, images, needed in (
            ("retain", self.retain, needs_retain),
            ("validation", self.validation, bool(self.validation_selectors)),
        ):
            if earlier.took(name) and needed and not len(images):
                raise InputError(
                    f"no {name} image is left: {earlier.took(name)} of them were forgotten by earlier requests. Give "
                    f"others as {name}"
                )

    def read(self, cache: PixelCache | None, needs_retain: bool) -> Scan:
        """Decode everything once; raise, or take out, what cannot be read."""
        everything = self.forget.union(self.retain).union(self.neutral).union(self.validation)
        scanned = scan(everything, cache, self.progress)
        bad, forgotten = {fault.id for fault in scanned.faults}, set(self.forget.ids)
        self.unreadable_forget += [fault for fault in scanned.faults if fault.id in forgotten]
        self.unreadable += scanned.faults
        faults = list({fault.where: fault for fault in self.unreadable}.values())
        if faults and not self.settings.skip_unreadable:
            sentences = [str(fault) for fault in faults]
            raise InputError(
                *sentences,
                what=f"{counted(len(faults), 'image')} cannot be used (--skip-unreadable leaves them out)",
            )
        if faults:
            of_forget = len({fault.where for fault in self.unreadable_forget})
            self.notes.append(
                counted(len(faults), "image could not be read and was", "images could not be read and were")
                + " left out, "
                f"{of_forget} of them chosen to be forgotten"
            )
        if several := [item for item in everything if item.frames > 1 and item.id not in bad]:
            of_forget = sum(item.id in forgotten for item in several)
            self.notes.append(
                f"{counted(len(several), 'image')} ({of_forget} of them chosen to be forgotten) "
                f"{'holds' if len(several) == 1 else 'hold'} several pictures, as animations "
                "and pages do; the first of each is taken, as the usual loaders do"
            )
        self.forget, self.retain = self.forget.without(bad), self.retain.without(bad)
        self.neutral, self.validation = self.neutral.without(bad), self.validation.without(bad)
        if not len(self.forget):
            raise InputError("no image to forget is left; none of those chosen can be read")
        self._check_validation()
        self._check_retain(needs_retain)
        return scanned

    def move_duplicates(self, scanned: Scan, needs_retain: bool) -> DuplicateReport:
        """Find copies of forget images in the other sets and do what the settings say; have the others share none."""
        action = self.settings.duplicates
        overlaps = Overlaps(scanned, self.settings.copy_agreement, self.progress)
        others = {"retain": self.retain, "neutral": self.neutral, "validation": self.validation}
        report = overlaps.of_forgotten(self.forget, others, action)
        if action == "forget":
            # One step only: copies of copies could chain through look-alikes to the whole set.
            for name, images in others.items():
                moved = {pair.other_id for pair in report.pairs if pair.set_name == name}
                self.forget = self.forget.union(ImageSet(item for item in images if item.id in moved))
                setattr(self, name, images.without(moved))
        if report.pairs:
            done = "were moved to the forget set" if action == "forget" else "stay where they are, as chosen"
            self.notes.append(f"{report} {done}")
        if action != "ignore":
            report = replace(report, apart=self._keep_apart(overlaps))
        self._check_validation()
        self._check_retain(needs_retain)
        return report

    def _keep_apart(self, overlaps: Overlaps) -> int:
        """Take near-copies of what is never trained on out of the sets before it; how many were taken."""
        taken = 0
        for role, names in (("validation", ("neutral", "retain")), ("neutral", ("retain",))):
            for name in names:
                images: ImageSet = getattr(self, name)
                copies = {pair.other for pair in overlaps.pairs(getattr(self, role), images)}
                if copies:
                    setattr(self, name, images.subset(i for i in range(len(images)) if i not in copies))
                    self.notes.append(
                        counted(
                            len(copies),
                            f"near-copy of {role} images was",
                            f"near-copies of {role} images were",
                        )
                        + f" taken out of {name}"
                    )
                taken += len(copies)
        return taken

    def _main(self) -> Main | None:
        assert self.settings.images is not None
        try:
            listing = list_source(self.settings.images)
        except InputError as error:
            self.problems += [f"images {problem}" for problem in error.problems]
            return None
        images, unreadable, problems = identify(listing, self.progress)
        self.problems += [f"images {problem}" for problem in problems]
        self.notes += listing.notes
        if not (len(images) or unreadable or problems):
            self.problems.append(nothing_in(listing))
        self._take_note(images)
        if parts := parts_not_classes(images):
            self.notes.append(parts)
        self.unreadable += unreadable
        return Main(images, listing.root, unreadable, listing.others)

    def _chosen(
        self, main: Main | None, selectors: tuple[str, ...], role: str
    ) -> tuple[ImageSet, list[Fault]]:
        chosen: Chosen
        whole = role == "forget"
        if main is None:
            chosen = choose_alone(selectors, role, self.progress, whole)
            self._take_note(chosen.images)
        else:
            chosen = choose_within(main, selectors, role, whole)
        self.notes += chosen.notes
        self.problems += chosen.problems
        if main is not None and chosen.strangers:
            agreement = self.settings.copy_agreement
            self.problems += likely_originals(chosen.strangers, main.images, agreement, self.progress)
        self.unreadable += chosen.unreadable
        return chosen.images, list(chosen.unreadable)

    def _untrained(self, main: Main | None, selectors: tuple[str, ...], role: str) -> ImageSet:
        """These may lie among the main images or, being never trained on, in a source of their own."""
        images = ImageSet()
        for selector in selectors:
            within = main
            if main is not None and (
                os.path.exists(selector) or selector.startswith(("bundled", "hub:", "split:"))
            ):
                alone = choose_alone((selector,), role)
                if not alone.problems and main.by_place.keys().isdisjoint(
                    i.source.where for i in alone.images
                ):
                    within = None
            images = images.union(self._chosen(within, (selector,), role)[0])
        return images

    def _without(self, images: ImageSet, name: str, taken: ImageSet, role: str) -> ImageSet:
        rest = images.without(set(taken.ids))
        if count := len(images) - len(rest):
            self.notes.append(
                f"{counted(count, f'{role} image was', f'{role} images were')} taken out of {name}"
            )
        return rest

    def _take_note(self, images: ImageSet) -> None:
        if count := sum(images.passed_over.values()):
            self.notes.append(
                counted(count, "file that is not an image", "files that are not images")
                + passed_over_text(images.passed_over)
            )

    def _check_validation(self) -> None:
        if self.validation_selectors and not len(self.validation):
            raise InputError("validation: none of the images chosen for it can be used")

    def _check_retain(self, needs_retain: bool) -> None:
        if needs_retain and not len(self.retain):
            raise InputError("no image to keep is left; choose less to forget, or give more with --retain")

    def _stop(self, what: str) -> None:
        if not self.settings.skip_unreadable:
            faults = {fault.where: fault for fault in self.unreadable}
            self.problems += [str(fault) for fault in faults.values()]
        raise InputError(*dict.fromkeys(self.problems), what=what if len(self.problems) > 1 else "")
