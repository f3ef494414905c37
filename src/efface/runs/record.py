"""The record: what was done and measured, for machines, bound by digests. See docs/record.md for its schema.

It carries no picture, no path and no plain image id: images appear as HMAC-SHA256 of their id under the
run's key, so that only who holds the key can tell whether an image was among them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from efface.errors import InputError
from efface.files import sha256_of_bytes, sha256_of_file, sha256_of_json, write_json, write_text
from efface.images.items import ImageSet

SCHEMA = "efface-record/1"
RESULT_FILES = (
    "results.json",
    "results.csv",
    "per_image.csv",
    "worst.json",
    "probes.json",
    "requirements.json",
    "path",
)
"""Files that results consist of, and the folder of further models, as far as a run has them."""
ONLY_WHERE_ASKED = ("probes", "requirements", "substitute")
"""Fields of which most jobs know nothing: null in their records."""

CLAIMS = {
    "exact": "The delivered model was trained from fresh weights without the forgotten images.",
    "empirical": (
        "The delivered model was changed so that it behaves differently on the forgotten images. What it "
        "still holds of them was measured with the tests below and not proven to be nothing."
    ),
}

COMPARED = "Models were compared; none was changed, and nothing is claimed of how they came about."
FROM_SCRATCH = "A model trained from fresh weights on the images named below and on no others."


def write_record(run: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Write `RUN/record.json` with its schema and its own digest; returns what was written."""
    record: dict[str, Any] = {"schema": SCHEMA, **dict.fromkeys(ONLY_WHERE_ASKED), **values}
    record["digest"] = digest_of(record)
    write_json(run / "record.json", record)
    return record


def read_record(run: Path) -> dict[str, Any]:
    """The record of a run; raises `InputError` where it is missing, damaged or of another schema."""
    path = run / "record.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{run} holds no record.json: it is no run, or not finished") from None
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else None
        raise InputError(f"{path} has schema {found!r}; this version reads {SCHEMA!r}")
    return record


def digest_of(record: Mapping[str, Any]) -> str:
    """sha256 of the record's canonical JSON without its `digest`."""
    return sha256_of_json({name: value for name, value in record.items() if name != "digest"})


def write_manifest(run: Path, name: str, images: ImageSet, key: bytes) -> dict[str, Any]:
    """Write `RUN/manifests/NAME.jsonl`, one keyed id a line in the set's order; returns count and digest."""
    text = manifest_text(images, key)
    write_text(run / "manifests" / f"{name}.jsonl", text)
    return {"count": len(images), "sha256": sha256_of_bytes(text.encode())}


def manifest_text(images: ImageSet, key: bytes) -> str:
    """One JSON line with the keyed id of each image, in the set's order."""
    return "".join(json.dumps({"id": id_}) + "\n" for id_ in images.keyed_ids(key))


def file_digests(folder: Path, names: Iterable[str] | None = None) -> dict[str, str]:
    """sha256 of files of a folder by relative name: all of them, or those named that exist, folders with all in them."""
    return {name: sha256_of_file(folder / name) for name in _files(folder, names)}


def unlisted_results(run: Path, record: Mapping[str, Any]) -> list[str]:
    """Result files that lie in the run's folder and are not bound by its record."""
    listed = (record.get("results") or {}).get("files", {})
    return [name for name in _files(run, RESULT_FILES) if name not in listed]


def _files(folder: Path, names: Iterable[str] | None) -> list[str]:
    places = [folder] if names is None else [folder / name for name in names]
    files = [file for place in places for file in (sorted(place.rglob("*")) if place.is_dir() else [place])]
    return [str(file.relative_to(folder)) for file in files if file.is_file()]
