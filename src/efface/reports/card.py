"""The card of a saved model, `RUN/model/README.md`: what it was made from and how, and what was measured, on one page.

It goes wherever the model goes, so it holds less than record and page: no picture, no name of a file, an image, a class
or a person, no place, and no words of the operator. It names the record by its digest, which the seal binds together
with the card; `efface verify` makes the card anew from the record and the figures and compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from efface.files import write_text
from efface.reports.facts import CLASSES
from efface.reports.tables import DIRECTIONS, Cell, SetTable, set_tables
from efface.runs.limits import limits_of
from efface.runs.record import ClassifierTraining, ModelFacts, Record
from efface.runs.results import Finding, Findings, Row, find, read_findings, read_results
from efface.runs.words import corruption_words, metric_named
from efface.wording import counted, figure, interval, moment, name_of, printable, sentence, setting

NAME = "model/README.md"
TASKS = {"generator": "image-to-image", "classifier": "image-classification"}
OPERATORS = "the stages that the operator names in the record"
ABSENT, NOTHING = "not measured", Findings()


def write_cards(run: Path, record: Record) -> None:
    """Write the cards of all models that the run made."""
    for name, text in cards_of(run, record).items():
        write_text(run / name, text)


def cards_of(run: Path, record: Record) -> dict[str, str]:
    """The cards of a run's models by their names in it: of the one in `model/`, and of those that were kept on the way."""
    cards = {NAME: card_of(run, record)} if record.model.after else {}
    return cards | {further_name(name): further_card(record, name) for name in record.model.path}


def further_name(name: str) -> str:
    """Where the card of a further model lies in its run."""
    return f"path/{name}/README.md"


def further_card(record: Record, name: str) -> str:
    """The card of a model that a method kept on the way to the one that it delivered."""
    made = record.model.path[name]
    digests = [f"`{file}`: `{digest}`" for file, digest in made.files.items()]
    lines = [
        f"# {_title(record)}: on the way",
        f"**Claim level: {record.claim.level}**, of the run. This is not the model that it delivered, which lies in "
        f"`model/`: its method kept this one on the way, as `{name}`.",
        "## What it is",
        _list(_facts(record)),
        "## What was measured",
        "Figures of the delivered model stand in its own card. Of this one there are none but what probes say of it.",
        "## How it can be checked",
        f"`efface verify RUN` holds this card and these files against the run. Digests:\n\n"
        f"{_list([f'record: `{record.digest}`', f'weights: `{made.weights}`', *digests])}",
    ]
    return f"---\n{_metadata(record, ())}---\n\n" + "\n\n".join(lines) + "\n"


def card_of(run: Path, record: Record) -> str:
    """The card of the model that a run made, from its record and the figures beside it."""
    rows = read_results(run) if record.results else []
    return card_text(record, rows, read_findings(run) if record.probes else NOTHING)


def card_text(record: Record, rows: Sequence[Row] = (), findings: Findings = NOTHING) -> str:
    """The card of a model: facts for the hub, then the same for people."""
    lines = [
        f"# {_title(record)}",
        f"**Claim level: {record.claim.level}.** {record.claim.words}",
        *([f"Is it gone? {record.verdict.said}"] if record.verdict else []),
        *(_requirements(record)),
        "## What it is",
        _list(_facts(record)),
        *_measured(record, rows),
        *_probes(findings),
        "## What this does not show",
        _list(map(sentence, _limits(record, rows))),
        "## How it can be checked",
        _checked(record),
    ]
    return f"---\n{_metadata(record, rows)}---\n\n" + "\n\n".join(lines) + "\n"


def library(files: Iterable[str], layout: str | None = None) -> str:
    """The library that opens a saved model, told by its files and the layout that it was read in."""
    names = set(files)
    if names & {"model_index.json", "diffusion_pytorch_model.safetensors"}:
        return "diffusers"
    if "preprocessor_config.json" in names:
        return "transformers"
    return "timm" if layout == "timm" else "efface"


def _metadata(record: Record, rows: Sequence[Row]) -> str:
    """What the hub reads, as YAML. Each set has a name and a config of its own: figures of two are never merged."""
    from huggingface_hub import EvalResult, ModelCardData

    after = record.model.after
    assert after is not None
    kind = record.model_kind
    began = _base(record)
    base = began.description.hub if began else None
    results = []
    for row in rows:
        if row.model != "unlearned" or row.value is None:
            continue
        beside = {
            model: other.value
            for model in ("original", "retrained")
            if (other := find(rows, model, row.set, row.metric)) and other.value is not None
        }
        metric = metric_named(row.metric)
        results.append(
            EvalResult(
                task_type=TASKS[kind],
                dataset_type=f"{row.set}-set",
                dataset_name=f"{row.set} set ({counted(row.n, 'image')})",
                dataset_config=row.set,
                metric_type=row.metric,
                metric_name=metric.title if metric else row.metric,
                metric_value=row.value,
                metric_args={
                    "goal": DIRECTIONS.get(row.direction, row.direction),
                    "unit": row.unit,
                    **beside,
                },
            )
        )
    given: dict[str, Any] = {"base_model": base, "base_model_relation": "finetune"} if base else {}
    data = ModelCardData(
        model_name=_title(record),
        library_name=library(after.files, after.description.layout),
        pipeline_tag=TASKS[kind],
        tags=["efface", *(["machine-unlearning"] if record.method else [])],
        eval_results=results or None,
        **given,
    )
    return data.to_yaml() + "\n"


