"""What a benchmark of generators can be seen by: restored pictures in a separate file, and maps of embeddings.

The pictures are those of seed 0 that the runs kept: first views of the first images of each set, not chosen for their
looks. A map holds no picture, so it may stand in the report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from efface.benchmark.generators.task import GeneratorTask
from efface.benchmark.runs import Run
from efface.evaluation.results import SETS, SetName
from efface.files import canonical_json, write_text
from efface.randomness import key
from efface.reports.canvas import LOOKS, Chart
from efface.reports.charts import Cloud, cloud_chart
from efface.reports.generator_benchmark_tables import numbered
from efface.reports.pictures import SMALLEST, data_url

if TYPE_CHECKING:
    from efface.benchmark.generators.data import GeneratorData
    from efface.benchmark.generators.runs import GeneratorOutputs
    from efface.benchmark.pool import Pool

Results = Mapping[str, Any]
Pools = Mapping[str, "Pool[GeneratorOutputs]"]
Pixels = npt.NDArray[np.uint8]
MAPPED = 3
"""Methods that are mapped: those that the table has first."""
MOST_POINTS = 100
"""Images of a group in a map."""
PERPLEXITY = 20.0
FEWEST_POINTS = 12


@dataclass(frozen=True)
class Shown:
    """Restored pictures of one set: a row for each image, a data URL for each column. small: of fewer pixels than shown."""

    set_name: SetName
    columns: list[str]
    rows: list[list[str]]
    small: bool


def write_generator_pictures(results: Results, folder: Path, pools: Pools) -> Path:
    """Write `folder/pictures.html`, one page that needs nothing beside it; returns its path. It shows forgotten images."""
    from efface.reports.page import render

    path = Path(folder) / "pictures.html"
    parts = [
        {"task": task, "corruption": corruption, "tables": list(_tables(found, corruption, pools[task]))}
        for task, found in results["tasks"].items()
        for corruption in found["corruptions"]
    ]
    several = len(results["tasks"]) > 1
    write_text(path, render("generator_benchmark_pictures.html", parts=parts, several=several))
    return path


def maps(
    results: Results, task: str, corruption: str, pool: Pool[GeneratorOutputs], name: str
) -> list[Chart]:
    """A t-SNE map for each of the first methods: true pictures, the original's and the unlearned model's outputs, seed 0.

    Source: van der Maaten and Hinton 2008, JMLR 9; scikit-learn's, perplexity 20 or less.
    """
    charts = []
    truth = _true_features(results, task, pool)
    for place, row in numbered(results["tasks"][task]["rows"]):
        if place and int(place) <= MAPPED:
            sides = {"original": Run("original", 0), "unlearned": Run.unlearned(row["section"], 0, 0)}
            groups = [("true", of_set, features) for of_set, features in truth.items()]
            for who, run in sides.items():
                answers = pool.outputs(run).answers
                groups += [(who, of_set, answers[corruption, of_set].image_features) for of_set in truth]
            clouds = embedded([(*group[:2], group[2][:MOST_POINTS]) for group in groups])
            if clouds:
                title = f"{place}  {row['label']}"
                charts.append(
                    cloud_chart(
                        f"{name}-{place}", f"{title}: a t-SNE map of the features of pictures", clouds
                    )
                )
    return charts


def embedded(groups: Sequence[tuple[str, str, npt.NDArray[Any]]]) -> list[Cloud]:
    """Groups of features (whose pictures, of which set, `[images, dimension]`) in one map; none of too few images."""
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
        Cloud(f"{who}, {of_set}", [(x, y) for x, y in part], LOOKS[who], filled=of_set == "forget")
        for (who, of_set, _), part in zip(groups, places, strict=True)
    ]


def _true_features(
    results: Results, task: str, pool: Pool[GeneratorOutputs]
) -> dict[SetName, npt.NDArray[np.float32]]:
    """The mean features over the views of each true picture, of forget and retain images, `[images, dimension]`."""
    from efface.benchmark.generators.table import Table

    settings = _settings(pool)
    facts = (results["models"], results["scored"], results["statistic"], results["confidence"])
    table = Table(settings, _data(settings), pool, *facts, int(results["config"]["seed"]))
    crops = settings.evaluation.crops_per_image
    return {
        name: table.truth[name].reshape(-1, crops, table.truth[name].shape[1]).mean(axis=1)
        for name in ("forget", "retain")
        if name in table.truth
    }


def _tables(found: Mapping[str, Any], corruption: str, pool: Pool[GeneratorOutputs]) -> Iterator[Shown]:
    """A row for each image, a column for the truth, for what models see, and for each row of the table."""
    settings = _settings(pool)
    data = _data(settings)
    columns = [
        (f"{place}  {row['label']}".strip(), _run(row))
        for place, row in numbered(found["rows"])
        if row["measures"]
    ]
    for set_name in SETS:
        kept = [pool.outputs(run).answers.get((corruption, set_name)) for _, run in columns]
        restored = [answers.pictures for answers in kept if answers is not None]
        if len(restored) < len(columns) or not len(restored[0]):
            continue
        true, seen = _true_pictures(settings, data, set_name, corruption, len(restored[0]))
        labels = ["image", "what a model sees", *(label for label, _ in columns)]
        rows = [[_data_url(column[n]) for column in (true, seen, *restored)] for n in range(len(true))]
        yield Shown(set_name, labels, rows, true.shape[-1] < SMALLEST)


def _true_pictures(
    settings: GeneratorTask, data: GeneratorData, set_name: SetName, corruption: str, count: int
) -> tuple[Pixels, Pixels]:
    """The first views of the first `count` images, and what is shown of them, uint8 `[count, 3, side, side]` each."""
    from efface.benchmark.generators.runs import new_generator
    from efface.corruptions import parse_corruption
    from efface.evaluation.answers import view_batches

    images = data.measured(settings)[set_name]
    images = images.subset(range(min(count, len(images))))
    asked, generator, side = (
        parse_corruption(corruption),
        new_generator(settings),
        settings.architecture.image_size,
    )
    true, seen = [], []
    for batch in view_batches(images, data.pictures, side, settings.evaluation):
        first = [place for place, visit in enumerate(batch.draws.visits) if visit == 0]
        condition = asked.apply(batch.images.float() / 255, generator.grid, batch.draws).condition
        true.append(batch.images[first].numpy())
        seen.append((condition[first].clamp(0, 1) * 255).round().byte().numpy())
    return np.concatenate(true), np.concatenate(seen)


def _run(row: Mapping[str, Any]) -> Run:
    return Run.unlearned(row["section"], 0, 0) if row["kind"] == "method" else Run(row["kind"], 0)


def _settings(pool: Pool[GeneratorOutputs]) -> GeneratorTask:
    return cast("GeneratorTask", pool.task)


def _data(settings: GeneratorTask) -> GeneratorData:
    from efface.benchmark.generators.data import open_images

    return open_images(canonical_json(settings.with_whole_path().as_dict()))


def _data_url(pixels: Pixels) -> str:
    """A PNG picture of `[3, H, W]`."""
    from PIL import Image

    return data_url(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))))
