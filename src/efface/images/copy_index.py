"""Which of many pictures show the same as a given one: turned, mirrored, cropped, framed or captioned as it may be.

Candidates are parts of pictures whose codes differ in at most `BITS_APART` of 64 bits. They are looked up in tables by 16
bits of their code, with the least certain bits of the query flipped in turn (multi-probe hashing, Lv et al. 2007). The
nearest candidates of each query are laid over it, and match where their detail agrees.

An index grows by segments, so that memory for building is bounded, and is saved as plain arrays that are mapped when
opened. It holds grey thumbnails of 32 x 32 pixels: keep it as you keep the pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from efface.errors import InputError
from efface.files import private_files
from efface.images.fingerprints import (
    BITS,
    FINGERPRINT,
    PARTS,
    UNCAPTIONED,
    UNDONE_BY,
    VIEWS,
    WHOLES,
    codes,
    distinct_wholes,
    is_flat,
    parts_of,
    spectra,
    viewed,
    viewed_grey,
    viewed_parts,
)
from efface.images.registering import agreement
from efface.images.threads import in_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from efface.images.fingerprints import Floats, Prints

DEFAULT_AGREEMENT = 0.85
PLAIN_AGREEMENT = 0.998  # where both pictures have little in them: digits, garments, letters
SAME_COLOUR = 4.0  # mean difference in grey levels of two flat pictures
BITS_APART = 12
PER_PAIR, MOST_CANDIDATES = 2, 16  # parts that are laid over each other: of two pictures, and of a query
BANDS = 4
BAND_BITS = BITS // BANDS
UNCERTAIN = 8  # bits of a band that may be flipped, at most two at a time
SEGMENT = 1 << 15  # pictures
QUERIES = 32  # in one go
LOOKED_UP = 1 << 22  # codes in one go: 100 MiB
_TABLES = ("every", "whole", "uncaptioned")
_NAMES = ("prints", *(f"{table}{array}" for table in _TABLES for array in ("", "_order", "_starts")))


@dataclass(frozen=True)
class Matches:
    """Pairs that show the same, each once, sorted by query: `agreement` 0..1; `turned` where mirrored or turned."""

    query: NDArray[np.int64]
    entry: NDArray[np.int64]
    agreement: Floats
    turned: NDArray[np.bool_]


@dataclass(frozen=True)
class Candidates:
    """Pairs of parts that may show the same: of an entry, and of a query in a view."""

    ours: NDArray[np.int64]
    theirs: NDArray[np.int64]
    view: NDArray[np.int64]
    our_part: NDArray[np.int64]
    their_part: NDArray[np.int64]


class CopyIndex:
    """Fingerprints that can be asked for pictures that show the same. A picture's entry is the number of its adding."""

    def __init__(self) -> None:
        self._segments: list[Segment] = []

    def __len__(self) -> int:
        return sum(len(segment.prints) for segment in self._segments)

    def add(self, prints: Prints) -> None:
        """Add fingerprints `[N]` behind those that are there."""
        rest = prints
        if self._segments and len(self._segments[-1].prints) < SEGMENT:
            rest = np.concatenate([self._segments.pop().prints, prints])
        self._segments += [
            Segment.made(rest[start : start + SEGMENT]) for start in range(0, len(rest), SEGMENT)
        ]

    def query(self, prints: Prints, least: float = DEFAULT_AGREEMENT, most: int = MOST_CANDIDATES) -> Matches:
        """The entries that each of `prints` `[N]` shows the same as, their detail agreeing by at least `least`.

        most: how many candidates of each query, the nearest first, are looked at closely in each segment; a query with
        more copies than that may be answered with some of them.
        """
        return _joined(self._each(prints, least, most))

    def _each(self, prints: Prints, least: float, most: int) -> Iterator[Matches]:
        first = 0
        starts = range(0, len(prints), QUERIES)
        some = [prints[start : start + QUERIES] for start in starts]
        for segment in self._segments:
            results = in_threads(partial(segment.query, least=least, most=most), some)
            for start, matches in zip(starts, results, strict=True):
                yield Matches(matches.query + start, matches.entry + first, matches.agreement, matches.turned)
            first += len(segment.prints)

    def save(self, folder: str | Path, behind: int = 0) -> None:
        """Write the index as arrays into a new `folder`, its owner's alone, or `behind` so many segments that lie there."""
        with private_files():
            Path(folder).mkdir(parents=True, exist_ok=behind > 0)
            for number, segment in enumerate(self._segments, behind):
                for name, array in segment.arrays().items():
                    np.save(Path(folder) / f"{number:05d}-{name}.npy", array, allow_pickle=False)

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """A saved index; its arrays stay on disk and are mapped. Raises InputError where it is missing or damaged."""
        index = cls()
        try:
            for prints in sorted(Path(folder).glob("*-prints.npy")):
                number = prints.name.partition("-")[0]
                paths = [prints.with_name(f"{number}-{name}.npy") for name in _NAMES]
                arrays = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
                index._segments.append(Segment.of(*arrays))
        except (OSError, ValueError) as error:
            raise InputError(f"{folder} is no index of copies, or a damaged one: {error}") from None
        if not index._segments and not Path(folder).is_dir():
            raise InputError(f"{folder}: no such folder")
        return index


