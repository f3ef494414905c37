"""Opening and making pixel diffusion models: released `.pth` files, and folders of diffusers' `UNet2DModel`.

A saved folder holds the network as diffusers saves it, and its noise schedules in `schedule.json`; beside a network
that is told timesteps there is also a `scheduler_config.json` for other tools.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from pydantic import JsonValue

from efface.documents import read_object
from efface.errors import InputError
from efface.generators.families import Architecture
from efface.generators.palette.family import PaletteArchitecture, PaletteSettings
from efface.generators.palette.generator import PaletteGenerator
from efface.generators.palette.network import check_network, fresh
from efface.generators.palette.released import load_released
from efface.generators.palette.risks import risks
from efface.generators.palette.schedule import SCHEDULE, SCHEDULER, Schedules, of_scheduler
from efface.hub import commit_of, hub_facts
from efface.model_files import beside
from efface.weights import pretrained, stored_facts

__all__ = ["load", "new", "risks"]


def load(settings: PaletteSettings) -> PaletteGenerator:
    """A pixel diffusion model from wherever `settings` says; raises `InputError` naming all faults."""
    path = Path(settings.path)
    if path.is_file():
        schedules = Schedules().changed(settings)
        network, origin, warnings = load_released(path, settings, schedules)
        return PaletteGenerator(network, schedules, origin, warnings)
    return _load_folder(settings)


def new(architecture: Architecture, seed: int) -> PaletteGenerator:
    """An untrained model with the release's noise schedules. The global random state is left as it was."""
    assert isinstance(architecture, PaletteArchitecture)
    return PaletteGenerator(fresh(architecture.network_config(), seed), origin={"kind": "new", "seed": seed})


def _load_folder(settings: PaletteSettings) -> PaletteGenerator:
    subfolder = "unet/" if _beside(settings, "model_index.json") else ""
    config = _beside(settings, f"{subfolder}config.json")
    _check_class(settings.path, config)
    given = {
        "sample_size": settings.image_size,
        "attention_head_dim": settings.channels_per_head,
        "dropout": settings.dropout,
    }
    changes: Any = {name: value for name, value in given.items() if value is not None}
    network = pretrained(
        UNet2DModel,
        settings.path,
        settings.revision,
        settings.variant,
        subfolder=subfolder.rstrip("/") or None,
        low_cpu_mem_usage=False,
        torch_dtype=torch.float32,
        **changes,
    )
    check_network(network, settings.path)
    schedules, source = _schedules(settings)
    origin: dict[str, JsonValue] = {"kind": "diffusers" if schedules.level == "timestep" else "efface"}
    origin |= {
        **hub_facts(settings.path, commit_of(config)),
        **stored_facts(settings.path, settings.variant, [subfolder]),
        "schedule": source,
    }
    warnings = []
    if source == "assumed":
        warnings.append(
            f"{settings.path} holds neither {SCHEDULE} nor {SCHEDULER}: the noise schedule is assumed to be "
            f"{schedules.train.steps} steps, beta {schedules.train.start:g} to {schedules.train.end:g}"
        )
    return PaletteGenerator(network.eval(), schedules, origin, tuple(warnings))


def _schedules(settings: PaletteSettings) -> tuple[Schedules, str]:
    """The schedules beside the network with the settings in their place, and where they are from."""
    source = "file"
    if path := _beside(settings, SCHEDULE):
        schedules = Schedules.read(read_object(path), where=str(path))
    elif path := _beside(settings, SCHEDULER, f"scheduler/{SCHEDULER}"):
        schedules = of_scheduler(read_object(path))
    else:
        schedules, source = of_scheduler({}), "assumed"
    changed = schedules.changed(settings)
    return changed, "settings" if changed != schedules else source


def _check_class(where: str, config: Path | None) -> None:
    """Raise `InputError` unless this is the `config.json` of a `UNet2DModel`."""
    if config is None:
        raise InputError(f"{where} is not a model folder: it has no config.json")
    name = read_object(config).get("_class_name")
    if name != UNet2DModel.__name__:
        raise InputError(f"{where} holds a '{name}'; a pixel diffusion model is a {UNet2DModel.__name__}")


def _beside(settings: PaletteSettings, *names: str) -> Path | None:
    return beside(settings.path, settings.revision, *names)
