"""What a pipeline of diffusers holds beside its networks, and writing both as a folder or as low-rank factors alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import diffusers
from pydantic import Field, JsonValue

from efface.documents import read_object
from efface.errors import InputError
from efface.files import write_json
from efface.generators.latent.factors import (
    factors,
    has_factors,
    plain_weights,
    save_factors,
    without_factors,
)
from efface.generators.latent.family import NAME
from efface.generators.latent.folder import INDEX, PIPELINES
from efface.generators.latent.network import LatentNetwork
from efface.settings import Settings
from efface.weights import quiet

USE = "efface.json"
"""How the model was used, beside the pipeline: diffusers has no place for the prompt."""
DELTA = "config.json"
ADAPTER_FOLDER = "adapter"
SCHEDULE: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
"""The noise schedule of Stable Diffusion."""


class Use(Settings):
    """How a model is used, as saved beside it."""

    prompt: str = Field("", description="what the text encoder is told")
    guidance_scale: float = Field(1.0, description="how much more the prompt counts than none")


class Delta(Settings):
    """The `config.json` of low-rank factors that were saved alone."""

    efface_delta: Literal["latent-inpainting"]
    base: str = Field(description="folder or hub repository of the model that they are for")
    revision: str | None = Field(None, description="its revision on the hub")
    base_weights: str = Field(description="digest of its weights")
    use: Use = Field(default_factory=Use, description="how both are used")


@dataclass(frozen=True)
class PipelineSettings:
    """What a pipeline holds beside its networks, and how it is used.

    scheduler: the whole `scheduler_config.json`; tokenizers: transformers' own, one for each text encoder.
    zeros_for_none: as in `Parts`.
    base: where the weights lie to which low-rank factors may be added later; never printed or recorded.
    """

    scheduler: dict[str, Any]
    tokenizers: list[Any] = field(default_factory=list)
    zeros_for_none: bool = False
    prompt: str = ""
    guidance_scale: float = 1.0
    lora_rank: int | None = None
    lora_alpha: float | None = None
    train_adapter: bool = False
    origin: dict[str, JsonValue] = field(default_factory=dict)
    base: dict[str, JsonValue] | None = None

    @property
    def use(self) -> Use:
        """How the model is used, as saved beside it."""
        return Use(prompt=self.prompt, guidance_scale=self.guidance_scale)


def save_pipeline(network: LatentNetwork, pipeline: PipelineSettings, kind: str, folder: Path) -> None:
    """Write a folder that `load` opens, and diffusers: low-rank factors merged, and beside it as well.

    kind: one of `PIPELINES`. Where the model has no text encoder, diffusers wants to be told: `text_encoder=None,
    tokenizer=None`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if has_factors(network):
        if factors(network.unet):
            save_factors(network.unet, folder / ADAPTER_FOLDER)
        merged = plain_weights(network)
        network = without_factors(network)
        network.load_state_dict(merged, assign=True)
    is_xl = network.text_encoder_2 is not None
    parts = {"unet": network.unet, "vae": network.vae, "text_encoder": None, "tokenizer": None}
    for number, encoder, tokenizer in zip(
        ("", "_2"), network.text_encoders, pipeline.tokenizers, strict=False
    ):
        parts |= {f"text_encoder{number}": encoder, f"tokenizer{number}": tokenizer}
    index: dict[str, Any] = {
        "_class_name": PIPELINES[kind][is_xl],
        "_diffusers_version": diffusers.__version__,
    }
    with quiet():
        for name, part in parts.items():
            index[name] = [None, None]
            if part is not None:
                library = type(part).__module__.split(".", 1)[0]
                index[name] = [library, type(part).__name__]
                part.save_pretrained(folder / name)
                _forget_origin(folder / name)
    index["scheduler"] = ["diffusers", pipeline.scheduler.get("_class_name", SCHEDULE["_class_name"])]
    write_json(folder / "scheduler" / "scheduler_config.json", pipeline.scheduler)
    write_json(folder / USE, pipeline.use.as_dict())
    index |= {name: [None, None] for name in ("feature_extractor", "image_encoder")}
    if is_xl:
        index["force_zeros_for_empty_prompt"] = pipeline.zeros_for_none
    else:
        index |= {"safety_checker": [None, None], "requires_safety_checker": False}
    write_json(folder / INDEX, index)


def save_delta(network: LatentNetwork, pipeline: PipelineSettings, folder: Path) -> None:
    """Write the low-rank factors alone, with the name of the model that they are for; raises `InputError`."""
    if not has_factors(network) or pipeline.base is None:
        raise InputError(
            "only low-rank factors of a model that was opened from disk or the hub can be saved alone: set "
            "model.lora_rank, or save the whole model"
        )
    save_factors(network.unet, folder)
    write_json(folder / DELTA, {"efface_delta": NAME, **pipeline.base, "use": pipeline.use.as_dict()})


def _forget_origin(folder: Path) -> None:
    """Take out of a saved part's settings where on this machine it was opened."""
    for file in folder.glob("*config.json"):
        values = read_object(file)
        kept = {key: value for key, value in values.items() if key not in ("_name_or_path", "name_or_path")}
        if kept != values:
            write_json(file, kept)
