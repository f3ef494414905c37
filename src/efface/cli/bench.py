"""`efface bench`: tables of methods, for classifiers and for generators, and scores of memorisation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import JsonValue

import efface.cli.options as o
from efface.wording import counted

if TYPE_CHECKING:
    from efface.benchmark.config import BenchConfig
    from efface.benchmark.results import BenchResults

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
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1 or mps, with an engine that names no devices.")
]
Estimate = Annotated[
    bool, typer.Option("--estimate", help="Print what it would cost, from a few timed steps.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Run what is kept as failed for good a second time.")
]
Out = Annotated[
    Path | None, typer.Option(help="The folder of results; needed but with --estimate on this machine.")
]
Data = Annotated[
    str | None, typer.Option(help="The folder of the task's images, in the place of DATA in a file.")
]
Methods = Annotated[
    str | None, typer.Option(help="Names with commas between, or all. See: efface list methods.")
]
Setups = Annotated[
    str | None, typer.Option(help="With commas between: reuse-n-1, reuse-n-n, bootstrap, full.")
]


def classifiers(
    task: Annotated[
        str, typer.Argument(help="digits, faces-age, casia-surf, cifar10, folder:PATH, or a YAML file.")
    ],
    out: Out = None,
    data: Data = None,
    methods: Methods = None,
    models: Annotated[
        int | None, typer.Option(help="N: unlearned models of an experiment; twice as many are retrained.")
    ] = None,
    originals: Annotated[
        int | None, typer.Option(help="Experiments, each from another original: intervals are over them.")
    ] = None,
    setups: Setups = None,
    no_tuning: Annotated[bool, typer.Option("--no-tuning", help="Default settings only.")] = False,
    trials: Annotated[int | None, typer.Option(help="Settings tried of each method when tuning.")] = None,
    time_limit: Annotated[
        float | None, typer.Option(help="Share of a retraining at which unlearning is stopped, such as 0.2.")
    ] = None,
    engine: Engine = None,
    device: Device = None,
    seed: o.Seed = None,
    set_: o.Set = None,
    estimate: Estimate = False,
    retry_failed: RetryFailed = False,
    json_: o.Json = False,
) -> None:
    """Compare methods that make classifiers forget.

    Trains, retrains and unlearns many models of one task, and writes the table with its page,
    with default settings and with tuned ones. The same command continues what was interrupted.
    """
    from efface.benchmark.classifiers.task import ClassifierBench
    from efface.benchmark.config import read_bench
    from efface.errors import InputError

    if no_tuning and trials is not None:
        raise InputError("--no-tuning and --trials exclude each other; leave one of them out")
    values = _given(
        methods=_listed(methods),
        models=models,
        originals=originals,
        setups=_listed(setups),
        time_limit=time_limit,
        engine=engine,
        device=device,
        seed=seed,
    )
    if no_tuning:
        values["tuning"] = None
    overrides = [*(set_ or []), *([f"tuning.trials={trials}"] if trials is not None else [])]
    config = read_bench(ClassifierBench, task, values, overrides, data)
    _carry_out(config, out, estimate, retry_failed, json_)


def generators(
    config: Annotated[
        Path,
        typer.Argument(help="A YAML file: the task (images, model, training), methods, number of models."),
    ],
    out: Out = None,
    data: Data = None,
    methods: Methods = None,
    models: Annotated[
        int | None,
        typer.Option(
            help="N: seeds of each row, 2 or more. From 8 on there is a forgetting score, with 2N retrained."
        ),
    ] = None,
    setups: Setups = None,
    engine: Engine = None,
    device: Device = None,
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
    method; the table says how near each comes to retraining, and at what price. The same command continues what was
    interrupted, and with more methods or models adds to what is there.
    """
    from efface.benchmark.config import read_bench
    from efface.benchmark.generators.task import GeneratorBench

    values = _given(
        methods=_listed(methods),
        models=models,
        setups=_listed(setups),
        engine=engine,
        device=device,
        seed=seed,
    )
    settings = read_bench(GeneratorBench, config, values, set_ or [], data)
    _carry_out(settings, out, estimate, retry_failed, json_, with_pictures)


