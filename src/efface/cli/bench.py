"""`efface bench classifiers` and `efface bench generators`: two verbs, for the tables have little in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import efface.cli.options as o

WIDTH = 110
"""Signs that the table takes; a narrower terminal breaks its lines."""
HELP = "Compare methods on one footing. Many models are trained, retrained and unlearned for it."

Engine = Annotated[
    str | None,
    typer.Option(
        help="in-line, processes:WORKERS, processes:6@cuda:0 (six on a GPU), ray:ADDRESS or slurm:PARTITION; "
        "ray:ADDRESS@gpu=0.25 and slurm:PARTITION@gpu=1 with GPUs."
    ),
]
Estimate = Annotated[
    bool, typer.Option("--estimate", help="Print what it would cost, from a few timed steps.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try runs again that are kept as failed for good.")
]


def classifiers(
    task: Annotated[
        str, typer.Argument(help="digits, faces-age, casia-surf, cifar10, folder:PATH, or a YAML file.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The folder of results; needed but with --estimate on this machine.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="The folder of the task's images; digits need none.")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Names with commas between, or all. See: efface list methods.")
    ] = None,
    models: Annotated[
        int | None, typer.Option(help="N: unlearned models of an experiment; twice as many are retrained.")
    ] = None,
    originals: Annotated[
        int | None, typer.Option(help="Experiments, each from another original: intervals are over them.")
    ] = None,
    setups: Annotated[
        str | None, typer.Option(help="With commas between: reuse-n-1, reuse-n-n, bootstrap, full.")
    ] = None,
    no_tuning: Annotated[bool, typer.Option("--no-tuning", help="Settings as published only.")] = False,
    trials: Annotated[int | None, typer.Option(help="Settings tried of each method when tuning.")] = None,
    time_limit: Annotated[
        float | None, typer.Option(help="Share of a retraining at which unlearning is stopped, such as 0.2.")
    ] = None,
    engine: Engine = None,
    seed: o.Seed = None,
    set_: o.Set = None,
    estimate: Estimate = False,
    retry_failed: RetryFailed = False,
    json_: o.Json = False,
) -> None:
    """Compare methods that make classifiers forget.

    Trains, retrains and unlearns many models of one task, and writes the table with its page, with settings as
    published and tuned. The same command continues what was interrupted.
    """
    from efface.benchmark.benchmark import bench_config
    from efface.errors import InputError
    from efface.jobs.benchmark import bench as run
    from efface.jobs.benchmark import estimate as price
    from efface.jobs.benchmark import in_words
    from efface.progress import Progress

    if no_tuning and trials is not None:
        raise InputError("--no-tuning and --trials exclude each other; leave one of them out")
    given: dict[str, Any] = {
        "methods": _listed(methods) if methods and methods.strip() != "all" else methods,
        "models": models,
        "originals": originals,
        "setups": _listed(setups) if setups else None,
        "time_limit": time_limit,
        "engine": engine,
        "seed": seed,
    }
    values = {name: value for name, value in given.items() if value is not None}
    overrides = [*(set_ or []), *([f"tuning.trials={trials}"] if trials is not None else [])]
    if no_tuning:
        values["tuning"] = None
    config = bench_config(task, values, overrides, data)
    if estimate:
        cost = price(config, out)
        if json_:
            o.show(cost)
        else:
            typer.echo(in_words(cost))
        return
    if out is None:
        raise InputError("--out is needed: the folder in which results are written and runs are kept")
    result = run(config, out, Progress.on_terminal(), retry_failed=retry_failed)
    if json_:
        o.show(result.results)
        return
    _tell(result.results)
    for name in ("report.html", "results.csv", "results.md", "results.json"):
        typer.echo(out / name)


def generators(
    config: Annotated[
        Path,
        typer.Argument(help="A YAML file: the task (images, model, training), methods, number of models."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The folder of results; needed but with --estimate.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="The folder of packed images, in the place of DATA in the file.")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Names with commas between, in place of the file's. See: efface list methods."),
    ] = None,
    models: Annotated[
        int | None,
        typer.Option(
            help="N: seeds of each row, 2 or more. From 8 on there is a forgetting score, with 2N retrained."
        ),
    ] = None,
    engine: Engine = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of resampling and of scores; models have the seeds from 0 on."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Any setting of the file, for example task.training.steps=500. May be repeated."
        ),
    ] = None,
    estimate: Estimate = False,
    with_pictures: Annotated[
        bool,
        typer.Option(
            "--with-pictures",
            help="Also write pictures.html, a separate file that shows forgotten images, and maps of embeddings.",
        ),
    ] = False,
    retry_failed: RetryFailed = False,
    json_: o.Json = False,
) -> None:
    """Compare methods that make generators forget.

    For each seed a model is trained, another one retrained without the forget images, and one unlearned by each
    method; the table shows how near each comes to retraining, and at what price. The same command continues what was
    interrupted, and with more methods or models adds to what is there.
    """
    from efface.benchmark.engines import engine_named
    from efface.benchmark.generators.benchmark import generator_bench_config
    from efface.errors import InputError
    from efface.jobs.generator_benchmark import bench_generators, in_words
    from efface.jobs.generator_benchmark import estimate as price
    from efface.progress import Progress

    given: dict[str, Any] = {
        "methods": _listed(methods) if methods else None,
        "models": models,
        "engine": engine,
        "seed": seed,
    }
    values = {name: value for name, value in given.items() if value is not None}
    settings = generator_bench_config(config, values, set_ or [], data)
    if estimate:
        cost = price(settings)
        if json_:
            o.show(cost.as_dict())
        else:
            typer.echo(in_words(cost, engine_named(settings.engine)))
        return
    if out is None:
        raise InputError("--out is needed: the folder in which results are written and runs are kept")
    progress = Progress.on_terminal()
    result = bench_generators(settings, out, progress, with_pictures=with_pictures, retry_failed=retry_failed)
    if json_:
        o.show(result.results)
        return
    _tell_generators(result.results)
    names = ("report.html", "results.csv", "results.md", "results.json")
    for name in (*names, *(("pictures.html",) if with_pictures else ())):
        typer.echo(out / name)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _tell(results: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from efface.reports.benchmark_tables import remarks, shown, value_of

    columns = {
        "official": "F official",
        "robust": "F robust",
        "u_lira": "U-LiRA",
        "retain_ratio": "retain",
        "test_ratio": "test",
        "time_share": "time",
    }
    table = Table(title=None, box=None, pad_edge=False)
    for name in ("method", "settings"):
        table.add_column(name, no_wrap=name == "settings")
    for name in columns.values():
        table.add_column(name, justify="right", no_wrap=True)
    for row in results["rows"]:
        # bounds of the first column alone: a terminal is narrow, and the files have them all
        cells = [shown(row, "official"), *(value_of(row, name) for name in list(columns)[1:])]
        table.add_row(row["label"], row["settings"], *cells)
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, WIDTH)
    console.print(table)
    for row in results["rows"]:
        if text := remarks(row):
            console.print(f"{row['label']} ({row['settings']}): {text}", soft_wrap=True)
    for mode, found in results["levels"].items():
        console.print(f"F {mode}: ceiling {found['ceiling']:.4f}, floor {found['floor']:.4f}")


def _tell_generators(results: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from efface.reports.generator_benchmark_tables import cell, numbered, remarks, strength

    columns = {
        "robust": "F robust",
        "forget_gap": "forget gap",
        "detectability": "detectable",
        "relearning_few": "relearning",
        "retain_cost": "retain",
        "seconds_share": "time",
    }
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, WIDTH)
    for task, found in results["tasks"].items():
        for corruption in found["corruptions"]:
            console.print(f"{task}: {corruption}")
            console.print(strength(found, corruption), soft_wrap=True)
            table = Table(title=None, box=None, pad_edge=False)
            table.add_column("row")
            for name in columns.values():
                table.add_column(name, justify="right", no_wrap=True)
            for _, row in numbered(found["rows"]):
                # bounds of the gap alone: a terminal is narrow, and the files have them all
                cells = {name: cell(row, name, found, corruption) for name in columns}
                shown = [value for value, _ in cells.values()]
                if ends := cells["forget_gap"][1]:
                    shown[1] += f" ({ends})"
                table.add_row(row["label"], *shown)
            console.print(table)
        for text in remarks(found):
            console.print(text, soft_wrap=True)
