"""Opening and making pixel diffusion models: released `.pth` files, efface's own folders, diffusers' `UNet2DModel`.

A saved folder holds the network as diffusers saves it, and its noise schedules in `schedule.json`; beside a
`UNet2DModel` there is also a `scheduler_config.json` for other tools.
"""

from __future__ import annotations

import json
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
from efface.weights import UNREADABLE, check_fit, quiet, why_unreadable

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
    local = Path(settings.path).is_dir()
    subfolder = "unet" if _beside(settings, "model_index.json") else ""
    kind = _class_name(settings, subfolder)
    origin: dict[str, Any] = {"kind": "diffusers" if kind is UNet2DModel else "efface"}
    if not local:
        origin["hub"] = settings.path
        origin["revision"] = _commit(
            _beside(settings, "config.json" if not subfolder else "unet/config.json")
        )
    changes = {"sample_size": settings.palette_image_size, "dropout": settings.unet_dropout}
    if kind is PaletteUNet:
        changes["channels_per_head"] = settings.channels_per_head
    options: Any = {key: value for key, value in changes.items() if value is not None}
    try:
        with quiet():
            network, report = _from_pretrained(
                kind,
                settings.path,
                subfolder=subfolder or None,
                revision=settings.revision,
                local_files_only=local,
                **options,
            )
    except UNREADABLE as error:
        raise InputError(f"the model at {settings.path} cannot be read: {why_unreadable(error)}") from None
    check_fit(settings.path, report["missing_keys"], report["unexpected_keys"], report["mismatched_keys"])
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
        schedules = Schedules.read(_json(path), where=str(path))
    elif path := _beside(settings, SCHEDULER) or _beside(settings, f"scheduler/{SCHEDULER}"):
        schedules = of_scheduler(_json(path))
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


def _class_name(settings: ModelSettings, subfolder: str) -> type[PaletteUNet] | type[UNet2DModel]:
    path = _beside(settings, f"{subfolder}/config.json" if subfolder else "config.json")
    if path is None:
        raise InputError(f"{settings.path} is not a model folder: it has no config.json")
    name = _json(path).get("_class_name")
    kinds: dict[Any, Any] = {"PaletteUNet": PaletteUNet, "UNet2DModel": UNet2DModel}
    if name not in kinds:
        raise InputError(
            f"{settings.path} holds a '{name}'; a pixel diffusion model is one of: {', '.join(kinds)}"
        )
    chosen: type[PaletteUNet] | type[UNet2DModel] = kinds[name]
    return chosen


def _from_pretrained(kind: Any, path: str, **options: Any) -> tuple[Any, dict[str, Any]]:
    network, report = kind.from_pretrained(
        path,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        low_cpu_mem_usage=False,
        torch_dtype=torch.float32,
        **options,
    )
    return network, report


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


def _beside(settings: ModelSettings, name: str) -> Path | None:
    """A file of the model's folder or hub repository, if it is there."""
    if Path(settings.path).is_dir():
        path = Path(settings.path) / name
        return path if path.is_file() else None
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(settings.path, name, revision=settings.revision))
    except (OSError, ValueError):
        return None


def _commit(path: Path | None) -> str | None:
    """The commit of a hub repository's file, which the library's cache has in its path."""
    parts = path.parts if path else ()
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else None


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no settings")
    return values
