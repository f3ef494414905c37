"""`efface list`"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

import efface.cli.options as o

if TYPE_CHECKING:
    from pydantic import BaseModel


class What(StrEnum):
    methods = "methods"
    corruptions = "corruptions"
    generators = "generators"
    classifiers = "classifiers"
    metrics = "metrics"
    extractors = "extractors"
    probes = "probes"
    settings = "settings"


def list_(
    what: Annotated[What, typer.Argument(help="What to list.")] = What.methods,
    json_: o.Json = False,
) -> None:
    """List methods, generators, classifiers, corruptions, metrics, extractors, probes or settings."""
    rows = _ROWS[what]()
    if json_:
        o.show(rows)
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        rest = "  ".join(
            str(value) for name, value in row.items() if name != "name" and value not in ("", None)
        )
        o.say(f"{row['name']:<{width}}  {rest}")


def _methods() -> list[dict[str, Any]]:
    from efface.methods import CLASSIFIER_METHODS, GENERATOR_METHODS

    of_generators = [
        {
            "name": name,
            "kind": "generator",
            "summary": method.summary,
            "trains": f"[{method.trains}]",
            "retain": "" if method.needs_retain else "[needs no retain images]",
            "claim": f"[{method.claim}]",
        }
        for name, method in GENERATOR_METHODS.items()
    ]
    of_classifiers = [
        {
            "name": name,
            "kind": "classifier",
            "summary": method.summary,
            "validation": "[needs validation images]" if method.needs_validation else "",
            "claim": f"[{method.claim}]",
        }
        for name, method in CLASSIFIER_METHODS.items()
    ]
    return [*of_generators, *of_classifiers]


def _corruptions() -> list[dict[str, Any]]:
    from efface.corruptions import CORRUPTIONS

    return [{"name": kind.usage, "summary": kind.summary} for kind in CORRUPTIONS.values()]


def _generators() -> list[dict[str, Any]]:
    from efface.generators.registry import FAMILIES

    return [{"name": family.name, "summary": family.summary} for family in FAMILIES.values()]


def _classifiers() -> list[dict[str, Any]]:
    return [
        {
            "name": "resnet18",
            "summary": "ResNet-18, with the stem of ImageNet or, for small pictures, of CIFAR",
        },
        {
            "name": "small-conv",
            "summary": "three convolutions with batch normalisation, for pictures of 8 to 32 px",
        },
        {"name": "mlp", "summary": "two hidden layers, without batch normalisation"},
        {
            "name": "any other",
            "summary": "a ...ForImageClassification of transformers, a folder of timm, a ResNet's file, or your code",
        },
    ]


def _metrics() -> list[dict[str, Any]]:
    from efface.metrics.catalogue import METRICS

    return [
        {
            "name": name,
            "kind": metric.of,
            "summary": metric.summary,
            "unit": f"[{metric.unit}]",
            "better": f"[{metric.better}]"
            if "retrained" in metric.requires
            else f"[{metric.better}; on forget images: as retrained]"
            if metric.better
            else "[as retrained]",
        }
        for name, metric in METRICS.items()
    ]


def _extractors() -> list[dict[str, Any]]:
    from efface.metrics.extractors import EXTRACTORS

    return [{"name": one.usage, "summary": one.summary} for one in EXTRACTORS.values()]


def _probes() -> list[dict[str, Any]]:
    from efface.probes.registry import PROBES

    return [
        {
            "name": name,
            "summary": probe.question,
            "figures": " ".join(f"[of {kind}s: {', '.join(names)}]" for kind, names in probe.figures.items()),
            "cost": f"[costs {probe.cost}]",
            "needs": "[needs a retrained model]" if probe.needs_retrained else "",
        }
        for name, probe in PROBES.items()
    ]


def _settings() -> list[dict[str, Any]]:
    """The settings of a run on either kind of model; those that are alike for both stand there once."""
    from efface.methods import CLASSIFIER_METHODS, GENERATOR_METHODS
    from efface.runs.unlearn_config import ClassifierRunConfig, RunConfig

    of_generators = _described(RunConfig, "", GENERATOR_METHODS, "encoder-noise")
    of_classifiers = _described(ClassifierRunConfig, "", CLASSIFIER_METHODS, "fine-tune")
    return [
        *({**row, "kind": "" if row in of_classifiers else "[generator]"} for row in of_generators),
        *({**row, "kind": "[classifier]"} for row in of_classifiers if row not in of_generators),
    ]


def _described(
    model: type[BaseModel], prefix: str, methods: Mapping[str, type[BaseModel]], default_method: str
) -> list[dict[str, Any]]:
    from efface.probes.registry import PROBES

    rows: list[dict[str, Any]] = []
    # what all models have comes before what single families read
    inherited = [name for name in model.model_fields if name not in model.__annotations__]
    for name in [*(name for name in model.model_fields if name not in inherited), *inherited]:
        field = model.model_fields[name]
        kind = field.annotation
        if name == "method":
            rows.append(
                {"name": "method.name", "default": f"= {default_method}", "summary": "how to unlearn"}
            )
            for method_name, method in methods.items():
                rows += _described(method, f"method[{method_name}].", {}, "")
        elif name == "probes":
            rows.append({"name": "probes", "default": "= ()", "summary": field.description or ""})
            for probe_name, probe in PROBES.items():
                rows += _described(probe, f"probes[{probe_name}].", {}, "")
        elif section := _section(kind):
            rows += _described(section, f"{prefix}{name}.", methods, default_method)
        else:
            default = "" if field.is_required() else f"= {field.get_default(call_default_factory=True)!r}"
            rows.append({"name": prefix + name, "default": default, "summary": field.description or ""})
    return rows


def _section(kind: Any) -> type[BaseModel] | None:
    from pydantic import BaseModel

    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


_ROWS = {
    What.methods: _methods,
    What.corruptions: _corruptions,
    What.generators: _generators,
    What.classifiers: _classifiers,
    What.metrics: _metrics,
    What.extractors: _extractors,
    What.probes: _probes,
    What.settings: _settings,
}
