"""The images, arrays and models that the golden runs start from: all made here, alike every time, nothing of efface."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image, ImageOps

PHOTOS = {"cats": (100, 8), "dogs": (200, 16), "birds": (300, 8)}
"""Class: first seed, count."""
DIGITS_TRAIN, DIGITS_TEST, DIGIT_CLASSES = 30, 10, 4
DIGITS_FORGOTTEN = 8

BENCH_GENERATORS = {
    "task": {
        "images": {"data": "digits", "forget": "random:12", "limit": 60, "limit_test": 40},
        "generator": "mae",
        "architecture": {
            "image_size": 8, "patch_size": 2, "hidden_size": 16, "layers": 1, "heads": 2,
            "decoder_hidden_size": 16, "decoder_layers": 1, "decoder_heads": 2,
        },
        "training": {"steps": 4, "batch_size": 8, "precision": "fp32", "corruption": "centre:0.5"},
        "unlearning": {"steps": 3, "batch_size": 8, "precision": "fp32"},
        "corruptions": ["centre:0.5", "extend-left:0.25"],
        "measured": 10,
        "pictures": 2,
        "evaluation": {"resamples": 200},
        "relearning": {"steps": [1, 2]},
    },
    "engine": "in-line",
}  # fmt: skip
ALL_METHODS = (
    *("encoder-noise", "max-loss", "noisy-label", "retain-label", "random-encoder", "gradient-ascent"),
    *("fine-tune", "shrink-perturb", "epsilon-constrained", "decouple", "bargaining", "blank"),
    *("neighbour", "level", "unseen", "retrain"),
)
BENCHES = {
    "bench-methods.yaml": {**BENCH_GENERATORS, "methods": list(ALL_METHODS), "models": 2},
    # from eight models on there is a forgetting score
    "bench-scored.yaml": {
        **BENCH_GENERATORS,
        "methods": ["fine-tune", {"name": "encoder-noise", "retain": "proxy"}],
        "models": 8,
    },
    "bench-classifiers.yaml": {
        "task": {
            "images": {"data": "digits", "limit": 60},
            "network": {"network": "small-conv", "width": 2},
            "recipe": {"epochs": 1, "learning_rate": 0.005, "weight_decay": 0.0, "class_weights": False},
        },
        "methods": [{"name": "fine-tune", "epochs": 1}, "kookmin", "ssd", "sisa", "random-labels"],
        "models": 8,
        "originals": 2,
        "tuning": {"trials": 2, "models": 2, "references": 4},
        "engine": "in-line",
    },
}  # fmt: skip


OLD_BENCHES = {
    "bench-classifiers.yaml": {
        **BENCHES["bench-classifiers.yaml"],
        "task": {
            "data": "digits",
            "limit": 60,
            "network": {"network": "small-conv", "width": 2},
            "recipe": {"epochs": 1, "learning_rate": 0.005, "weight_decay": 0.0, "class_weights": False},
        },
    },
}
"""Those that BASE knows in other words."""


def make(folder: Path, old: bool) -> None:
    """Everything, into an empty folder; old: in the words of BASE."""
    photos(folder / "photos")
    negatives(folder / "photos", folder / "negatives")
    digits(folder / "digits")
    scores(folder / "scores")
    masked_autoencoder(folder / "mae")
    latent_pipeline(folder)
    for name, values in {**BENCHES, **(OLD_BENCHES if old else {})}.items():
        (folder / name).write_text(yaml.safe_dump(values), encoding="utf-8")


def photos(folder: Path) -> None:
    """FOLDER/CLASS/*.png: smooth random colour pictures, none like another."""
    for label, (first, count) in PHOTOS.items():
        for number in range(count):
            coarse = np.random.default_rng(first + number).integers(0, 256, (5, 6, 3), dtype=np.uint8)
            path = folder / label / f"{label}-{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC).save(path)


def negatives(pictures: Path, folder: Path) -> None:
    """A grey negative of each photo, for a paired corruption."""
    for file in sorted(pictures.rglob("*.png")):
        target = folder / file.relative_to(pictures)
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(file) as image:
            ImageOps.invert(image.convert("L")).resize((72, 60)).save(target)


def digits(folder: Path) -> None:
    """FOLDER/{train,test}/DIGIT/*.png, scans of scikit-learn, and FOLDER/forget.txt."""
    from sklearn.datasets import load_digits

    data = load_digits()
    for label in range(DIGIT_CLASSES):
        places = np.flatnonzero(data.target == label)[: DIGITS_TRAIN + DIGITS_TEST]
        for number, place in enumerate(places):
            part = "train" if number < DIGITS_TRAIN else "test"
            path = folder / part / str(label) / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((data.images[place] * 15).astype(np.uint8)).save(path)
    names = [f"train/3/{number:03d}.png" for number in range(DIGITS_FORGOTTEN)]
    (folder / "forget.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


def scores(folder: Path) -> None:
    """Confidences `[models, examples]` for `efface score`."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, models, shift in (("unlearned", 16, 0.4), ("retrained", 32, 0.0), ("original", 16, 1.5)):
        np.save(folder / f"{name}.npy", random.normal(shift, 1.0, (models, 20)))


def masked_autoencoder(folder: Path) -> None:
    """An untrained masked autoencoder, as transformers saves it."""
    import torch
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    torch.manual_seed(0)
    shape = ViTMAEConfig(
        image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, decoder_hidden_size=32, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
        decoder_intermediate_size=64,
    )  # fmt: skip
    ViTMAEForPreTraining(shape).save_pretrained(folder)


def latent_pipeline(folder: Path) -> None:
    """FOLDER/pipeline: a Stable-Diffusion inpainting pipeline with random weights, as diffusers saves it."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionInpaintPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    words = ["<|startoftext|>", "<|endoftext|>", "c", "a", "t", "c</w>", "a</w>", "t</w>", "ca", "cat</w>"]
    vocabulary = folder / "vocabulary"
    vocabulary.mkdir()
    (vocabulary / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (vocabulary / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    (vocabulary / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 12})
    )
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=9, out_channels=4, block_out_channels=(16, 32), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16, norm_num_groups=8, attention_head_dim=4,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 16, 16), down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3, latent_channels=4, norm_num_groups=8, sample_size=32,
    )  # fmt: skip
    text = CLIPTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=12, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    schedule = DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
        set_alpha_to_one=False, steps_offset=1,
    )  # fmt: skip
    StableDiffusionInpaintPipeline(
        vae=vae, text_encoder=CLIPTextModel(text).eval(), tokenizer=CLIPTokenizer.from_pretrained(vocabulary),
        unet=unet, scheduler=schedule, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder / "pipeline")  # fmt: skip