class Table:
    """Codes, found again by one of their bands."""

    def __init__(
        self, entries: NDArray[np.uint64], order: NDArray[np.int32], starts: NDArray[np.int32]
    ) -> None:
        self.entries, self.order, self.starts = entries, order, starts

    @classmethod
    def made(cls, entries: NDArray[np.uint64], kept: NDArray[np.bool_] | None = None) -> Self:
        """A table of codes `[...]`; those that are not `kept` are never found."""
        entries = entries.reshape(-1)
        rows = np.arange(len(entries)) if kept is None else np.flatnonzero(kept)
        order = np.empty((BANDS, len(rows)), np.int32)
        starts = np.zeros((BANDS, (1 << BAND_BITS) + 1), np.int32)
        for band, keys in enumerate(_band_keys(entries[rows]).T):
            order[band] = rows[np.argsort(keys, kind="stable")]
            starts[band, 1:] = np.cumsum(np.bincount(keys, minlength=1 << BAND_BITS))
        return cls(entries, order, starts)

    def near(
        self, spectrum: Floats, kept: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
        """(query, entry, bits apart) of the near entries of the `kept` of spectra `[..., BITS]`, some up to four times."""
        spectrum = spectrum.reshape(-1, BITS)
        rows = np.arange(len(spectrum)) if kept is None else np.flatnonzero(kept)
        wanted = codes(spectrum[rows])
        probes = _band_keys(wanted)[:, :, None] ^ _flips(spectrum[rows])
        near = [
            each for band in range(BANDS) for each in self._near(band, probes[:, band].reshape(-1), wanted)
        ]
        queries, entries, bits = (np.concatenate(each) for each in zip(*near, strict=True))
        return rows[queries], entries, bits

    def _near(
        self, band: int, probes: NDArray[np.int64], wanted: NDArray[np.uint64]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]]:
        counts = self.starts[band][probes + 1] - self.starts[band][probes]
        filled = np.flatnonzero(counts)
        counts, starts = counts[filled].astype(np.int64), self.starts[band][probes[filled]]
        asking = filled // (len(probes) // max(1, len(wanted)))
        ends = np.cumsum(counts)
        parts = np.arange(LOOKED_UP, ends[-1] if len(ends) else 0, LOOKED_UP)
        stops = [*np.searchsorted(ends, parts, side="right"), len(filled)]
        for first, stop in zip([0, *stops[:-1]], stops, strict=True):
            here = counts[first:stop]
            offsets = np.repeat(starts[first:stop] - (np.cumsum(here) - here), here)
            entries = self.order[band][offsets + np.arange(len(offsets))]
            queries = np.repeat(asking[first:stop], here)
            bits = np.bitwise_count(self.entries[entries] ^ wanted[queries])
            close = bits <= BITS_APART
            yield queries[close], entries[close].astype(np.int64), bits[close]


