"""Options that several verbs share, and how they, a config file and `--set` become one config.

An option stands for the setting of its name, or for the one that `KEYS` says.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

SELECTOR = (
    "a folder, an image, a .txt list of paths or sha256, a .csv/.jsonl manifest, glob:PATTERN, label:NAME, "
    "sha256:HEX, split:FILE#ROLE, or bundled:NAME"
)

Images = Annotated[
    str | None,
    typer.Option(
        help="All images that the model was trained on: a folder, a .csv/.jsonl manifest, a .parquet file, "
        "hub:owner/name, split:FILE, or bundled. The other sets are then chosen within it."
    ),
]
Forget = Annotated[list[str] | None, typer.Option(help=f"What to forget: {SELECTOR}. May be repeated.")]
Retain = Annotated[
    list[str] | None, typer.Option(help="What to keep, said likewise. With --images: everything else.")
]
Neutral = Annotated[
    list[str] | None, typer.Option(help="Images held out of training, only evaluated, said likewise.")
]
ProxyRetain = Annotated[
    list[str] | None,
    typer.Option(help="Images of the same kind, where the real retain images may not be used."),
]
Duplicates = Annotated[
    str | None,
    typer.Option(
        help="Copies of forget images among the retain images: stop (default), forget them too, or ignore."
    ),
]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read, and record how many.")
]
Corruption = Annotated[
    str | None,
    typer.Option(help="What is hidden from the model, for example centre:0.5. See: efface list corruptions."),
]
Retrained = Annotated[
    str | None, typer.Option(help="A model trained without the forget images: the reference.")
]
Method = Annotated[str | None, typer.Option(help="How to unlearn. See: efface list methods.")]
Seed = Annotated[int | None, typer.Option(help="Seed of every draw of this job.")]
Budget = Annotated[
    str | None,
    typer.Option(
        help="Bound on training: 500steps, 90s, 10m or 1.5h. For a classifier a time, or 20%, a share of retraining's."
    ),
]
Extractor = Annotated[
    str | None,
    typer.Option(
        help="Features for distances: built-in, inception:FILE, clip:FOLDER_OR_ID, dinov2:FOLDER_OR_ID."
    ),
]
Probe = Annotated[
    list[str] | None,
    typer.Option(
        "--probe",
        help="A question to the unlearned generator: a name, all, or cheap (those without training). See: efface list "
        "probes. May be repeated.",
    ),
]
Require = Annotated[
    list[str] | None,
    typer.Option(
        "--require",
        help="A threshold set before the run: retain-error<=1.02x, detectability<=0.05. May be repeated; exit code 6 if "
        "one is not met or cannot be measured.",
    ),
]
Substitute = Annotated[
    str | None,
    typer.Option(
        help="Without --retrained: what you declare to stand in its place, in your words; it is recorded."
    ),
]
Config = Annotated[Path | None, typer.Option("--config", help="A YAML file with any of the settings.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting, for example method.alpha=0.3. See: efface list settings."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
KeepWorkingFiles = Annotated[
    bool,
    typer.Option("--keep-working-files", help="Keep caches and checkpoints, which hold forgotten images."),
]
WithPictures = Annotated[
    bool,
    typer.Option(
        "--with-pictures", help="Also write pictures.html, a separate file that shows forgotten images."
    ),
]


OF_IMAGES = ("images", "forget", "retain", "neutral", "proxy_retain", "duplicates", "skip_unreadable")
KEYS = {
    "model": "model.path",
    "method": "method.name",
    "extractor": "evaluation.extractor",
    "probe": "probes",
    "size": "architecture.size",
    **{name: f"images.{name}" for name in OF_IMAGES},
}
"""The settings for which options stand that are not called as they are."""
NO_SETTINGS = ("out", "run", "config", "set_", "json_")


def values_of(context: typer.Context, keys: Mapping[str, str] = KEYS) -> dict[str, Any]:
    """The plain config values of a verb that was called: its config file, its options, then `--set`; later wins."""
    from efface.runs.config import written_out
    from efface.settings import read_yaml, with_overrides

    given = context.params
    values = written_out(read_yaml(given["config"])) if given["config"] else {}
    for name, value in given.items():
        if name in NO_SETTINGS or value is None or value is False or value in ([], ()):
            continue
        *sections, last = keys.get(name, name).split(".")
        place = values
        for section in sections:
            inner = place.get(section)
            place[section] = inner if isinstance(inner, dict) else {}
            place = place[section]
        place[last] = value
    return with_overrides(written_out(values), given["set_"] or [])


def show(value: Any) -> None:
    """Print JSON for machines on standard output."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
