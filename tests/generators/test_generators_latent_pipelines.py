"""Pipelines of plain diffusers and this family: the same pictures, each other's folders, and folders refused."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, StableDiffusionInpaintPipeline
from torch import Tensor

from efface.corruptions import parse_corruption
from efface.errors import InputError
from efface.generators.latent.checkpoint import load
from efface.generators.latent.family import FAMILY, LatentSettings
from efface.generators.latent.folder import patterns
from efface.generators.latent.generator import LatentGenerator, LatentView
from efface.model_files import Contents
from support.latent_pipelines import (
    GRID,
    SCHEDULE,
    SECOND,
    SIZE,
    pipeline,
    saved,
    text_encoder,
    unet,
    vae,
    xl_pipeline,
)
from support.tiny_models import draws, pictures

STEPS = 4
COUNT = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("pipeline"))


def opened(folder: Path, **options: Any) -> LatentGenerator:
    return load(LatentSettings(path=str(folder), **options))


def plain(folder: Path, velocity: bool = False, **given: Any) -> Any:
    """The folder in plain diffusers, its sampler set to the noise levels that efface uses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = DiffusionPipeline.from_pretrained(folder, **given)
    prediction = "v_prediction" if velocity else "epsilon"
    settings = {**SCHEDULE, "set_alpha_to_one": True}
    made.scheduler = DDIMScheduler(**settings, prediction_type=prediction, timestep_spacing="trailing")
    made.set_progress_bar_config(disable=True)
    return made


def view_of(generator: LatentGenerator, images: Tensor) -> LatentView:
    corruption = parse_corruption("centre:0.5" if generator.kind == "inpainting" else "colour")
    view = generator.view(images, corruption, draws(len(images)))
    assert isinstance(view, LatentView)
    return view


def start() -> Tensor:
    return torch.randn(COUNT, 4, GRID, GRID, generator=torch.Generator().manual_seed(7))


def inpainted(pipe: Any, view: LatentView, **options: Any) -> Tensor:
    """Latents that plain diffusers makes; the pipeline samples the VAE, so the mode is handed to it."""
    latents: Tensor = pipe(
        image=view.images,
        mask_image=(~view.corrupted.known).float(),
        masked_image_latents=view.shown[:, 1:],
        latents=start(),
        num_inference_steps=STEPS,
        height=SIZE,
        width=SIZE,
        output_type="latent",
        **{"guidance_scale": 1.0, **options},
    ).images
    return latents


# the same numbers


@pytest.mark.parametrize("options", [{}, {"velocity": True, **SECOND}], ids=["as SD 1.5", "as SD 2"])
def test_inpainting_is_that_of_plain_diffusers(tmp_path: Path, options: dict[str, Any]) -> None:
    folder = saved(tmp_path, **options)
    generator, pipe = opened(folder, prompt="a cat"), plain(folder, options.get("velocity", False))
    view = view_of(generator, pictures(COUNT))
    theirs = inpainted(pipe, view, prompt=["a cat"] * COUNT)
    ours = generator.sampled(view, f"ddim:{STEPS}", start())
    assert torch.allclose(ours, theirs, atol=1e-4)
    with torch.no_grad():
        decoded = pipe.vae.decode(theirs / pipe.vae.config.scaling_factor).sample / 2 + 0.5
    assert torch.allclose(generator.network.pictures(ours), decoded.clamp(0, 1), atol=1e-4)
    without = opened(folder)
    assert not torch.allclose(without.sampled(view, f"ddim:{STEPS}", start()), ours, atol=1e-3)


