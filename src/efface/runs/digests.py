"""Digests of what lies in a run's folder: manifests of image sets, model files and result files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from efface.files import sha256_of_bytes, sha256_of_file, write_text
from efface.images.items import ImageSet
from efface.runs.record import Record, SetFacts

RESULT_FILES = (
    "results.json",
    "results.csv",
    "per_image.csv",
    "worst.json",
    "probes.json",
    "verdict.json",
    "requirements.json",
    "path",
)
"""Files that results consist of, and the folder of further models, as far as a run has them."""


def write_manifest(run: Path, name: str, images: ImageSet, key: bytes) -> SetFacts:
    """Write `RUN/manifests/NAME.jsonl`, one keyed id a line in the set's order; returns count and digest."""
    write_text(run / "manifests" / f"{name}.jsonl", manifest_text(images, key))
    return manifest_facts(images, key)


def manifest_facts(images: ImageSet, key: bytes) -> SetFacts:
    """Count and digest of the manifest that a set would have."""
    return SetFacts(count=len(images), sha256=sha256_of_bytes(manifest_text(images, key).encode()))


def manifest_text(images: ImageSet, key: bytes) -> str:
    """One JSON line with the keyed id of each image, in the set's order."""
    return "".join(json.dumps({"id": id_}) + "\n" for id_ in images.keyed_ids(key))


def file_digests(folder: Path, names: Iterable[str] | None = None) -> dict[str, str]:
    """sha256 of files of a folder by relative name: all of them, or those named that exist, folders with all in them."""
    return {name: sha256_of_file(folder / name) for name in _files(folder, names)}


def unlisted_results(run: Path, record: Record) -> list[str]:
    """Result files that lie in the run's folder and are not bound by its record."""
    listed = record.results.files if record.results else {}
    return [name for name in _files(run, RESULT_FILES) if name not in listed]


def _files(folder: Path, names: Iterable[str] | None) -> list[str]:
    places = [folder] if names is None else [folder / name for name in names]
    files = [file for place in places for file in (sorted(place.rglob("*")) if place.is_dir() else [place])]
    return [str(file.relative_to(folder)) for file in files if file.is_file()]
