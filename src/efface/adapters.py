"""Low-rank adapters (LoRA) that others trained, in the layouts of peft, diffusers and kohya.

They are fitted to the modules of a network by name, and added to its weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, JsonValue
from torch import Tensor, nn

from efface.documents import read_object
from efface.errors import Faults, InputError
from efface.model_bounds import check_finite
from efface.model_files import ADAPTER_WEIGHTS, PEFT_CONFIG, beside
from efface.model_formats import header_of
from efface.settings import validated
from efface.weights import read_weights, weights_digest, with_product
from efface.wording import printable, several

Layout = Literal["peft", "diffusers", "kohya"]
HALF = re.compile(
    r"(?P<stem>.+?)[._](lora_linear_layer\.|lora[._])(?P<half>A|B|down|up)(\.default)?\.weight|(?P<scaled>.+)\.alpha"
)
"""The names of factors: peft has A and B, diffusers down and up, kohya the same and a scale in a tensor of its own."""
OTHER_KINDS = {
    "dora_scale": "DoRA", "lora_magnitude_vector": "DoRA", "hada_w1": "LoHa", "lokr_w1": "LoKr", "oft_": "OFT",
    "ia3_l": "IA3", "lora_mid": "LoCon with a core",
}  # fmt: skip
"""What marks adapters that are more than a product of two factors."""
PREFIXES = {
    "unet": ("unet_", "lora_unet_", ""),
    "text_encoder": ("text_encoder_", "lora_te_", "lora_te1_"),
    "text_encoder_2": ("text_encoder_2_", "lora_te2_"),
    "": ("", "lora_"),
}
"""What stands before the names of a part's modules, dots written as underscores."""
STABILITY_BLOCKS = {
    "conv_in": "input_blocks_0_0", "time_embedding.linear_1": "time_embed_0", "time_embedding.linear_2": "time_embed_2",
    "add_embedding.linear_1": "label_emb_0_0", "add_embedding.linear_2": "label_emb_0_2", "conv_norm_out": "out_0",
    "conv_out": "out_2", "mid_block.resnets.0": "middle_block_0", "mid_block.attentions.0": "middle_block_1",
    "mid_block.resnets.1": "middle_block_2",
}  # fmt: skip
STABILITY_LAYERS = {
    "norm1": "in_layers_0", "conv1": "in_layers_2", "time_emb_proj": "emb_layers_1", "norm2": "out_layers_0",
    "conv2": "out_layers_3", "conv_shortcut": "skip_connection",
}  # fmt: skip
"""How the code of Stability AI calls parts of a UNet of diffusers, and the layers of its residual blocks."""


class AdapterConfig(BaseModel):
    """What of peft's `adapter_config.json` is read here."""

    peft_type: str = "LORA"
    lora_alpha: float | None = None
    alpha_pattern: dict[str, float] = {}
    use_rslora: bool = False


@dataclass(frozen=True)
class Adapter:
    """An adapter as it lies there. config: peft's, where it has one."""

    place: Path
    layout: Layout
    tensors: dict[str, Tensor]
    config: AdapterConfig

    def facts(self, base: str) -> dict[str, JsonValue]:
        """What it is, for the record, without its place; base: digest of the weights of the model that it was added to."""
        return {"layout": self.layout, "weights": weights_digest(self.tensors), "base": base}


@dataclass(frozen=True)
class Fitted:
    """An adapter by the names of a network: factors A `[r, in, ...]` and B `[out, r, ...]`, the scale in B, and weights
    that it puts in place of the network's own."""

    factors: dict[str, tuple[Tensor, Tensor]]
    replaced: dict[str, Tensor]


