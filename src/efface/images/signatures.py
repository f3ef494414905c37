"""What a file is by its first bytes: whether it is text, and what to call that which is no picture that can be read."""

from __future__ import annotations

HEAD_BYTES = 1 << 16
"""How much of a file is looked at."""

BRANDS = {
    "HEIC": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
    "AVIF": (b"avif", b"avis"),
    "a raw photo (Canon CR3)": (b"crx ",),
}
"""Of the boxes of ISO 14496-12 that begin with `ftyp`; all others are videos."""
JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
STARTS = (
    (0, b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, the picture itself was not fetched: git lfs pull"),
    (0, b"/annex/objects/", "a git-annex pointer, the picture itself was not fetched: git annex get"),
    (0, b"FUJIFILMCCD-RAW", "a raw photo (Fujifilm)"), (0, b"IIRO", "a raw photo (Olympus)"),
    (0, b"IIRS", "a raw photo (Olympus)"), (0, b"MMOR", "a raw photo (Olympus)"),
    (0, b"IIU\0", "a raw photo (Panasonic)"), (0, b"\0MRM", "a raw photo (Minolta)"),
    (0, b"FOVb", "a raw photo (Sigma)"), (8, b"CR\2\0", "a raw photo (Canon CR2)"),
    (0, b"8BPS", "a Photoshop file"), (0, b"gimp xcf", "a GIMP file"), (0, b"%PDF", "a PDF"),
    (0, b"%!PS", "PostScript"), (0, b"v/1\1", "an OpenEXR picture"), (0, b"#?RADIANCE", "a Radiance picture"),
    (128, b"DICM", "a DICOM file"), (0, b"SIMPLE  =", "a FITS file"), (0, b"icns", "an icon"),
    (0, b"\0\0\1\0", "an icon"), (0, b"DDS ", "a DDS texture"), (0, b"AT&TFORM", "a DjVu file"),
    (0, b"II\xbc", "a JPEG XR picture"), (0, b"PK\3\4", "a ZIP archive (or a spreadsheet)"),
    (0, b"PK\5\6", "an empty ZIP archive"), (0, b"\x1f\x8b", "compressed with gzip"),
    (0, b"BZh", "compressed with bzip2"), (0, b"\xfd7zXZ", "compressed with xz"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd"), (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf", "a 7z archive"), (257, b"ustar", "a tar archive"), (0, b"PAR1", "a parquet file"),
    (0, b"\x93NUMPY", "a NumPy array"), (0, b"\x89HDF", "an HDF5 file"), (0, b"SQLite format 3", "a database"),
    (0, b"\x1aE\xdf\xa3", "a video"), (8, b"AVI ", "a video"), (0, b"\0\0\1\xba", "a video"),
    (0, b"bplist00", "a property list or a placeholder of iCloud"), (0, b"\xd0\xcf\x11\xe0", "an old Office file"),
)  # fmt: skip
RAW_SUFFIXES = (
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".k25", ".kdc", ".mef", ".mos", ".mrw", ".nef",
    ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
)  # fmt: skip
"""Of photos as the camera's sensor gave them. Many are TIFF files that begin with a small preview."""
CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))


def what_it_is(head: bytes) -> str:
    """A file's kind in words, or nothing where its first bytes do not tell, as with most pictures that can be read."""
    if head[4:8] == b"ftyp":
        brand, others = head[8:12], head[16 : int.from_bytes(head[:4])]
        if brand in (b"mif1", b"msf1") and b"avif" in others:
            return "AVIF"
        return next((name for name, brands in BRANDS.items() if brand in brands), "a video")
    if head.startswith(JPEG_XL):
        return "JPEG XL"
    for place, start, name in STARTS:
        if head[place : place + len(start)] == start:
            return name
    begin = head[:4096].lstrip().lower()
    if encoding_of(begin) and begin.startswith(b"<"):
        return "a drawing (SVG)" if b"<svg" in begin else "a web page" if b"<html" in begin else ""
    return ""


def encoding_of(head: bytes) -> str | None:
    """How text that begins with `head` is written: "utf-8", "utf-16", "utf-16-le" or "utf-16-be"; None for no text.

    Without a byte-order mark, text of two bytes a character is known by zeros in every second place. Bytes that are no
    UTF-8 may be names in an older encoding; other control characters than line breaks and tabs are in no text.
    """
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if _plain(head):
        return "utf-8"
    for name, first, second in (("utf-16-le", head[0::2], head[1::2]), ("utf-16-be", head[1::2], head[0::2])):
        if _plain(first) and 2 * second.count(0) > len(second):
            return name
    return None


def _plain(text: bytes) -> bool:
    return text.translate(None, CONTROLS) == text
