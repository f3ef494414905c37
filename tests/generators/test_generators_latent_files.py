"""Latent models as people have them: other forms of weights, Stable Diffusion in one file, and LoRA adapters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModelWithProjection

from efface import load
from efface.adapters import _stability_names
from efface.errors import InputError
from efface.generators.latent.generator import LatentGenerator
from efface.jobs.facts import description_of
from support.latent_pipelines import XL, pipeline, saved, text_encoder, tokenizer, unet, vae
from support.single_files import open_clip, single_file

WIDE: dict[str, Any] = {"block_out_channels": (32, 64), "norm_num_groups": 32, "attention_head_dim": 8}
LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
TEXT_LAYER = "encoder.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("pipeline"))


def opened(path: Path, **options: Any) -> LatentGenerator:
    model = load(path, **options)
    assert isinstance(model, LatentGenerator)
    return model


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as error:
        load(path, **options)
    return str(error.value)


def reading(model: LatentGenerator) -> list[str]:
    return description_of(model).reading


# forms of weights


def test_weights_of_the_only_variant_are_read_and_said(folder: Path, tmp_path: Path) -> None:
    pipeline(tmp_path / "words").to(torch.float16).save_pretrained(tmp_path / "half", variant="fp16")
    model = opened(tmp_path / "half")
    assert reading(model) == [
        "weights: the files of the variant fp16 are read",
        "weights: stored as float16; computed and saved as float32",
    ]
    assert {p.dtype for p in model.network.parameters()} == {torch.float32}
    weights, whole = model.network.state_dict(), opened(folder).network.state_dict()
    assert all(torch.equal(weights[name], whole[name].half().float()) for name in whole)
    assert "no weights of the variant bf16. There are: fp16" in refusal(tmp_path / "half", variant="bf16")
    model.save_pretrained(tmp_path / "saved")
    assert opened(tmp_path / "saved").weights_digest() == model.weights_digest()
    assert reading(opened(tmp_path / "saved")) == []


def test_pickled_weights_of_older_folders_are_read(folder: Path, tmp_path: Path) -> None:
    made = saved(tmp_path)
    for file in made.glob("*/*.safetensors"):
        name = file.name.replace("model.safetensors", "model.bin")
        torch.save(load_file(file), file.with_name("pytorch_model.bin" if name == "model.bin" else name))
        file.unlink()
    assert opened(made).weights_digest() == opened(folder).weights_digest()


# one file


@pytest.mark.parametrize("text", [True, False])
def test_stable_diffusion_in_one_file_opens_to_the_very_same_network(text: bool, tmp_path: Path) -> None:
    parts = (unet(**WIDE), vae(block_out_channels=(32, 32, 64), norm_num_groups=32))
    words = text_encoder(max_position_embeddings=77, vocab_size=49408) if text else None
    save_file(single_file(*parts, words), tmp_path / "sd.safetensors")
    model = opened(tmp_path / "sd.safetensors")
    for network, part in zip((model.network.unet, model.network.vae), parts, strict=True):
        wanted = part.state_dict()
        assert set(network.state_dict()) == set(wanted)
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in network.state_dict().items())
    inputs = torch.randn(1, 9, 8, 8), torch.tensor([3]), torch.randn(1, 4, 16)
    with torch.no_grad():
        assert torch.equal(model.network.unet(*inputs).sample, parts[0].eval()(*inputs).sample)
    assert description_of(model).origin["kind"] == "single file"
    model.save_pretrained(tmp_path / "saved")
    assert opened(tmp_path / "saved").weights_digest() == model.weights_digest()
    if text:
        assert "was read from one file, which has no tokenizer" in refusal(
            tmp_path / "sd.safetensors", prompt="a cat"
        )
        tokenizer(tmp_path / "words")
        assert opened(tmp_path / "sd.safetensors", prompt="a cat", text_tokenizer=str(tmp_path / "words"))


HEADS_OF_64: dict[str, Any] = {
    **WIDE, "block_out_channels": (64, 128), "attention_head_dim": (1, 2), "use_linear_projection": True,
}  # fmt: skip
LONG = {"max_position_embeddings": 77, "vocab_size": 49408, "num_attention_heads": 1, "eos_token_id": 49407}


def test_stable_diffusion_2_in_one_file_has_openclip_without_its_last_layer(tmp_path: Path) -> None:
    parts = (unet(**HEADS_OF_64), vae(block_out_channels=(32, 32, 64), norm_num_groups=32))
    words = text_encoder(**LONG, num_hidden_layers=3, hidden_act="gelu").eval()
    text = {
        f"cond_stage_model.model.{name}": tensor.contiguous() for name, tensor in open_clip(words).items()
    }
    save_file({**single_file(*parts), **text}, tmp_path / "sd2.safetensors")
    model = opened(tmp_path / "sd2.safetensors")
    inputs = torch.randn(1, 9, 8, 8), torch.tensor([3]), torch.randn(1, 4, 16)
    tokens = torch.tensor([[49406, 320, 2368, 49407]])
    with torch.no_grad():
        assert torch.equal(model.network.unet(*inputs).sample, parts[0].eval()(*inputs).sample)
        wanted = words(tokens, output_hidden_states=True).hidden_states[-2]
        found = model.network.text_encoder(tokens, output_hidden_states=True).hidden_states[-1]
        assert torch.allclose(found, wanted, atol=1e-6)
    model.save_pretrained(tmp_path / "saved")
    assert opened(tmp_path / "saved").weights_digest() == model.weights_digest()


def test_stable_diffusion_xl_in_one_file_opens_to_the_very_same_networks(tmp_path: Path) -> None:
    first = text_encoder(**LONG)
    second = text_encoder(
        5, CLIPTextModelWithProjection, **LONG, hidden_size=24, projection_dim=20, hidden_act="gelu"
    )
    network = unet(9, **{**XL, **HEADS_OF_64})
    parts = (network, vae(block_out_channels=(32, 32, 64), norm_num_groups=32), first, second)
    save_file(single_file(*parts), tmp_path / "xl.safetensors")
    model = opened(tmp_path / "xl.safetensors")
    opened_parts = (model.network.unet, model.network.vae, *model.network.text_encoders)
    for found, part in zip(opened_parts, parts, strict=True):
        assert all(
            torch.equal(tensor, part.state_dict()[name]) for name, tensor in found.state_dict().items()
        )
    config, wanted = model.network.unet.config, network.config
    for name in ("addition_embed_type", "addition_time_embed_dim", "attention_head_dim", "down_block_types"):
        assert config[name] == (list(wanted[name]) if isinstance(wanted[name], tuple) else wanted[name])
    assert (model.network.scaling, model.image_size) == (0.13025, 1024)
    tokens = torch.tensor([[49406, 320, 49407]])
    with torch.no_grad():
        assert torch.allclose(
            model.network.text_encoder_2(tokens).text_embeds, second.eval()(tokens).text_embeds, atol=1e-6
        )
    model.save_pretrained(tmp_path / "saved")
    assert opened(tmp_path / "saved").weights_digest() == model.weights_digest()


def test_of_a_file_with_averaged_weights_the_user_says_which(tmp_path: Path) -> None:
    tensors = single_file(unet(**WIDE), vae(block_out_channels=(32, 32, 64), norm_num_groups=32))
    averaged = {
        "model_ema." + "".join(name.split(".")[1:]): tensor + 1
        for name, tensor in tensors.items()
        if name.startswith("model.diffusion_model.")
    }
    torch.save(
        {"state_dict": {**tensors, **averaged, "model_ema.decay": torch.tensor(0.9)}}, tmp_path / "sd.ckpt"
    )
    assert "plain (" in refusal(tmp_path / "sd.ckpt")
    assert "model_ema (" in refusal(tmp_path / "sd.ckpt")
    first = tensors["model.diffusion_model.input_blocks.0.0.weight"]
    assert torch.equal(opened(tmp_path / "sd.ckpt", entry="plain").network.unet.conv_in.weight, first)
    assert torch.equal(opened(tmp_path / "sd.ckpt", entry="model_ema").network.unet.conv_in.weight, first + 1)


def test_a_file_that_is_not_whole_is_named_for_what_it_is(tmp_path: Path) -> None:
    tensors = single_file(unet(**WIDE), vae(block_out_channels=(32, 32, 64), norm_num_groups=32))
    alone = {name: tensor for name, tensor in tensors.items() if name.startswith("model.")}
    save_file({**alone, "other.weight": torch.ones(1)}, tmp_path / "unet.safetensors")
    message = refusal(tmp_path / "unet.safetensors")
    assert "is Stable Diffusion in one file, and cannot be converted: it has no first_stage_model." in message
    save_file(
        single_file(unet(4, **WIDE), vae(block_out_channels=(32, 32, 64), norm_num_groups=32)),
        tmp_path / "text.safetensors",
    )
    assert "it makes pictures from text alone" in refusal(tmp_path / "text.safetensors")


# LoRA adapters


def factors() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(4, 16, generator=generator) * 0.1, torch.randn(16, 4, generator=generator) * 0.1


def adapter(layout: str, place: Path, base: str = "") -> Path:
    """The same adapter of the scale 2 in three layouts."""
    a, b = factors()
    if layout == "kohya":
        name = f"lora_unet_{LAYER.replace('.', '_')}"
        content = {
            f"{name}.lora_down.weight": a,
            f"{name}.lora_up.weight": b,
            f"{name}.alpha": torch.tensor(8.0),
        }
        save_file(content, place.with_suffix(".safetensors"))
        return place.with_suffix(".safetensors")
    place.mkdir()
    if layout == "diffusers":
        content = {f"unet.{LAYER}.lora_A.weight": a, f"unet.{LAYER}.lora_B.weight": 2 * b}
        save_file(content, place / "pytorch_lora_weights.safetensors")
        return place
    content = {f"base_model.model.{LAYER}.lora_A.weight": a, f"base_model.model.{LAYER}.lora_B.weight": b}
    save_file(content, place / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "base_model_name_or_path": base or None, "r": 4, "lora_alpha": 8}
    (place / "adapter_config.json").write_text(json.dumps(config))
    return place


@pytest.mark.parametrize("layout", ["peft", "diffusers", "kohya"])
def test_an_adapter_is_added_to_its_base_and_both_are_in_the_record(
    layout: str, folder: Path, tmp_path: Path
) -> None:
    a, b = factors()
    base, model = opened(folder), opened(adapter(layout, tmp_path / "lora"), base=str(folder))
    before, after = base.network.state_dict(), model.network.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed == [f"unet.{LAYER}.weight"]
    assert torch.allclose(after[changed[0]], before[changed[0]] + 2 * b @ a, atol=1e-7)
    told = description_of(model).origin["adapter"]
    assert told["layout"] == layout
    assert told["base"] == base.weights_digest()
    assert f"adapter: LoRA in the layout of {layout}, on top of its base" in reading(model)


def test_names_that_kohya_gives_to_the_blocks_of_xl_are_those_of_the_trained_file() -> None:
    """`single_file` writes the names of the release; an adapter has underscores in them."""
    network = unet(**WIDE)
    numbered = unet(**WIDE)
    for number, parameter in enumerate(numbered.parameters()):
        parameter.data.fill_(number)
    released = {
        float(tensor.flatten()[0]): name.removeprefix("model.diffusion_model.")
        .removesuffix(".weight")
        .replace(".", "_")
        for name, tensor in single_file(numbered, vae()).items()
        if name.startswith("model.") and name.endswith(".weight")
    }
    own = {
        number: name.removesuffix(".weight")
        for number, (name, _) in enumerate(numbered.named_parameters())
        if name.endswith(".weight")
    }
    assert _stability_names(network).items() >= {(own[number], released[number]) for number in own}


def test_an_adapter_of_xl_as_kohya_writes_it_is_read(folder: Path, tmp_path: Path) -> None:
    a, b = factors()
    name = "lora_unet_output_blocks_3_1_transformer_blocks_0_attn1_to_q"
    save_file(
        {f"{name}.lora_down.weight": a, f"{name}.lora_up.weight": b, f"{name}.alpha": torch.tensor(4.0)},
        tmp_path / "xl.safetensors",
    )
    base, model = (
        opened(folder).network.state_dict(),
        opened(tmp_path / "xl.safetensors", base=str(folder)).network,
    )
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(base[name], tensor)]
    assert changed == ["unet.up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight"]


@pytest.mark.parametrize("layout", ["peft", "kohya"])
def test_an_adapter_may_be_trained_further_beside_its_frozen_base(
    layout: str, folder: Path, tmp_path: Path
) -> None:
    place = adapter(layout, tmp_path / "lora")
    merged = opened(place, base=str(folder))
    model = opened(place, base=str(folder), train_adapter=True)
    assert model.weights_digest() == merged.weights_digest()
    trained = {**model.encoder_parameters(), **model.decoder_parameters()}
    assert len(trained) == 2
    assert all(".lora_" in name for name in trained)
    model.keep_teacher()
    with model.teacher():
        teacher = model._running.unet.state_dict()
    assert torch.equal(teacher[f"{LAYER}.weight"], merged.network.unet.state_dict()[f"{LAYER}.weight"])
    with torch.no_grad():
        next(iter(trained.values())).mul_(0)
    model.save_pretrained(tmp_path / "saved")
    assert opened(tmp_path / "saved").weights_digest() == opened(folder).weights_digest()


def test_the_base_that_peft_noted_is_taken_and_any_other_must_be_said(folder: Path, tmp_path: Path) -> None:
    noted = opened(adapter("peft", tmp_path / "noted", base=str(folder)))
    assert (
        noted.weights_digest() == opened(adapter("kohya", tmp_path / "k"), base=str(folder)).weights_digest()
    )
    for place in (adapter("diffusers", tmp_path / "d"), adapter("peft", tmp_path / "p")):
        assert f"{place} is a LoRA adapter, which is nothing without the model" in refusal(place)
        assert "--set model.base=MODEL" in refusal(place)
    gone = adapter("peft", tmp_path / "gone", base="some/model")
    assert "It was trained for some/model, which does not lie here" in refusal(gone)
    assert "model.base is for a LoRA adapter, and" in refusal(folder, base=str(folder))


def test_an_adapter_that_does_not_fit_is_refused_with_everything_that_does_not(
    folder: Path, tmp_path: Path
) -> None:
    a, b = factors()
    name = f"unet.{LAYER}"
    content = {
        f"{name}.lora_A.weight": a[:, 1:].clone(),
        f"{name}.lora_B.weight": b,
        f"{name}x.lora_A.weight": a,
    }
    save_file(content, tmp_path / "bad.safetensors")
    message = refusal(tmp_path / "bad.safetensors", base=str(folder))
    assert f"{name}: factors (4, 15) and (16, 4) for a weight (16, 16)" in message
    assert f"{name}x: the model has no such module" in message
    save_file(
        {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b, f"{name}.dora_scale": b.clone()},
        tmp_path / "d.safetensors",
    )
    assert "is an adapter of the kind DoRA; only LoRA" in refusal(
        tmp_path / "d.safetensors", base=str(folder)
    )


def test_an_adapter_of_the_text_encoder_changes_what_the_prompt_says(folder: Path, tmp_path: Path) -> None:
    a, b = factors()
    name = f"lora_te_text_model_{TEXT_LAYER.replace('.', '_')}"
    save_file({f"{name}.lora_down.weight": a, f"{name}.lora_up.weight": b}, tmp_path / "text.safetensors")
    model = opened(tmp_path / "text.safetensors", base=str(folder))
    assert not torch.equal(model.context, opened(folder).context)
    assert "holds more than factors of the UNet" in refusal(
        tmp_path / "text.safetensors", base=str(folder), train_adapter=True
    )