def read_adapter(path: str) -> Adapter:
    """The adapter at `path`; raises `InputError` if it cannot be read, or is no plain LoRA."""
    place, config = Path(path), _config(Path(path))
    file = place
    if place.is_dir():
        found = beside(path, None, *ADAPTER_WEIGHTS)
        if found is None:
            raise InputError(f"{printable(path)} holds no {' or '.join(ADAPTER_WEIGHTS)}")
        file = found
    # the names say which module is meant: nothing may be taken off
    tensors = read_weights(file, wanted=header_of(file) or ("unet",)).tensors
    if kinds := {kind for name in tensors if (kind := _other_kind(name))} | ({config.peft_type} - {"LORA"}):
        raise InputError(
            f"{printable(path)} is an adapter of the kind {' and '.join(sorted(kinds))}; only LoRA, a product of two "
            "factors for each weight, is read. Merge it into its model with the tool that made it"
        )
    check_finite(path, tensors)
    is_peft = (file.parent / PEFT_CONFIG).is_file()
    kohya = any(name.startswith("lora_") for name in tensors)
    return Adapter(place, "peft" if is_peft else "kohya" if kohya else "diffusers", tensors, config)


def fitted(adapter: Adapter, parts: Mapping[str, nn.Module]) -> Fitted:
    """`adapter` by the names of the network that `parts` make up; raises `InputError` naming all that does not fit.

    parts: by their names in the network, such as `unet`; one named `` is the network itself.
    """
    modules = _modules(parts)
    weights = {
        _joined(part, name): p for part, module in parts.items() for name, p in module.named_parameters()
    }
    halves: dict[str, dict[str, Tensor]] = {}
    replaced, where = (
        {},
        f"the adapter {printable(str(adapter.place))} does not fit the model that it is to be for",
    )
    unknown: list[str] = []
    with Faults(where) as faults:
        for name, tensor in adapter.tensors.items():
            form = HALF.fullmatch(name)
            stem = (form["stem"] or form["scaled"]) if form else name.rpartition(".")[0]
            module = modules.get(_flat(stem)) or modules.get(f"{_flat(stem)}_0")
            if module is None:
                unknown.append(printable(stem))
            elif form is None:
                replaced[f"{module}.{name.rpartition('.')[2]}"] = tensor
            else:
                half = {"down": "A", "up": "B", None: "alpha"}.get(form["half"], form["half"])
                halves.setdefault(module, {})[half] = tensor
        for stem in dict.fromkeys(unknown):
            faults.add(f"{stem}: the model has no such module")
        factors = {}
        for module, pair in halves.items():
            weight = weights.get(f"{module}.weight")
            if weight is None or not {"A", "B"} <= set(pair):
                faults.add(f"{module}: has {several(sorted(pair))}; two factors of a weight are wanted")
                continue
            a, b = pair["A"], pair["B"]
            outer = a.shape[0] * weight[0].numel() == a.numel() and b.shape[:2] == (
                weight.shape[0],
                a.shape[0],
            )
            if not outer:
                faults.add(
                    f"{module}: factors {tuple(a.shape)} and {tuple(b.shape)} for a weight {tuple(weight.shape)}"
                )
                continue
            shape = (a.shape[0], *weight.shape[1:])
            factors[module] = (a.reshape(shape), b * _scale(adapter.config, module, pair))
        for name, tensor in replaced.items():
            if name not in weights or weights[name].shape != tensor.shape:
                faults.add(f"{name}: {tuple(tensor.shape)} fits no weight of the model")
    return Fitted(factors, replaced)


@torch.no_grad()
def merge(adapter: Adapter, parts: Mapping[str, nn.Module]) -> None:
    """Add `adapter` to the weights of `parts`; raises `InputError` naming all that does not fit, with nothing changed."""
    found = fitted(adapter, parts)
    weights = _weights(parts)
    for name, (a, b) in found.factors.items():
        weights[f"{name}.weight"].copy_(with_product(weights[f"{name}.weight"], a, b))
    for name, tensor in found.replaced.items():
        weights[name].copy_(tensor)


