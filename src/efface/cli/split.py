"""`efface split`"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import efface.cli.options as o


class DataSetName(StrEnum):
    imagenet = "imagenet"
    places = "places"


class Rule(StrEnum):
    released = "released"
    random = "random"
    listed = "listed"


FULL_NAMES = {DataSetName.imagenet: "imagenet-1k", DataSetName.places: "places-365"}


def split(
    data_set: Annotated[DataSetName, typer.Argument(help="Which data set.")],
    root: Annotated[Path, typer.Argument(help="Where it lies, in folders or in its official archives.")],
    out: Annotated[Path, typer.Option(help="The split file to write.")] = Path("split.json"),
    rule: Annotated[
        Rule,
        typer.Option(
            help="Classes of the authors' released lists, drawn with the seed, or of your own lists."
        ),
    ] = Rule.released,
    seed: Annotated[int, typer.Option(help="Seed of the drawn classes and images.")] = 0,
    classes: Annotated[
        int | None,
        typer.Option(help="With --rule random: classes to forget, and as many to keep (100; Places 50)."),
    ] = None,
    forget_classes: Annotated[
        Path | None, typer.Option(help="With --rule listed: a file with a class a line.")
    ] = None,
    retain_classes: Annotated[
        Path | None, typer.Option(help="With --rule listed: a file with a class a line.")
    ] = None,
    neutral_classes: Annotated[
        int | None, typer.Option(help="Other classes that are only looked at (as many as are forgotten).")
    ] = None,
    per_class: Annotated[
        int | None, typer.Option(help="Training images of each class, at most (100; Places 5,000).")
    ] = None,
    val_per_class: Annotated[
        int | None, typer.Option(help="Validation images of each class (50; Places 100); 0 for none.")
    ] = None,
    proxy_per_class: Annotated[
        int | None,
        typer.Option(help="Training images of each other class as proxy retain set (as many as retain has)."),
    ] = None,
    val_labels: Annotated[
        Path | None, typer.Option(help="File name and class of each validation image, where no kit tells it.")
    ] = None,
    subset: Annotated[
        bool, typer.Option("--subset", help="Only some of the data set's classes are there on purpose.")
    ] = False,
    json_: o.Json = False,
) -> None:
    """Choose images of ImageNet-1K or Places365 as the paper does.

    Writes a split file, whose parts are then named as split:FILE#forget, #retain, #proxy, #forget-val,
    #retain-val and #neutral.
    """
    from efface.images.split_making import SplitSettings, make_split
    from efface.images.splits import write_split
    from efface.progress import Progress

    paths = {
        "forget_classes": forget_classes,
        "retain_classes": retain_classes,
        "val_labels": val_labels,
    }
    settings = SplitSettings.read(
        {
            "data_set": FULL_NAMES[data_set],
            "root": str(root),
            "rule": rule.value,
            "seed": seed,
            "classes": classes,
            "neutral_classes": neutral_classes,
            "per_class": per_class,
            "val_per_class": val_per_class,
            "proxy_per_class": proxy_per_class,
            "subset": subset,
            **{name: path and str(path) for name, path in paths.items()},
        },
        where="the split",
    )
    progress = Progress.on_terminal()
    try:
        values = make_split(settings, progress.count)
    finally:
        progress.finish_counting()
    written = write_split(out, values)
    if json_:
        o.show({name: written[name] for name in ("data_set", "rule", "images_per_class", "counts", "sha256")})
        return
    o.say(f"{out}: {written['data_set']}, rule {rule.value}, seed {seed}, sha256 {written['sha256'][:12]}…")
    for role, count in written["counts"].items():
        if count["images"]:
            o.say(f"  split:{out}#{role}  {count['images']:,} images of {count['classes']:,} classes")
