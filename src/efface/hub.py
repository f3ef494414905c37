"""Models on the Hugging Face hub: how one is named, and told from a path that is missing. Imports no torch."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import JsonValue

from efface.errors import InputError
from efface.files import no_such

HUB = "hub:"
"""Stands before the name of a model of the hub."""
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


class NothingThere(InputError):
    """At this path lies nothing that could be a model."""


def hub_name(path: str) -> str:
    """The repository, `owner/name`, that `path` names, at which nothing lies; raises `NothingThere` if it names none.

    A name without `hub:` is one only where the library's cache holds that repository: else it is a path that is missing.
    """
    name = path.removeprefix(HUB)
    if name != path:
        if HUB_NAME.fullmatch(name):
            return name
        raise NothingThere(f"{path}: a model of the hub is named {HUB}owner/name")
    if Path(path).exists():
        raise NothingThere(f"no model at {path}: it is neither a folder nor a file, but a pipe or a device")
    if not HUB_NAME.fullmatch(path):
        raise NothingThere(f"no model at {path}: {no_such(path)}")
    from huggingface_hub.constants import HF_HUB_CACHE

    if (Path(HF_HUB_CACHE) / f"models--{path.replace('/', '--')}").is_dir():
        return path
    raise NothingThere(
        f"no model at {path}: {no_such(path).rstrip('?.')}. If a model of the hub is meant: {HUB}{path}"
    )


def source_of(path: str) -> str:
    """`path` as the libraries take it: what lies here as it is, a model of the hub by its name alone."""
    return path if Path(path).exists() else hub_name(path)


def local_weights(path: str) -> Path:
    """Where the weights of a network built by code lie; raises `InputError` where nothing does, or for the hub."""
    if Path(path).exists():
        return Path(path)
    raise InputError(
        f"{HUB}{hub_name(path)}: weights of a network that code builds are read from a file or a folder; fetch them first"
    )


def commit_of(file: Path | None) -> str | None:
    """The commit of a hub repository's file, which the library's cache has in its path."""
    parts = file.parts if file else ()
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else None


def hub_facts(path: str, commit: str | None) -> dict[str, JsonValue]:
    """Where a model of the hub is from, for the record; nothing for one that lies here, whose path is private."""
    return {} if Path(path).exists() else {"hub": hub_name(path), "revision": commit}