def _modules(parts: Mapping[str, nn.Module]) -> dict[str, str]:
    """The name in the network of each module that has a weight, by all that layouts may call it."""
    found: dict[str, str] = {}
    for part, module in parts.items():
        for name, layer in module.named_modules():
            if "base_layer" in name or not isinstance(getattr(layer, "weight", None), Tensor):
                continue
            for prefix in PREFIXES.get(part, ("",)):
                # transformers 5 has dropped this prefix of a text encoder's names
                for inner in ("", "text_model_"):
                    found.setdefault(f"{prefix}{inner}{_underscored(name)}", _joined(part, name))
        if hasattr(module, "down_blocks"):
            for name, stability in _stability_names(module).items():
                found.setdefault(f"lora_unet_{stability}", _joined(part, name))
    return found


def _stability_names(unet: Any) -> dict[str, str]:
    """The names that kohya's adapters of Stable Diffusion XL have for the modules of a UNet of diffusers."""
    places = dict(STABILITY_BLOCKS)
    for side, way, blocks in (("down", "input", unet.down_blocks), ("up", "output", unet.up_blocks)):
        number = int(side == "down")
        for level, block in enumerate(blocks):
            attends = bool(getattr(block, "attentions", None))
            for layer in range(len(block.resnets)):
                places[f"{side}_blocks.{level}.resnets.{layer}"] = f"{way}_blocks_{number}_0"
                places[f"{side}_blocks.{level}.attentions.{layer}"] = f"{way}_blocks_{number}_1"
                number += 1
            if getattr(block, "downsamplers", None):
                places[f"{side}_blocks.{level}.downsamplers.0.conv"] = f"{way}_blocks_{number}_0_op"
                number += 1
            if getattr(block, "upsamplers", None):
                places[f"{side}_blocks.{level}.upsamplers.0.conv"] = (
                    f"{way}_blocks_{number - 1}_{1 + attends}_conv"
                )
    names = {}
    for name, _ in unet.named_modules():
        parts = name.split(".")
        outer = next(
            (".".join(parts[:end]) for end in range(len(parts), 0, -1) if ".".join(parts[:end]) in places),
            None,
        )
        if outer:
            layers = STABILITY_LAYERS if ".resnets." in outer else {}
            names[name] = "_".join(
                [places[outer], *(layers.get(one, one) for one in parts[outer.count(".") + 1 :])]
            )
    return names


def _weights(parts: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """By the names of the network without factors of its own."""
    return {
        _joined(part, name).replace(".base_layer.", "."): parameter
        for part, module in parts.items()
        for name, parameter in module.named_parameters()
    }


def _flat(stem: str) -> str:
    bare = stem.removeprefix("base_model.model.").replace(".modules_to_save", "").replace(".processor.", ".")
    return _underscored(bare)


def _underscored(name: str) -> str:
    return name.replace(".", "_")


def _joined(part: str, name: str) -> str:
    return f"{part}.{name}" if part else name


def _scale(config: AdapterConfig, module: str, pair: Mapping[str, Tensor]) -> float:
    rank = pair["A"].shape[0]
    patterns = [
        alpha for pattern, alpha in config.alpha_pattern.items() if re.search(rf"(^|\.){pattern}$", module)
    ]
    alpha = float(pair["alpha"]) if "alpha" in pair else next(iter(patterns), config.lora_alpha or rank)
    return float(alpha / (rank**0.5 if config.use_rslora else rank))


def _config(place: Path) -> AdapterConfig:
    """peft's settings, in a file beside the weights or in the header that diffusers writes; empty where there are none."""
    if place.is_dir() and (file := beside(str(place), None, PEFT_CONFIG)):
        return validated(AdapterConfig, read_object(file), f"{file} is no config of a LoRA adapter")
    return AdapterConfig()


def _other_kind(name: str) -> str | None:
    return next((kind for mark, kind in OTHER_KINDS.items() if mark in name), None)