@dataclass(frozen=True)
class Segment:
    """A part of an index: codes of all parts of its pictures; of the wholes in all views; and of what captions leave."""

    prints: Prints
    every: Table
    whole: Table
    uncaptioned: Table

    @classmethod
    def made(cls, prints: Prints) -> Self:
        every = np.empty((len(prints), PARTS), np.uint64)
        whole = np.empty((len(prints), VIEWS, WHOLES), np.uint64)
        for start in range(0, len(prints), QUERIES):
            here = slice(start, start + QUERIES)
            spectrum = spectra(prints[here])
            every[here], whole[here] = codes(spectrum), codes(_in_all_views(spectrum[:, :WHOLES]))
        kept, kept_wholes = _kept(prints)
        uncaptioned = every[:, UNCAPTIONED]
        return cls(prints, Table.made(every, kept), Table.made(whole, kept_wholes), Table.made(uncaptioned))

    @classmethod
    def of(cls, prints: Prints, *arrays: NDArray[Any]) -> Self:
        """From the arrays that `arrays` gave."""
        if prints.dtype != FINGERPRINT:
            raise ValueError("its fingerprints are of another version")
        return cls(prints, *(Table(*arrays[start : start + 3]) for start in (0, 3, 6)))

    def arrays(self) -> dict[str, NDArray[Any]]:
        named = {"prints": self.prints}
        for name, table in zip(_TABLES, (self.every, self.whole, self.uncaptioned), strict=True):
            named |= {name: table.entries, f"{name}_order": table.order, f"{name}_starts": table.starts}
        return named

    @cached_property
    def flat(self) -> NDArray[np.bool_]:
        return is_flat(self.prints)

    def query(self, prints: Prints, least: float, most: int) -> Matches:
        """As `CopyIndex.query`, of these pictures."""
        candidates = self._candidates(prints, most)
        ours, theirs = candidates.ours, candidates.theirs
        values = self._agreement(prints, candidates)
        plain = (self.prints["plain"][ours] & prints["plain"][theirs]).astype(np.bool_)
        kept = values >= np.where(plain, max(least, PLAIN_AGREEMENT), least)
        near = Matches(theirs[kept], ours[kept], values[kept], candidates.view[kept] > 0)
        return _joined([near, self._same_colour(prints)])

    def _candidates(self, prints: Prints, most: int) -> Candidates:
        """At most `most` of each of `prints`, the nearest first."""
        spectrum = spectra(prints)
        once, wholes_once = _kept(prints)
        wholes = _in_all_views(spectrum[:, :WHOLES])
        query, entry, bits = self.every.near(wholes, wholes_once)
        theirs, view, their_part = np.unravel_index(query, wholes.shape[:3])
        ours, our_part = np.unravel_index(entry, (len(self.prints), PARTS))
        found = [(theirs, ours, bits, view, our_part, their_part)]
        query, entry, bits = self.whole.near(spectrum, once)
        theirs, their_part = np.unravel_index(query, spectrum.shape[:2])
        ours, view, our_part = np.unravel_index(entry, (len(self.prints), VIEWS, WHOLES))
        found.append((theirs, ours, bits, np.array(UNDONE_BY)[view], our_part, their_part))
        uncaptioned = _in_all_views(spectrum[:, UNCAPTIONED])
        query, entry, bits = self.uncaptioned.near(uncaptioned)
        theirs, view, their_part = np.unravel_index(query, uncaptioned.shape[:3])
        ours, our_part = np.unravel_index(entry, (len(self.prints), uncaptioned.shape[2]))
        found.append((theirs, ours, bits, view, our_part + WHOLES, their_part + WHOLES))
        shape = (len(prints), len(self.prints), BITS_APART + 1, VIEWS, PARTS, PARTS)
        keys = np.concatenate([np.ravel_multi_index(each, shape) for each in found])
        theirs, ours, apart, view, our_part, their_part = np.unravel_index(np.unique(keys), shape)
        detailed = ~(self.flat[ours] | is_flat(prints)[theirs])
        kept = np.flatnonzero(detailed & (_rank(theirs * len(self.prints) + ours) < PER_PAIR))
        kept = kept[np.lexsort((apart[kept], theirs[kept]))]
        kept = kept[_rank(theirs[kept]) < most]
        return Candidates(ours[kept], theirs[kept], view[kept], our_part[kept], their_part[kept])

    def _agreement(self, prints: Prints, of: Candidates) -> Floats:
        rows = np.arange(len(of.ours))
        grey = prints["grey"][of.theirs]
        for view in range(1, VIEWS):
            grey[of.view == view] = viewed_grey(grey[of.view == view], view)
        mine = parts_of(self.prints[of.ours])[rows, of.our_part]
        its = parts_of(prints[of.theirs])[rows, of.their_part]
        return agreement(self.prints["grey"][of.ours], mine, grey, viewed_parts(its, of.view))

    def _same_colour(self, prints: Prints) -> Matches:
        """Flat pictures have no detail: they are the same where their colour is."""
        ours, theirs = np.flatnonzero(self.flat), np.flatnonzero(is_flat(prints))
        colours, others = (each["colour"].astype(np.float32) for each in (self.prints[ours], prints[theirs]))
        unlike = np.abs(others[:, None] - colours[None]).mean(axis=2)
        query, entry = np.nonzero(unlike <= SAME_COLOUR)
        return Matches(
            theirs[query], ours[entry], np.ones(len(query), np.float32), np.zeros(len(query), np.bool_)
        )