def memorisation(
    task: Annotated[
        str, typer.Argument(help="digits, faces-age, casia-surf, cifar10, folder:PATH, or a YAML file.")
    ],
    out: Annotated[
        Path,
        typer.Option(help="The folder of the models' files and of scores.npz, for memorised:COUNT@FILE."),
    ],
    data: Data = None,
    models: Annotated[
        int, typer.Option(help="Models to be trained; some hundreds for scores that can be trusted.")
    ] = 200,
    share: Annotated[
        float, typer.Option(help="Share of the training images that each model is trained on.")
    ] = 0.7,
    engine: Engine = None,
    device: Device = None,
    seed: o.Seed = None,
    set_: o.Set = None,
) -> None:
    """Score how much a training remembers each single image, from many trainings on parts of the images.

    The same command continues what was interrupted. Forget the images that are remembered most with
    --set task.images.forget=memorised:50@FOLDER/scores.npz.
    """
    from efface.benchmark.classifiers.task import ClassifierBench
    from efface.benchmark.config import read_bench
    from efface.benchmark.engines import engine_named
    from efface.benchmark.memorisation import SCORES, estimate
    from efface.errors import InputError
    from efface.progress import Progress

    config = read_bench(
        ClassifierBench, task, _given(engine=engine, device=device, seed=seed), set_ or [], data
    )
    if len(config.tasks) > 1:
        raise InputError("vary: scores are those of one task; leave it out")
    (chosen,) = config.tasks.values()
    with Progress.on_terminal().task("trainings", models, 0) as told:
        scored = estimate(
            chosen,  # type: ignore[arg-type]
            models,
            engine_named(config.engine, out / "jobs", config.device),
            out,
            share=share,
            seed=config.seed,
            each=lambda outcome: told.advance(1),
        )
    high = int((scored.low > 0).sum())
    o.say(f"{counted(len(scored.scores), 'image')}, {high} of them remembered beyond chance (95 %)")
    o.say(out / SCORES)


def _carry_out(
    config: BenchConfig,
    out: Path | None,
    estimate: bool,
    retry_failed: bool,
    as_json: bool,
    with_pictures: bool = False,
) -> None:
    """Price a benchmark or carry it out, and tell what came of it."""
    from efface.errors import InputError
    from efface.jobs import bench
    from efface.progress import Progress

    if estimate:
        cost = bench.estimate(config, out)
        if as_json:
            o.show(cost.as_dict())
        else:
            o.say(bench.in_words(cost))
        return
    if out is None:
        raise InputError("--out is needed: the folder in which results are written and runs are kept")
    done = bench.bench(
        config, out, Progress.on_terminal(), with_pictures=with_pictures, retry_failed=retry_failed
    )
    if as_json:
        o.show(done.results.as_dict())
        return
    _tell(done.results)
    names = ("report.html", "results.csv", "results.md", "results.json")
    for name in (*names, *(("pictures.html",) if with_pictures else ())):
        if (out / name).exists():
            o.say(out / name)


def _given(**values: JsonValue) -> dict[str, JsonValue]:
    return {name: value for name, value in values.items() if value is not None}


def _listed(text: str | None) -> JsonValue:
    """Names with commas between; `all` is said by that word alone."""
    if not text:
        return None
    names: list[JsonValue] = [part.strip() for part in text.split(",") if part.strip()]
    return "all" if names == ["all"] else names


def _tell(results: BenchResults) -> None:
    """The short table of each task on the terminal, and what must be said of it."""
    from rich.table import Table

    from efface.progress import PlainConsole
    from efface.reports.bench_tables import (
        cell,
        has_verdicts,
        levels_in_words,
        remark_line,
        strength,
        title_of,
    )

    console = PlainConsole()
    console.width = max(console.width, WIDTH)
    columns = [measure for measure in results.measures if measure.brief]
    for name, task in results.tasks.items():
        for found in task.tables:
            console.print(title_of(name, found))
            for text in strength(found):
                console.print(text, soft_wrap=True)
            there = [one for one in columns if any(one.name in row.measures for row in found.rows)]
            table = Table(title=None, box=None, pad_edge=False)
            for heading in ("row", "settings"):
                table.add_column(heading, no_wrap=heading == "settings")
            verdicts = has_verdicts(found)
            if verdicts:
                table.add_column("is it gone?")
            for measure in there:
                table.add_column(measure.brief, justify="right", no_wrap=True)
            for row in found.rows:
                cells = [cell(row, measure) for measure in there]
                gone = [row.verdict.title if row.verdict else ""] * verdicts
                # bounds of the first column alone: a terminal is narrow, and the files have them all
                told = [
                    value + (f" ({ends})" if ends and not n else "") for n, (value, ends) in enumerate(cells)
                ]
                table.add_row(row.label, row.settings, *gone, *told)
            console.print(table)
            for text in filter(None, (remark_line(row) for row in found.rows if row.kind == "method")):
                console.print(text, soft_wrap=True)
        for text in levels_in_words(task):
            console.print(text, soft_wrap=True)
