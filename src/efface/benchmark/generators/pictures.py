"""What generators can be seen by: maps of embeddings, and sheets of restored pictures, which show forgotten images.

The pictures are those of seed 0 that the runs kept: first views of the first images of each set, not chosen for their
looks. A map holds no picture, so it may stand in the report.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from efface.benchmark.generators.models import new_generator
from efface.benchmark.results import BenchRow, EmbeddedGroup, EmbeddingMap, PictureSheet
from efface.benchmark.runs import PoolRun
from efface.corruptions import parse_corruption
from efface.evaluation.answers import view_batches
from efface.evaluation.results import SETS, SetName
from efface.files import replacing
from efface.randomness import key

if TYPE_CHECKING:
    from efface.benchmark.generators.reading import GeneratorReader

Pixels = npt.NDArray[np.uint8]
Model = Literal["true", "original", "unlearned"]
Group = tuple[Model, str, npt.NDArray[np.floating]]
"""Whose pictures, of which set, and their features `[images, dimension]`."""
FOLDER = "pictures"
MAPPED = 3
"""Methods that are mapped: those that the table has first."""
MOST_POINTS = 100
"""Images of a group in a map."""
PERPLEXITY = 20.0
FEWEST_POINTS = 12


def maps_of(reader: GeneratorReader, corruption: str, rows: Sequence[BenchRow]) -> list[EmbeddingMap]:
    """A t-SNE map for each of the first methods: true pictures, the original's and the unlearned model's outputs, seed 0.

    Source: van der Maaten and Hinton 2008, JMLR 9; scikit-learn's, perplexity 20 or less.
    """
    crops = reader.task.evaluation.crops_per_image
    truth = {
        name: features.reshape(-1, crops, features.shape[1]).mean(axis=1)
        for name, features in reader.truth.items()
        if name != "neutral"
    }
    maps = []
    for number, row in enumerate(rows):
        if row.place is None or row.place > MAPPED:
            continue
        groups: list[Group] = [("true", name, features) for name, features in truth.items()]
        sides: tuple[tuple[Model, PoolRun], ...] = (
            ("original", PoolRun("original", 0)),
            ("unlearned", _run(row)),
        )
        for model, run in sides:
            answers = reader.pool.outputs(run).answers
            groups += [(model, name, answers[corruption, name].image_features) for name in truth]
        embedded = embed([(*group[:2], group[2][:MOST_POINTS]) for group in groups])
        if embedded:
            maps.append(EmbeddingMap(row=number, groups=embedded))
    return maps


def embed(groups: Sequence[Group]) -> list[EmbeddedGroup]:
    """All groups in one map; none of too few images."""
    from sklearn.manifold import TSNE

    together = np.concatenate([features for _, _, features in groups]).astype(np.float64)
    if len(together) < FEWEST_POINTS:
        return []
    perplexity = min(PERPLEXITY, (len(together) - 1) / 3)
    seed = key("t-sne") % 2**32
    # one thread: the order of sums, and so the map, is the same everywhere
    made = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(together)
    ends = np.cumsum([len(features) for _, _, features in groups])[:-1]
    places = np.split(np.asarray(made, dtype=np.float64), ends)
    return [
        EmbeddedGroup(model=model, of_set=of_set, points=[(float(x), float(y)) for x, y in part])
        for (model, of_set, _), part in zip(groups, places, strict=True)
    ]


def sheets_of(
    reader: GeneratorReader, corruption: str, rows: Sequence[BenchRow], out: Path
) -> Iterator[PictureSheet]:
    """Write `out/pictures/...png` for each set: a line for each image, a cell for the truth, for what models see, and for
    each row of the table."""
    columns = [row for row in rows if row.measures]
    part = f"{reader.pool.folder.name}-{list(reader.corruptions).index(corruption) + 1}"
    for of_set in SETS:
        kept = [reader.pool.outputs(_run(row)).answers.get((corruption, of_set)) for row in columns]
        restored = [answers.pictures for answers in kept if answers is not None]
        if len(restored) < len(columns) or not len(restored[0]):
            continue
        true, seen = _true_pictures(reader, of_set, corruption, len(restored[0]))
        file = f"{FOLDER}/{part}-{of_set}.png"
        _write_sheet(out / file, [true, seen, *restored])
        names = (f"{row.place or ''}  {row.label}".strip() for row in columns)
        yield PictureSheet(
            of_set=of_set, file=file, columns=["image", "what a model sees", *names], images=len(true)
        )


def _true_pictures(
    reader: GeneratorReader, of_set: SetName, corruption: str, count: int
) -> tuple[Pixels, Pixels]:
    """The first views of the first `count` images, and what models see of them, uint8 `[count, 3, side, side]` each."""
    task = reader.task
    images = reader.data.measured(task)[of_set]
    images = images.subset(range(min(count, len(images))))
    hides, grid, side = parse_corruption(corruption), new_generator(task).grid, task.architecture.image_size
    true, seen = [], []
    for batch in view_batches(images, reader.data.pictures, side, task.evaluation):
        first = [place for place, visit in enumerate(batch.draws.visits) if visit == 0]
        condition = hides.apply(batch.images.float() / 255, grid, batch.draws).condition
        true.append(batch.images[first].numpy())
        seen.append((condition[first].clamp(0, 1) * 255).round().byte().numpy())
    return np.concatenate(true), np.concatenate(seen)


def _write_sheet(path: Path, columns: Sequence[Pixels]) -> None:
    """Columns of `[images, 3, H, W]` as one PNG picture, cell beside cell."""
    from PIL import Image

    lines = [np.concatenate(cells, axis=2) for cells in zip(*columns, strict=True)]
    sheet = np.concatenate(lines, axis=1).transpose(1, 2, 0)
    with replacing(path) as temporary:
        Image.fromarray(np.ascontiguousarray(sheet)).save(temporary, "PNG")


def _run(row: BenchRow) -> PoolRun:
    """The run of seed 0 that a row is about."""
    return PoolRun.unlearned(row.section, 0, 0) if row.kind == "method" else PoolRun(row.kind, 0)
