"""What is asked for is taken whole: every file in it is a picture, or known to be none.

In the folder of a request a photo of a phone, a raw photo, a file without a suffix or a pointer to a picture that was not
fetched is no less meant than the others. So the files that no picture's name has are opened as well. Those that are
pictures join the request. Those that are text, or what systems and programs leave in folders, are passed over and counted.
All others might be pictures, and are faults.
"""

from __future__ import annotations

import os

from efface.images.items import Fault, Locator, ReadingError
from efface.images.listings import Candidate, FileLocator, Listing, suffix_of
from efface.images.reading import header
from efface.images.signatures import HEAD_BYTES, RAW_SUFFIXES, encoding_of, what_it_is
from efface.images.threads import in_threads

LITTER = (
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", ".ds_store", "icon\r", "zbthumbnail.info",
    ".bridgesort", ".bridgecache", ".bridgecachet", ".bridgelabelsandratings", "synoindex_media_info",
)  # fmt: skip
"""Files of systems and programs, in lower case; and all that begin with `._`, which belong to others (AppleDouble)."""


def take_whole(listing: Listing) -> None:
    """Open the `others` of a listing; pictures among them become candidates, what might be one becomes a fault."""
    stems = {os.path.splitext(candidate.path)[0] for candidate in listing.candidates}
    rest = []
    for other, verdict in zip(listing.others, in_threads(_verdict, listing.others), strict=True):
        if verdict == "picture":
            listing.candidates.append(other)
        elif not verdict or (verdict == "a video" and os.path.splitext(other.path)[0] in stems):
            rest.append(other)  # a live photo is a picture with a video beside it
        else:
            listing.faults.append(
                Fault(str(other), f"might be a picture and is not read: {verdict}", other.source.where)
            )
    listing.others = rest


def _verdict(candidate: Candidate) -> str:
    """ "picture", nothing for what is none, or the reason why it cannot be told."""
    name = os.path.basename(candidate.path).lower()
    suffix = os.path.splitext(name)[1]
    if name in LITTER or name.startswith("._") or suffix == ".lnk":
        return ""
    if suffix == ".icloud":
        return "a placeholder of iCloud, download the picture itself"
    if suffix in RAW_SUFFIXES:
        return "a raw photo, convert it"
    try:
        return _verdict_of_content(candidate.source, suffix_of(name))
    except OSError as error:
        return error.strerror or str(error)
    except ReadingError as error:
        return error.reason


def _verdict_of_content(source: Locator, suffix: str) -> str:
    head = source.head() if isinstance(source, FileLocator) else source.read_bytes()[:HEAD_BYTES]
    if not head:
        return "empty" if suffix == "(none)" else ""
    kind = what_it_is(head)
    if kind in ("", "a web page") and encoding_of(head) and head[:2] not in (b"P1", b"P2", b"P3"):
        return ""
    if kind not in ("", "HEIC", "AVIF", "JPEG XL"):
        return kind
    header(source.read_bytes())
    return "picture"
