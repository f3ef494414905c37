"""Tiny pipelines of diffusers with random weights, saved in their real format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionXLInpaintPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = [
    "<|startoftext|>",
    "<|endoftext|>",
    *LETTERS,
    *(f"{letter}</w>" for letter in LETTERS),
    "ca",
    "cat</w>",
]
MERGES = ["c a", "ca t</w>"]
SIZE, GRID, WIDTH = 32, 8, 16
SCHEDULE: dict[str, Any] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
# where the generations of Stable Diffusion differ in their UNets
FIRST: dict[str, Any] = {"attention_head_dim": 4}
SECOND: dict[str, Any] = {"attention_head_dim": [2, 4], "use_linear_projection": True}


def unet(channels: int = 9, seed: int = 0, **changes: Any) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    options = {
        "sample_size": GRID,
        "in_channels": channels,
        "out_channels": 4,
        "block_out_channels": (16, 32),
        "layers_per_block": 2,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": WIDTH,
        "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**{**options, **FIRST, **changes})


def vae(seed: int = 1, **changes: Any) -> AutoencoderKL:
    torch.manual_seed(seed)
    widths = (8, 16, 16)
    options = {
        "block_out_channels": widths,
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "latent_channels": 4,
        "norm_num_groups": 8,
        "sample_size": SIZE,
    }
    return AutoencoderKL(**{**options, **changes})


def text_encoder(seed: int = 2, kind: Any = CLIPTextModel, **changes: Any) -> Any:
    torch.manual_seed(seed)
    options = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": WIDTH,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 12,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    return kind(CLIPTextConfig(**{**options, **changes}))


def tokenizer(folder: Path) -> CLIPTokenizer:
    """A tokenizer from the two files of CLIP's own format."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(VOCABULARY)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 12})
    )
    return CLIPTokenizer.from_pretrained(folder)


def pipeline(
    folder: Path, *, channels: int = 9, text: bool = True, velocity: bool = False, **changes: Any
) -> Any:
    """A pipeline of plain diffusers; `changes` are those of its UNet."""
    prediction = "v_prediction" if velocity else "epsilon"
    parts: dict[str, Any] = {
        "vae": vae(),
        "text_encoder": text_encoder().eval() if text else None,
        "tokenizer": tokenizer(folder) if text else None,
        "unet": unet(channels, **changes),
        "scheduler": DDIMScheduler(**SCHEDULE, prediction_type=prediction),
    }
    kind = StableDiffusionInstructPix2PixPipeline if channels == 8 else StableDiffusionInpaintPipeline
    made = kind(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


XL: dict[str, Any] = {
    **SECOND,
    "cross_attention_dim": WIDTH + 24,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 20 + 6 * 8,
}


def xl_pipeline(folder: Path, zeros_for_none: bool = True, **changes: Any) -> Any:
    """Stable Diffusion XL for inpainting; `changes` are those of its UNet."""
    second = text_encoder(5, CLIPTextModelWithProjection, hidden_size=24, projection_dim=20)
    made = StableDiffusionXLInpaintPipeline(
        vae=vae(),
        text_encoder=text_encoder().eval(),
        tokenizer=tokenizer(folder),
        text_encoder_2=second.eval(),
        tokenizer_2=tokenizer(folder),
        unet=unet(9, **{**XL, **changes}),
        scheduler=DDIMScheduler(**SCHEDULE),
        force_zeros_for_empty_prompt=zeros_for_none,
        add_watermarker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


def saved(folder: Path, **options: Any) -> Path:
    """The folder of such a pipeline."""
    pipeline(folder / "vocabulary", **options).save_pretrained(folder / "model")
    return folder / "model"
