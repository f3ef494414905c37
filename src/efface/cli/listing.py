"""`efface list`"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from efface.cli import options as o


class What(StrEnum):
    methods = "methods"
    corruptions = "corruptions"
    generators = "generators"
    metrics = "metrics"
    settings = "settings"


def list_(
    what: Annotated[What, typer.Argument(help="What to list.")] = What.methods,
    json_: o.Json = False,
) -> None:
    """List methods, generators, corruptions, metrics or settings."""
    rows = _ROWS[what]()
    if json_:
        o.show(rows)
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        rest = "  ".join(
            str(value) for name, value in row.items() if name != "name" and value not in ("", None)
        )
        typer.echo(f"{row['name']:<{width}}  {rest}")


def _methods() -> list[dict[str, Any]]:
    from efface.methods import methods

    return [
        {
            "name": name,
            "summary": method.summary,
            "trains": f"[{method.trains}]",
            "retain": "" if method.needs_retain else "[needs no retain images]",
            "claim": f"[{method.claim}]",
        }
        for name, method in methods().items()
    ]


def _corruptions() -> list[dict[str, Any]]:
    from efface.corruptions import CORRUPTIONS

    return [{"name": kind.usage, "summary": kind.summary} for kind in CORRUPTIONS.values()]


def _generators() -> list[dict[str, Any]]:
    from efface.generators.registry import FAMILIES

    return [{"name": family.name, "summary": family.summary} for family in FAMILIES.values()]


def _metrics() -> list[dict[str, Any]]:
    from efface.metrics.catalogue import METRICS

    return [
        {
            "name": name,
            "summary": info.summary,
            "unit": f"[{info.unit}]",
            "better": f"[{info.better}; on forget images: as retrained]",
        }
        for name, info in METRICS.items()
    ]


def _settings() -> list[dict[str, Any]]:
    from pydantic import BaseModel

    from efface.methods import methods
    from efface.runs.config import RunConfig

    rows: list[dict[str, Any]] = []

    def describe(model: type[BaseModel], prefix: str) -> None:
        # what all models have comes before what single families read
        inherited = [name for name in model.model_fields if name not in model.__annotations__]
        for name in [*(name for name in model.model_fields if name not in inherited), *inherited]:
            field = model.model_fields[name]
            kind = field.annotation
            if name == "method":
                rows.append(
                    {"name": "method.name", "default": "= encoder-noise", "summary": "how to unlearn"}
                )
                for method_name, method in methods().items():
                    describe(method, f"method[{method_name}].")
            elif isinstance(kind, type) and issubclass(kind, BaseModel):
                describe(kind, f"{prefix}{name}.")
            else:
                default = "" if field.is_required() else f"= {field.get_default(call_default_factory=True)!r}"
                rows.append({"name": prefix + name, "default": default, "summary": field.description or ""})

    describe(RunConfig, "")
    return rows


_ROWS = {
    What.methods: _methods,
    What.corruptions: _corruptions,
    What.generators: _generators,
    What.metrics: _metrics,
    What.settings: _settings,
}
