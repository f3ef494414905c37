"""Opening and saving token models: the released layout, folders, a tokenizer of its own, and bad files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from efface.errors import InputError
from efface.files import sha256_of_file
from efface.generators.mage.checkpoint import new
from efface.generators.mage.family import FAMILY, SIZES, MageArchitecture
from efface.generators.mage.generator import MageGenerator
from efface.generators.mage.network import MageModel
from efface.model_files import Contents
from support.mage_models import (
    CODES,
    HEADS,
    RELEASED_SHAPE,
    opened,
    released_model,
    released_tokenizer,
    save_released,
    save_tokenizer,
    tiny_mage,
    view_of,
)
from support.tiny_models import pictures

TABLE = "decoder.head.table"


@pytest.fixture(scope="module")
def model() -> MageGenerator:
    return tiny_mage(**RELEASED_SHAPE)


@pytest.fixture
def file(model: MageGenerator, tmp_path: Path) -> Path:
    return save_released(model.network, tmp_path / "released.pth")


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(InputError) as refused:
        opened(path, **options)
    return str(refused.value)


# the released layout


def test_a_released_file_opens_to_the_very_same_network(model: MageGenerator, file: Path) -> None:
    found = opened(file, **HEADS)
    assert found.config.tokenizer_multipliers == [1, 2, 1]
    before, after = model.network.state_dict(), found.network.state_dict()
    assert set(before) == set(after)
    assert all(torch.equal(before[name], after[name]) for name in before if name != TABLE)
    assert torch.equal(after[TABLE], before["encoder.embedding.tokens.weight"]), "its own copy, as released"
    for name in (
        "class_token",
        "mask_token",
        "vocabulary_size",
        "image_size",
        "inner_size",
        "decoder_inner_size",
    ):
        assert getattr(found.config, name) == getattr(model.config, name)
    told = found.describe()
    assert told["origin"] == {
        "kind": "released",
        "sha256": sha256_of_file(file),
        "reading": ["weights: of the file the entry 'model' is read"],
    }
    assert told["first_stage"]["origin"] == {"kind": "released"}


def test_a_released_file_can_be_read_as_released(file: Path) -> None:
    plain, tied = opened(file, **HEADS), opened(file, tied=True, **HEADS)
    assert TABLE not in tied.network.state_dict()
    assert tied.describe()["tied"]
    seen = view_of(plain, pictures(2, size=16))
    with torch.no_grad():
        assert torch.equal(plain.predict(seen), tied.predict(seen)), "until something is trained they agree"


def test_a_stand_alone_tokenizer_replaces_the_one_inside(file: Path, tmp_path: Path) -> None:
    other = tiny_mage(seed=5, **RELEASED_SHAPE)
    tokenizer = save_tokenizer(other.network, tmp_path / "vqgan.ckpt")
    without = save_released(other.network, tmp_path / "without.pth", tokenizer=False)
    whole = save_released(other.network, tmp_path / "whole.pth")
    for path, holder in ((file, tokenizer), (without, tokenizer), (file, whole)):
        found = opened(path, tokenizer=str(holder), **HEADS)
        assert found.first_stage_digest() == other.first_stage_digest()
        origin = {"kind": "released", "sha256": sha256_of_file(holder)}
        assert found.describe()["first_stage"]["origin"] == origin
    assert "give --set model.tokenizer=FILE" in refusal(without, **HEADS)


def test_heads_that_no_file_names_must_be_given(file: Path) -> None:
    message = refusal(file)
    assert "encoder of width 32: give --set model.heads=N" in message
    assert "decoder of width 24: give --set model.decoder_heads=N" in message
    assert "model.heads=5 does not divide it" in refusal(file, heads=5, decoder_heads=2)


def test_a_model_of_the_official_class_at_another_size_opens(tmp_path: Path) -> None:
    """It gives its encoder 257 positions at every size, and reads as many as there are tokens."""
    network = tiny_mage(**RELEASED_SHAPE).network
    tensors = released_model(network)
    positions = tensors["token_emb.position_embeddings.weight"]
    tensors["token_emb.position_embeddings.weight"] = torch.cat([positions, torch.ones(257 - 17, 32)])
    tensors["token_emb.position_ids"] = torch.arange(257).unsqueeze(0)
    tensors |= {f"vqgan.{name}": value for name, value in released_tokenizer(network).items()}
    torch.save({"model": tensors}, tmp_path / "official.pth")
    found = opened(tmp_path / "official.pth", **HEADS)
    assert (found.image_size, found.grid) == (16, 4)
    assert torch.equal(found.network.encoder.embedding.positions.weight, positions)
    tensors["decoder_pos_embed_learned"] = torch.zeros(1, 12, 24)
    torch.save({"model": tensors}, tmp_path / "no-square.pth")
    assert "12 positions are not those of a class token" in refusal(tmp_path / "no-square.pth", **HEADS)


# bad files


def test_every_fault_of_a_files_tensors_is_named_at_once(model: MageGenerator, tmp_path: Path) -> None:
    tensors = released_model(model.network)
    tensors |= {f"vqgan.{name}": value for name, value in released_tokenizer(model.network).items()}
    del tensors["blocks.1.attn.qkv.weight"]
    del tensors["vqgan.decoder.conv_out.bias"]
    tensors["vqgan.encoder.mid.attn_1.q.weight"] = torch.zeros(1)
    tensors["decoder_norm.weight"] = torch.zeros(7)
    torch.save({"model": tensors}, tmp_path / "bad.pth")
    message = refusal(tmp_path / "bad.pth", **HEADS)
    assert (
        "missing: encoder.blocks.1.attention.query_key_value.weight, tokenizer.decoder.conv_out.bias"
        in message
    )
    assert "not part of it: tokenizer.encoder.mid.attn_1.q.weight" in message
    assert "decoder.norm.weight: stored as (7,), the network has (24,)" in message


def test_parts_that_do_not_belong_together_are_named(file: Path, tmp_path: Path) -> None:
    other = tiny_mage(**{**RELEASED_SHAPE, "codebook_size": 8})
    message = refusal(file, tokenizer=str(save_tokenizer(other.network, tmp_path / "vqgan.ckpt")), **HEADS)
    assert f"the tokenizer has 8 codes, but the token model was made for {CODES}" in message
    assert "no file at" in refusal(file, tokenizer=str(tmp_path / "missing.ckpt"), **HEADS)
    torch.save({"state_dict": {"weight": torch.zeros(1)}}, tmp_path / "other.ckpt")
    message = refusal(file, tokenizer=str(tmp_path / "other.ckpt"), **HEADS)
    assert "other.ckpt holds no VQGAN tokenizer: no tensor encoder.conv_in.weight" in message


def test_files_that_are_no_token_model_are_refused(model: MageGenerator, tmp_path: Path) -> None:
    tokenizer = save_tokenizer(model.network, tmp_path / "vqgan.ckpt")
    assert "it is a tokenizer alone. Name the token model's file" in refusal(tokenizer)
    (tmp_path / "text.pth").write_text("hello")
    assert "truncated, or no file of weights at all" in refusal(tmp_path / "text.pth")
    torch.save({"model": Path("x")}, tmp_path / "code.pth")
    assert "it carries code" in refusal(tmp_path / "code.pth")


# folders


@pytest.mark.parametrize("tied", [False, True])
def test_a_saved_folder_is_complete_and_opens_with_the_plain_class(tied: bool, tmp_path: Path) -> None:
    generator = tiny_mage(tied=tied)
    generator.save_pretrained(tmp_path / "model")
    digest = generator.weights_digest()
    plain = MageModel.from_pretrained(tmp_path / "model")
    assert MageGenerator(plain).weights_digest() == digest
    found = opened(tmp_path / "model")
    assert found.weights_digest() == digest
    seen = view_of(generator, pictures(2))
    with torch.no_grad():
        assert torch.equal(found.predict(seen), generator.predict(seen))
        assert torch.equal(plain.eval()(seen.inputs, seen.hidden), generator.predict(seen))
    assert torch.equal(found.restore(seen), generator.restore(seen))
    assert FAMILY.recognises(Contents(config=found.config.to_dict()))


def test_a_folder_can_be_opened_tied_or_untied(tmp_path: Path) -> None:
    tiny_mage().save_pretrained(tmp_path / "untied")
    tiny_mage(tied=True).save_pretrained(tmp_path / "tied")
    untied = opened(tmp_path / "tied", tied=False)
    table = untied.network.decoder.head.table
    assert table is not None
    assert torch.equal(table, untied.network.encoder.embedding.tokens.weight)
    untied.save_pretrained(tmp_path / "again")
    assert opened(tmp_path / "again").weights_digest() == untied.weights_digest()
    assert opened(tmp_path / "untied", tied=True).network.decoder.head.table is None


def test_a_folders_tokenizer_can_be_replaced_by_one_of_its_shape(tmp_path: Path) -> None:
    one, other = (tiny_mage(seed=seed) for seed in (0, 1))
    one.save_pretrained(tmp_path / "model")
    found = opened(tmp_path / "model", tokenizer=str(save_tokenizer(other.network, tmp_path / "t.ckpt")))
    assert found.first_stage_digest() == other.first_stage_digest()
    assert found.network.state_dict().keys() == one.network.state_dict().keys()
    wrong = tiny_mage(code_dimension=4)
    message = refusal(tmp_path / "model", tokenizer=str(save_tokenizer(wrong.network, tmp_path / "w.ckpt")))
    assert "tokenizer.codebook.weight: stored as (16, 4), the network has (16, 8)" in message


def test_a_folder_whose_weights_do_not_fit_its_config_is_refused(tmp_path: Path) -> None:
    tiny_mage().save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"layers": 2', '"layers": 3'))
    assert "missing: encoder.blocks.2" in refusal(tmp_path)
    config.write_text(config.read_text().replace('"layers": 3', '"layers": "many"'))
    assert "cannot be read" in refusal(tmp_path)


# new models


@pytest.mark.parametrize("size", SIZES)
def test_every_size_fits_together(size: str) -> None:
    architecture = MageArchitecture(**SIZES[size])
    assert architecture.faults() == []
    with torch.device("meta"):
        network = new(architecture, 0).network
    assert network.config.image_size == network.config.grid * architecture.token_side
    assert network.config.grid == {"tiny": 8, "small": 8, "base": 16, "large": 16}[size]


def test_the_tiny_size_is_small() -> None:
    generator = new(MageArchitecture(), 0)
    assert sum(p.numel() for p in generator.first_stage_parameters().values()) < 1e6
    assert sum(p.numel() for p in generator.trained_parameters("all").values()) < 2e6


def test_a_shape_that_cannot_be_built_is_refused_with_all_its_faults() -> None:
    with pytest.raises(InputError) as refused:
        new(MageArchitecture(image_size=60, heads=3, tokenizer_groups=7, mask_rate_most=0.2), 0)
    for told in ("image_size 60", "its 3 heads", "its 7 groups", "mask_rate_least 0.5 is above"):
        assert told in str(refused.value)


def test_released_tensors_are_recognised_and_those_of_a_masked_autoencoder_are_not() -> None:
    assert FAMILY.recognises(Contents(tensors=frozenset({"token_emb.word_embeddings.weight", "pos_embed"})))
    assert not FAMILY.recognises(Contents(tensors=frozenset({"patch_embed.proj.weight", "pos_embed"})))
    assert not FAMILY.recognises(Contents(config={"model_type": "vit_mae"}))