def _joined(each: Iterator[Matches] | list[Matches]) -> Matches:
    """All matches, of each pair the best, sorted by query and entry."""
    nothing = np.zeros(0, np.int64)
    empty = Matches(nothing, nothing, np.zeros(0, np.float32), np.zeros(0, np.bool_))
    columns = [(m.query, m.entry, m.agreement, m.turned) for m in (empty, *each)]
    query, entry, values, turned = (np.concatenate(column) for column in zip(*columns, strict=True))
    order = np.lexsort((turned, -values, entry, query))
    pairs = np.stack([query, entry])[:, order]
    order = order[np.append(True, (np.diff(pairs) != 0).any(axis=0))[: len(order)]]
    return Matches(query[order], entry[order], values[order], turned[order])


def _in_all_views(spectrum: Floats) -> Floats:
    """Spectra `[N, parts, BITS]` in every view: `[N, VIEWS, parts, BITS]`."""
    return np.stack([viewed(spectrum, view) for view in range(VIEWS)], axis=1)


def _kept(prints: Prints) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which parts, and which wholes in all views, are no repetitions: `[N, PARTS]` and `[N, VIEWS, WHOLES]`."""
    wholes = distinct_wholes(prints)
    rest = np.ones((len(prints), PARTS - WHOLES), np.bool_)
    return np.concatenate([wholes, rest], axis=1), np.repeat(wholes[:, None], VIEWS, axis=1)


def _band_keys(entries: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The bits of each band as a number: `[N, BANDS]`."""
    shifts = np.arange(BANDS, dtype=np.uint64) * np.uint64(BAND_BITS)
    keys: NDArray[np.int64] = (entries[:, None] >> shifts & np.uint64((1 << BAND_BITS) - 1)).astype(np.int64)
    return keys


def _flips(spectrum: Floats) -> NDArray[np.int64]:
    """What is flipped in each band, a number for each probe: `[N, BANDS, probes]`."""
    sizes = np.abs(spectrum).reshape(len(spectrum), BANDS, BAND_BITS)
    bits = 1 << np.argpartition(sizes, UNCERTAIN, axis=2)[:, :, :UNCERTAIN]
    above, below = np.tril_indices(UNCERTAIN, -1)
    none = np.zeros((*bits.shape[:2], 1), np.int64)
    return np.concatenate([none, bits, bits[:, :, above] | bits[:, :, below]], axis=2)


def _rank(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each element within its group; the elements of a group stand together."""
    firsts = np.flatnonzero(np.diff(groups, prepend=-1))
    ranks: NDArray[np.int64] = np.arange(len(groups)) - np.repeat(firsts, np.diff(firsts, append=len(groups)))
    return ranks