def test_guidance_is_that_of_plain_diffusers(folder: Path) -> None:
    generator = opened(folder, prompt="a cat", guidance_scale=3.0)
    view = view_of(generator, pictures(COUNT))
    theirs = inpainted(plain(folder), view, prompt=["a cat"] * COUNT, guidance_scale=3.0)
    assert torch.allclose(generator.sampled(view, f"ddim:{STEPS}", start()), theirs, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("zeros_for_none", [True, False])
def test_inpainting_with_stable_diffusion_xl_is_that_of_plain_diffusers(
    tmp_path: Path, scale: float, zeros_for_none: bool
) -> None:
    xl_pipeline(tmp_path / "words", zeros_for_none).save_pretrained(tmp_path / "xl")
    generator = opened(tmp_path / "xl", prompt="a cat", guidance_scale=scale)
    view = view_of(generator, pictures(COUNT))
    ours = generator.sampled(view, f"ddim:{STEPS}", start())
    asked = {"prompt": ["a cat"] * COUNT, "guidance_scale": scale, "strength": 1.0}
    assert torch.allclose(ours, inpainted(plain(tmp_path / "xl"), view, **asked), atol=1e-4)
    generator.save_pretrained(tmp_path / "saved")
    again = opened(tmp_path / "saved")
    assert again.weights_digest() == generator.weights_digest()
    assert torch.allclose(ours, inpainted(plain(tmp_path / "saved"), view, **asked), atol=1e-4)
    trained = {**generator.encoder_parameters(), **generator.decoder_parameters()}
    assert all(name.startswith("unet.") for name in trained)
    assert "unet.add_embedding.linear_1.weight" in generator.decoder_parameters()


def test_parts_of_stable_diffusion_xl_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    xl_pipeline(tmp_path / "words", cross_attention_dim=16).save_pretrained(tmp_path / "xl")
    edit(tmp_path / "xl" / "unet" / "config.json", projection_class_embeddings_input_dim=99)
    said = "\n".join(faults_of(tmp_path / "xl"))
    assert "the text encoders of Stable Diffusion XL are together 40 wide, and the UNet attends to 16" in said
    assert "told 99 numbers beside the timestep, and prompt and sizes are 68" in said
    edit(tmp_path / "xl" / "model_index.json", requires_aesthetics_score=True)
    assert "a score of beauty, as the refiner of Stable Diffusion XL is" in "\n".join(
        faults_of(tmp_path / "xl")
    )


def test_editing_is_that_of_plain_diffusers(tmp_path: Path) -> None:
    folder = saved(tmp_path, channels=8)
    generator, pipe = opened(folder, prompt="a cat"), plain(folder)
    view = view_of(generator, pictures(COUNT))
    theirs = pipe(
        prompt=["a cat"] * COUNT,
        image=view.corrupted.condition,
        latents=start(),
        num_inference_steps=STEPS,
        guidance_scale=1.0,
        output_type="latent",
    ).images
    assert torch.allclose(generator.sampled(view, f"ddim:{STEPS}", start()), theirs, atol=1e-4)


def test_without_a_text_encoder_the_prompt_is_zeros(tmp_path: Path) -> None:
    folder = saved(tmp_path, text=False)
    generator, pipe = opened(folder), plain(folder, text_encoder=None, tokenizer=None)
    view = view_of(generator, pictures(COUNT))
    theirs = inpainted(pipe, view, prompt_embeds=torch.zeros(COUNT, 3, 16))
    assert torch.allclose(generator.sampled(view, f"ddim:{STEPS}", start()), theirs, atol=1e-4)
    assert generator.describe()["prompt_embedding"] == "zeros: the model has no text encoder"
    for options in ({"prompt": "a cat"}, {"guidance_scale": 2.0}):
        with pytest.raises(InputError, match="no text encoder: leave it out"):
            opened(folder, **options)


# folders


def test_a_fine_tuned_model_opens_in_plain_diffusers_and_here(folder: Path, tmp_path: Path) -> None:
    generator = opened(folder, prompt="a cat", guidance_scale=2.0)
    with torch.no_grad():
        for parameter in generator.encoder_parameters().values():
            parameter.mul_(1.01)
    generator.save_pretrained(tmp_path / "out")
    again = opened(tmp_path / "out")
    assert again.weights_digest() == generator.weights_digest() != opened(folder).weights_digest()
    assert again.first_stage_digest() == opened(folder).first_stage_digest()
    assert (again.pipeline.prompt, again.pipeline.guidance_scale) == ("a cat", 2.0)
    assert opened(tmp_path / "out", prompt="a dog").pipeline.prompt == "a dog"
    pipe = plain(tmp_path / "out")
    assert type(pipe) is StableDiffusionInpaintPipeline
    view = view_of(generator, pictures(COUNT))
    theirs = inpainted(pipe, view, prompt=["a cat"] * COUNT, guidance_scale=2.0)
    assert torch.allclose(generator.sampled(view, f"ddim:{STEPS}", start()), theirs, atol=1e-4)
    kept = json.loads((tmp_path / "out" / "scheduler" / "scheduler_config.json").read_text())
    assert kept == json.loads((folder / "scheduler" / "scheduler_config.json").read_text())


def test_the_family_is_told_by_its_index(folder: Path, tmp_path: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    assert FAMILY.recognises(Contents(index))
    assert not FAMILY.recognises(
        Contents({"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"]})
    )
    assert not FAMILY.recognises(Contents({"model_type": "vit_mae"}))


def test_of_a_hub_repository_only_what_is_read_is_fetched(folder: Path) -> None:
    from fnmatch import fnmatch

    wanted = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    others = [
        "safety_checker/model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model.fp16.safetensors", "sd-v1-5-inpainting.ckpt", "unet/diffusion_pytorch_model.bin", "pipeline.py",
    ]  # fmt: skip
    sharded = [
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]
    assert [name for name in [*wanted, *sharded] if not any(fnmatch(name, p) for p in patterns())] == []
    assert [name for name in others if any(fnmatch(name, pattern) for pattern in patterns())] == []


# folders that are refused


def broken(folder: Path, place: Path) -> Path:
    """A copy of the folder, to be damaged."""
    return Path(shutil.copytree(folder, place / "broken"))


def faults_of(folder: Path, **options: Any) -> list[str]:
    with pytest.raises(InputError) as refused:
        opened(folder, **options)
    return list(refused.value.problems)


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_text_to_image_model_is_refused(folder: Path, tmp_path: Path) -> None:
    copied = broken(folder, tmp_path)
    unet(4).save_pretrained(copied / "unet")
    (problem,) = faults_of(copied)
    assert "takes 4 channels: it makes pictures from text alone" in problem
    assert "9 channels for inpainting, or 8 for InstructPix2Pix" in problem


def test_all_faults_of_a_folder_are_named_at_once(folder: Path, tmp_path: Path) -> None:
    copied = broken(folder, tmp_path)
    shutil.rmtree(copied / "vae")
    (copied / "unet" / "diffusion_pytorch_model.safetensors").rename(
        copied / "unet" / "diffusion_pytorch_model.bin"
    )
    edit(copied / "model_index.json", tokenizer=["my_tokenizer", "MyTokenizer"])
    edit(copied / "scheduler" / "scheduler_config.json", prediction_type="sample")
    said = "\n".join(faults_of(copied))
    for part in (
        "vae/config.json is missing",
        "unet cannot be read: ",
        "tokenizer: MyTokenizer comes with code of its own (my_tokenizer): nothing of it was run",
        "prediction_type is 'sample'",
    ):
        assert part in said


def test_code_in_a_folder_is_refused_and_not_run(folder: Path, tmp_path: Path) -> None:
    copied = broken(folder, tmp_path)
    mark = tmp_path / "ran"
    (copied / "mine.py").write_text(f"open({str(mark)!r}, 'w')\nclass Mine: pass\n")
    edit(copied / "model_index.json", _class_name=["mine", "Mine"])
    assert "a pipeline with code of its own" in faults_of(copied)[0]
    assert not mark.exists()


@pytest.mark.parametrize(
    ("part", "made", "said"),
    [
        ("vae", lambda: vae(latent_channels=3), "the UNet makes 4 channels, and the VAE's latents have 3"),
        ("unet", lambda: unet(7), "the UNet takes 7 channels; 9 (inpainting) or 8 (InstructPix2Pix)"),
        ("unet", lambda: unet(num_class_embeds=3), "the UNet needs more than latents, timestep and prompt"),
        ("unet", lambda: unet(sample_size=[8, 16]), "only square pictures"),
        ("text_encoder", lambda: text_encoder(hidden_size=32), "the text encoder is 32 wide, and the UNet attends to 16"),
    ],
)  # fmt: skip
def test_parts_that_do_not_belong_together_are_refused(
    folder: Path, tmp_path: Path, part: str, made: Any, said: str
) -> None:
    copied = broken(folder, tmp_path)
    made().save_pretrained(copied / part)
    assert said in faults_of(copied)[0]


def test_weights_that_do_not_fit_their_config_are_refused(folder: Path, tmp_path: Path) -> None:
    copied = broken(folder, tmp_path)
    edit(copied / "unet" / "config.json", block_out_channels=[24, 32])
    edit(copied / "vae" / "config.json", layers_per_block=2)
    said = faults_of(copied)
    assert any(
        "unet: conv_in.weight: stored as (16, 9, 3, 3), the network has (24, 9, 3, 3)" in one for one in said
    )
    assert any(one.startswith("vae: missing: ") for one in said)


def test_truncated_weights_and_settings_are_refused(folder: Path, tmp_path: Path) -> None:
    copied = broken(folder, tmp_path)
    weights = copied / "text_encoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    assert faults_of(copied)[0].startswith("text_encoder cannot be read: ")
    (copied / "model_index.json").write_text("{")
    assert faults_of(copied)[0].startswith("model_index.json cannot be read: ")


def test_prompts_and_options_that_cannot_be_used_are_refused(folder: Path, tmp_path: Path) -> None:
    assert "the text encoder takes at most 12" in faults_of(folder, prompt="cat " * 20)[0]
    assert faults_of(folder, lora_alpha=2.0) == ["model.lora_alpha is given without model.lora_rank"]
    edited = saved(tmp_path, channels=8)
    assert "restores without guidance" in faults_of(edited, guidance_scale=3.0)[0]
    with pytest.raises(InputError, match="no such file or folder"):
        opened(tmp_path / "nothing")


def test_left_out_parts_are_named(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    edit(folder / "model_index.json", safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    assert opened(folder).describe()["origin"] == {"kind": "diffusers", "left_out": ["safety_checker"]}


def test_the_fixture_is_a_real_pipeline(tmp_path: Path) -> None:
    made = pipeline(tmp_path)
    tokens = made.tokenizer("a cat").input_ids
    assert made.tokenizer.convert_ids_to_tokens(tokens) == [
        "<|startoftext|>",
        "a</w>",
        "cat</w>",
        "<|endoftext|>",
    ]