def _title(record: Record) -> str:
    what = "image classifier" if record.model_kind == "classifier" else "image generator"
    if record.method:
        return f"An {what} that was made to forget images"
    left_out = bool(record.images.count("forget") or record.images.earlier.requests)
    return f"An {what} that was trained " + ("without images to be forgotten" if left_out else "from scratch")


def _base(record: Record) -> ModelFacts | None:
    """The model whose weights were changed or trained on; None for fresh weights."""
    if record.claim.level == "exact":
        return None
    if record.claim.level == "exact from base" or record.model.before is None:
        return record.model.base
    return record.model.before


def _facts(record: Record) -> list[str]:
    after, before, method, work = record.model.after, record.model.before, record.method, record.training
    assert after is not None
    told = after.description
    kind = told.family or told.network or told.kind
    facts = [f"Model: {kind}, {told.parameters:,} parameters, {told.image_size} px"]
    told_of = {"Made to forget": before, "Trained on from": record.model.base}
    for what, model in told_of.items():
        if model:
            hub = model.description.hub
            where = f"`{hub}` of the hub, " if hub else "a model with "
            facts.append(f"{what}: {where}weights `{model.weights}`")
    if method:
        facts.append(f"Method: `{method.name}`, after {method.source}. {method.summary}")
        facts += [f"Its settings: {named}"] if (named := _named(method.settings)) else []
        facts += [f"Deviations from the source: {method.deviations}"]
    if work:
        trained = work.recipe if isinstance(work, ClassifierTraining) else work.settings
        facts.append(f"Trained: {counted(work.steps, 'step')}, {work.precision}. {_named(trained.as_dict())}")
    sets = [f"{facts_.count} {name}" for name, facts_ in record.images.sets.items()]
    facts.append(f"Images: {', '.join(sets)}")
    if told.kind == "classifier":
        facts.append(CLASSES)
    return facts


def _named(settings: dict[str, Any]) -> str:
    given = (f"{name_of(name)} {setting(value)}" for name, value in settings.items() if name != "corruption")
    return "; ".join(given)


def _measured(record: Record, rows: Sequence[Row]) -> list[str]:
    if not rows:
        return ["## What was measured", "Nothing: this model was trained, and not yet compared with another."]
    hidden = f" Corruption: {corruption_words(record.corruption)}." if record.corruption else ""
    goal = (
        "On forget images the goal is the retrained model's value, neither a lower nor a higher one."
        if record.retrained
        else "No retrained model was measured, so whether the goal was reached on forget images cannot be told."
    )
    tables = set_tables(rows, record.model_kind, proxy_retain=record.images.proxy_retain)
    return [
        "## What was measured",
        f"{goal}{hidden} Intervals in brackets, over images.",
        *map(_table, tables),
    ]


def _table(table: SetTable) -> str:
    head = f"### The {table.name} set\n\n{table.about} {sentence(table.conditions)}\n\n"
    lines = [
        [f"{line.title} ({line.unit})", *map(_value, line.cells), line.direction] for line in table.lines
    ]
    return head + _rows(["measure", *table.models, "goal"], lines)


def _value(cell: Cell) -> str:
    if cell.value is None:
        return ABSENT
    return f"{cell.value} ({cell.interval})" if cell.interval else cell.value


def _probes(findings: Findings) -> list[str]:
    mine = [finding for finding in findings.figures if finding.model == "unlearned"]
    if not mine:
        return []
    lines = [[f"`{found.figure}`", _found(found), _beside(found)] for found in mine]
    return ["### Probes", _rows(["figure", "this model", "reference"], lines)]


def _found(found: Finding) -> str:
    if found.value is None:
        return ABSENT
    bounds = interval(found.low, found.high, 4)
    return figure(found.value) + (f" ({bounds})" if bounds else "")


def _beside(found: Finding) -> str:
    if found.reference is None or found.reference_value is None:
        return "none"
    return f"{figure(found.reference_value)} ({found.reference})"


def _requirements(record: Record) -> list[str]:
    if not record.requirements:
        return []
    outcomes = [f"`{outcome.requirement}`: {outcome.state}" for outcome in record.requirements.outcomes]
    return ["Requirements that were set before the run:", _list(outcomes)]


def _limits(record: Record, rows: Sequence[Row]) -> list[str]:
    """The record's limits, without the words in which the operator named the reference's stages."""
    reference = record.retrained
    if reference and reference.stages != "all":
        reference = reference.model_copy(update={"stages": OPERATORS})
    return limits_of(record.model_copy(update={"retrained": reference}), rows)


def _checked(record: Record) -> str:
    after = record.model.after
    assert after is not None
    files = [f"`{name}`: `{digest}`" for name, digest in after.files.items()]
    digests = [
        f"record: `{record.digest}`",
        f"settings: `{record.config.sha256}`",
        f"weights: `{after.weights}`",
        *files,
    ]
    efface = record.environment.efface
    return (
        f"Written by efface {efface} on {moment(record.finished)} beside the run's `record.json`, which says "
        "more. Whoever has the run holds all of it against this card with `efface verify RUN`; whoever has the model alone "
        f"can compute the sha256 of its files. Digests:\n\n{_list(digests)}"
    )


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {printable(line)}" for line in lines)


def _rows(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [
        [printable(cell).replace("|", "\\|") for cell in row] for row in (head, ["---"] * len(head), *lines)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
