"""Opening and making pixel diffusion models: released `.pth` files, efface's own folders, diffusers' `UNet2DModel`.

A saved folder holds the network as diffusers saves it, and its noise schedules in `schedule.json`; beside a
`UNet2DModel` there is also a `scheduler_config.json` for other tools.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel

from efface.errors import Faults, InputError
from efface.generators.palette.architecture import PaletteArchitecture
from efface.generators.palette.generator import PaletteGenerator
from efface.generators.palette.network import PaletteUNet
from efface.generators.palette.released import load_released
from efface.generators.palette.risks import risks
from efface.generators.palette.schedule import SCHEDULE, SCHEDULER, Schedules, of_scheduler
from efface.generators.palette.split import check_unet2d
from efface.generators.settings import Architecture, ModelSettings
from efface.model_files import beside, commit_of, hub_facts
from efface.settings import read_json
from efface.weights import pretrained

__all__ = ["load", "new", "risks"]

TEST_OPTIONS = ("test_noise_steps", "test_noise_start", "test_noise_end")


def load(settings: ModelSettings) -> PaletteGenerator:
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PaletteUNet(**architecture.network_config())
    return PaletteGenerator(network.eval(), origin={"kind": "new", "seed": seed})


def _load_folder(settings: ModelSettings) -> PaletteGenerator:
    subfolder = "unet/" if _beside(settings, "model_index.json") else ""
    config = _beside(settings, f"{subfolder}config.json")
    kind = _class_named(settings, config)
    origin: dict[str, Any] = {"kind": "diffusers" if kind is UNet2DModel else "efface"}
    origin |= hub_facts(settings.path, commit_of(config))
    given = {"sample_size": settings.palette_image_size, "dropout": settings.unet_dropout}
    if kind is PaletteUNet:
        given["channels_per_head"] = settings.channels_per_head
    changes: Any = {name: value for name, value in given.items() if value is not None}
    network = pretrained(
        kind,
        settings.path,
        settings.revision,
        subfolder=subfolder.rstrip("/") or None,
        low_cpu_mem_usage=False,
        torch_dtype=torch.float32,
        **changes,
    )
    if kind is UNet2DModel:
        check_unet2d(network, settings.path)
    _check_size(network, settings.path)
    schedules, origin["schedule"] = _schedules(settings, discrete=kind is UNet2DModel)
    warnings = []
    if origin["schedule"] == "assumed":
        warnings.append(
            f"{settings.path} holds neither {SCHEDULE} nor {SCHEDULER}: the noise schedule is assumed to be "
            f"{schedules.train.steps} steps, beta {schedules.train.start:g} to {schedules.train.end:g}"
        )
    return PaletteGenerator(network.eval(), schedules, origin, tuple(warnings))


def _schedules(settings: ModelSettings, discrete: bool) -> tuple[Schedules, str]:
    """The schedules beside the network with the settings in their place, and where they are from."""
    source = "file"
    if path := _beside(settings, SCHEDULE):
        schedules = Schedules.read(read_json(path), where=str(path))
    elif path := _beside(settings, SCHEDULER, f"scheduler/{SCHEDULER}"):
        schedules = of_scheduler(read_json(path))
    else:
        schedules, source = (of_scheduler({}) if discrete else Schedules()), "assumed"
    changed = schedules.changed(settings)
    if discrete:
        if given := [name for name in TEST_OPTIONS if getattr(settings, name) is not None]:
            raise InputError(
                f"model.{given[0]}: a network with discrete timesteps is tested on the schedule of its training"
            )
        changed = Schedules(train=changed.train, test=changed.train)
    return changed, "settings" if changed != schedules else source


def _class_named(settings: ModelSettings, config: Path | None) -> Any:
    if config is None:
        raise InputError(f"{settings.path} is not a model folder: it has no config.json")
    name = read_json(config).get("_class_name")
    if name == "PaletteUNet":
        return PaletteUNet
    if name == "UNet2DModel":
        return UNet2DModel
    raise InputError(
        f"{settings.path} holds a '{name}'; a pixel diffusion model is one of: PaletteUNet, UNet2DModel"
    )


def _check_size(network: Any, where: str) -> None:
    size = network.config["sample_size"]
    sides = {size} if isinstance(size, int) else set(size or ())
    multipliers = network.config.get("channel_multipliers") or network.config.get("block_out_channels")
    halved = len(multipliers) - 1
    with Faults(f"the network in {where} cannot be used") as faults:
        if not sides:
            faults.add("it does not say the size of its pictures: give --set model.palette_image_size=N")
        elif len(sides) > 1:
            faults.add(f"its pictures are {size}: only square ones are supported")
        elif max(sides) % 2**halved:
            faults.add(
                f"pictures of {max(sides)} px cannot be halved {halved} times: model.palette_image_size"
            )


def _beside(settings: ModelSettings, *names: str) -> Path | None:
    return beside(settings.path, settings.revision, *names)
