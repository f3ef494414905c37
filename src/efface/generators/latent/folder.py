"""Reading a pipeline folder of diffusers, part by part, with every fault of it in one message.

Only networks, tokenizer and settings are read, by the libraries' own classes for them; a pipeline or a part with
code of its own is refused, and so are weights that are not safetensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from efface.documents import Absent, read_object
from efface.errors import Faults, InputError
from efface.generators.latent import halves
from efface.generators.latent.network import UNET, VAE, LatentNetwork
from efface.generators.sampling import ORDERS, Sampler, make_scheduler
from efface.model_bounds import bounded, check_kinds
from efface.model_formats import StoredForm, stored_form
from efface.weights import UNREADABLE, check_fit, quiet, why_unreadable
from efface.wording import printable

INDEX = "model_index.json"
CLASSES = {
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL",),
    "text_encoder": ("CLIPTextModel",),
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "text_encoder_2": ("CLIPTextModelWithProjection",),
    "tokenizer_2": ("CLIPTokenizer", "CLIPTokenizerFast"),
}
NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2")
NEEDED = ("unet", "vae", "scheduler")
TAKEN = (*CLASSES, "scheduler")
PREDICTIONS = ("epsilon", "v_prediction")
PIPELINES = {
    "inpainting": ("StableDiffusionInpaintPipeline", "StableDiffusionXLInpaintPipeline"),
    "instruct": ("StableDiffusionInstructPix2PixPipeline", "StableDiffusionXLInstructPix2PixPipeline"),
}
"""The classes of a pipeline and of the same in Stable Diffusion XL, which has two text encoders."""


@dataclass(frozen=True)
class Parts:
    """What was read of a folder. left_out: parts of the pipeline that are not needed here, such as a filter.

    zeros_for_none: of XL, whether no prompt is told as zeros, not as the embedding of an empty one.
    """

    network: LatentNetwork
    tokenizers: list[Any]
    scheduler: dict[str, Any]
    left_out: list[str]
    zeros_for_none: bool = False


def read_parts(folder: Path, variant: str | None = None) -> Parts:
    """Open the networks of a pipeline folder in float32; raises `InputError` naming all faults.

    variant: as in `stored_form`.
    """
    with Faults(f"the pipeline in {folder} cannot be used") as faults:
        index = _settings(folder / INDEX, faults)
        present = _present(index, faults)
        configs = {
            name: _settings(folder / name / "config.json", faults) for name in NETWORKS if name in present
        }
        scheduler = (
            _settings(folder / "scheduler" / "scheduler_config.json", faults)
            if "scheduler" in present
            else {}
        )
        _check_scheduler(scheduler, faults)
        if {"unet", "vae"} <= set(configs) and not faults:
            check_shapes(configs, faults)
        with bounded(str(folder)):
            loaded = {
                name: _loaded(folder / name, name, variant, faults) for name in present if name in CLASSES
            }
    parts = (loaded.get(name) for name in NETWORKS)
    network = LatentNetwork(*parts)
    left_out = sorted(
        name for name in index if not name.startswith("_") and name not in TAKEN and _named(index[name])
    )
    tokenizers = [loaded[name] for name in ("tokenizer", "tokenizer_2") if name in loaded]
    return Parts(
        network, tokenizers, scheduler, left_out, bool(index.get("force_zeros_for_empty_prompt", True))
    )


def patterns(variant: str | None = None, kind: str = "safetensors") -> list[str]:
    """The files of a hub repository that `read_parts` reads."""
    weights = [
        f"{name}/{stem}{rest}"
        for name, stem in (
            ("unet", "diffusion_pytorch_model"),
            ("vae", "diffusion_pytorch_model"),
            ("text_encoder", "model" if kind == "safetensors" else "pytorch_model"),
            ("text_encoder_2", "model" if kind == "safetensors" else "pytorch_model"),
        )
        for form in ([f".{variant}"] if variant else [""])
        for rest in (f"{form}.{kind}", f"{form}-0*.{kind}", f"-0*{form}.{kind}", f".{kind}.index*.json")
    ]
    configs = [f"{name}/config.json" for name in NETWORKS]
    return [INDEX, *configs, *weights, "tokenizer/*.json", "tokenizer/*.txt", "scheduler/*.json"]


def _settings(file: Path, faults: Faults) -> dict[str, Any]:
    place = file.name if file.name == INDEX else f"{file.parent.name}/{file.name}"
    try:
        return read_object(file)
    except Absent:
        faults.add(f"{place} is missing")
    except InputError as error:
        faults.add(str(error).replace(printable(str(file)), place))
    return {}


def _present(index: Mapping[str, Any], faults: Faults) -> list[str]:
    """Parts that the folder names; those whose class is not the one that is read are faults."""
    if not isinstance(index.get("_class_name", ""), str):
        faults.add(
            f"{INDEX} names a pipeline with code of its own ({index['_class_name']}): nothing of it was run"
        )
    present = [name for name in TAKEN if _named(index.get(name))]
    for name in NEEDED:
        if index and name not in present:
            faults.add(f"{INDEX} names no {name}")
    for number in ("", "_2"):
        if (f"text_encoder{number}" in present) != (f"tokenizer{number}" in present):
            faults.add("a text encoder and a tokenizer are of use only together, and one of them is missing")
    if "text_encoder_2" in present and "text_encoder" not in present:
        faults.add("of the two text encoders of Stable Diffusion XL the first one is missing")
    if index.get("requires_aesthetics_score"):
        faults.add("the UNet is told a score of beauty, as the refiner of Stable Diffusion XL is")
    for name in present:
        library, kind = index[name]
        if library not in ("diffusers", "transformers"):
            faults.add(f"{name}: {kind} comes with code of its own ({library}): nothing of it was run")
        elif name in CLASSES and kind not in CLASSES[name]:
            faults.add(f"{name} is a {kind}; only {' or '.join(CLASSES[name])} can be used")
    return present


def _named(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(text, str) for text in entry)


def _check_scheduler(config: dict[str, Any], faults: Faults) -> None:
    if not config:
        return
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        faults.add(
            f"the scheduler's prediction_type is {prediction!r}; {' or '.join(PREDICTIONS)} can be used"
        )
        return
    try:
        make_scheduler(Sampler(next(iter(ORDERS)), 1), **config)
    except (*UNREADABLE, NotImplementedError) as error:
        faults.add(f"scheduler/scheduler_config.json describes no noise schedule: {error}")


def check_shapes(configs: Mapping[str, Mapping[str, Any]], faults: Faults) -> None:
    """Whether UNet, VAE and text encoder fit one another, by their configs alone."""
    unet, vae, text = configs["unet"], configs["vae"], configs.get("text_encoder", {})
    latents = vae.get("latent_channels", 4)
    given, made, side = (unet.get(key, 4) for key in ("in_channels", "out_channels", "sample_size"))
    if made != latents:
        faults.add(
            f"the UNet makes {made} channels, and the VAE's latents have {latents}: they do not belong together"
        )
    elif given == latents:
        faults.add(
            f"the UNet takes {given} channels: it makes pictures from text alone. Needed is one that is shown a "
            f"picture: {2 * latents + 1} channels for inpainting, or {2 * latents} for InstructPix2Pix"
        )
    elif given not in (2 * latents, 2 * latents + 1):
        faults.add(
            f"the UNet takes {given} channels; {2 * latents + 1} (inpainting) or {2 * latents} (InstructPix2Pix) fit "
            f"the VAE's {latents}"
        )
    if not isinstance(side, int) and len(set(side or [0, 1])) != 1:
        faults.add(f"the UNet's sample_size is {side}: only square pictures are supported")
    if (vae.get("in_channels", 3), vae.get("out_channels", 3)) != (3, 3):
        sides = f"takes {vae.get('in_channels', 3)} channels and gives {vae.get('out_channels', 3)}"
        faults.add(
            f"the VAE {sides}: it is not for RGB pictures. Neither grey networks nor transparency (RGBA) are read in this "
            "family; a grey one may be opened as a network of your own (model.network)"
        )
    if vae.get("shift_factor"):
        faults.add("the VAE shifts its latents, as no pipeline of this kind does")
    if found := halves.unsupported(unet):
        faults.add(f"the UNet needs more than latents, timestep and prompt: {', '.join(found)}")
    second = configs.get("text_encoder_2", {})
    width = unet.get("cross_attention_dim", 1280)
    told = sum(encoder.get("hidden_size", 512) for encoder in (text, second) if encoder)
    if text and told != width:
        encoders = "text encoders of Stable Diffusion XL are together" if second else "text encoder is"
        faults.add(f"the {encoders} {told} wide, and the UNet attends to {width}")
    _check_added(unet, second, faults)


def _check_added(unet: Mapping[str, Any], second: Mapping[str, Any], faults: Faults) -> None:
    """Whether the UNet is told sizes and a pooled prompt if and only if there is a second text encoder."""
    is_told = unet.get("addition_embed_type") == halves.SIZES_AND_TEXT
    if is_told != bool(second):
        faults.add(
            "the UNet is told sizes and a pooled prompt, as in Stable Diffusion XL, and there is no second text encoder"
            if is_told
            else "there are two text encoders, as in Stable Diffusion XL, and the UNet is not told what the second one says"
        )
    wanted = unet.get("projection_class_embeddings_input_dim")
    given = second.get("projection_dim", 512) + 6 * (unet.get("addition_time_embed_dim") or 0)
    if is_told and second and wanted != given:
        faults.add(f"the UNet is told {wanted} numbers beside the timestep, and prompt and sizes are {given}")


def _loaded(folder: Path, name: str, variant: str | None, faults: Faults) -> Any:
    try:
        with quiet():
            if name.startswith("tokenizer"):
                return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            form = stored_form(folder, variant)
            if form is None and folder.is_dir():
                faults.add(f"{name} has no weights")
            if form is None:
                return None
            return _network(folder, name, form, faults)
    except InputError as error:
        faults.add(str(error))
    except UNREADABLE as error:
        faults.add(f"{name} cannot be read: {why_unreadable(error)}")
    return None


def _network(folder: Path, name: str, form: StoredForm, faults: Faults) -> Any:
    options: dict[str, Any] = {
        "use_safetensors": form.safe,
        "variant": form.variant,
        "local_files_only": True,
        "output_loading_info": True,
    }
    if name.startswith("text_encoder"):
        # with output_loading_info the libraries return a pair, which their annotations do not say
        kind: Any = CLIPTextModel if name == "text_encoder" else CLIPTextModelWithProjection
        loaded = kind.from_pretrained(folder, dtype=torch.float32, ignore_mismatched_sizes=True, **options)
    else:
        kind = UNET if name == "unet" else VAE
        loaded = kind.from_pretrained(
            folder,
            torch_dtype=torch.float32,
            low_cpu_mem_usage=False,
            ignore_mismatched_sizes=True,
            **options,
        )
    model, report = loaded
    check_kinds(str(folder), model)
    # older files hold the text encoder's row numbers, which are no weights
    unexpected = [key for key in report["unexpected_keys"] if not key.endswith("position_ids")]
    try:
        check_fit(name, list(report["missing_keys"]), unexpected, list(report["mismatched_keys"]))
    except InputError as error:
        for problem in error.problems:
            faults.add(f"{name}: {problem}")
    return model
