"""Names of people and classes, kept out of what a run hands out: a keyed word stands in their place.

Labels, folders and file names often are people's names. In result files a class appears as a keyed word, made as keyed ids
are; who holds `run.key` can make it again from the name (`keyed_word`). Texts of the operator lose the words that name
forgotten images.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePath

from pydantic import JsonValue

from efface.images.items import ImageSet

KEYED = re.compile(r"name-[0-9a-f]{16}")
WORD = re.compile(r"[^\W\d_]{3,}")
NO_NAMES = frozenset(
    (
        "all", "and", "any", "bmp", "bundled", "copies", "copy", "data", "dataset", "dcim", "dsc", "file",
        "files", "folder", "for", "forget", "forgotten", "from", "gif", "glob", "image", "images", "img",
        "jpeg", "jpg", "label", "labels", "list", "lists", "media", "neutral", "not", "photo", "photos", "pic",
        "picture", "pictures", "png", "remove", "removed", "request", "requests", "retain", "scan",
        "screenshot", "set", "sets", "sha", "split", "test", "that", "the", "this", "tmp", "train", "val",
        "var", "webp", "with",
    )
)  # fmt: skip
"""Words of folders and files that name nobody."""
WITHOUT_NAMES = ("sha256", "split", "bundled", "hub")
TAIL = 3
"""Last parts of a path that are taken for names."""
PLACES = ("path", "images", "forget", "retain", "neutral", "proxy_retain", "validation", "without")
TEXTS = ("substitute", "retrained_stages")
REQUEST = ("id", "regime", "reason")


def keyed_word(key: bytes, name: str, what: str = "name") -> str:
    """What stands in the place of a name: the same for the same name and key, and telling nothing without the key."""
    return f"{what}-{hmac.digest(key, f'{what} {name}'.encode('utf-8', 'surrogatepass'), hashlib.sha256).hex()[:16]}"


def names_of(selectors: Iterable[str], images: ImageSet) -> frozenset[str]:
    """The words, in small letters, that name forgotten images: in labels, file names, and the selectors that chose them."""
    texts = list(images.classes)
    texts += [PurePath(path).stem for path in images.paths]
    for selector in selectors:
        kind, _, rest = selector.partition(":")
        if kind not in WITHOUT_NAMES:
            texts += PurePath(rest or selector).parts[-TAIL:]
    return frozenset(word.casefold() for text in texts for word in WORD.findall(text)) - NO_NAMES


def without_names(text: str, names: frozenset[str], key: bytes) -> str:
    """The text with a keyed word in the place of each of `names`."""

    def replaced(match: re.Match[str]) -> str:
        word = match[0].casefold()
        return keyed_word(key, word) if word in names else match[0]

    return WORD.sub(replaced, text)


def in_the_words_of(recorded: str, text: str, key: bytes) -> str:
    """The text with a keyed word in the place of each word of which `recorded` holds the keyed one."""
    words = {word.casefold() for word in WORD.findall(text)}
    keyed = set(KEYED.findall(recorded))
    return without_names(text, frozenset(word for word in words if keyed_word(key, word) in keyed), key)


def config_without_names(values: dict[str, JsonValue], key: bytes) -> dict[str, JsonValue]:
    """A config's plain values with keyed words in the place of all places, selectors, and texts of the operator."""
    return {name: _without(value, key, name in (*PLACES, *TEXTS)) for name, value in values.items()}


def purged_places(values: JsonValue, at: str = "") -> Iterator[str]:
    """Where in a config a keyed word stands in the place of what was there, such as `images.forget`."""
    if isinstance(values, dict):
        for name, value in values.items():
            yield from purged_places(value, f"{at}.{name}" if at else name)
    elif isinstance(values, list):
        for value in values:
            yield from purged_places(value, at)
    elif isinstance(values, str) and KEYED.fullmatch(values):
        yield at


def _without(values: JsonValue, key: bytes, inside: bool) -> JsonValue:
    if isinstance(values, dict):
        # a section of image sets has settings beside its selectors; one of texts has nothing else
        return {name: _without(value, key, name in (*PLACES, *REQUEST)) for name, value in values.items()}
    if isinstance(values, list):
        return [_without(value, key, inside) for value in values]
    if isinstance(values, str) and (inside or "/" in values or "\\" in values):
        return values if KEYED.fullmatch(values) else keyed_word(key, values)
    return values
