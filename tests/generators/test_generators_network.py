"""Any torch network as a generator: how it is cut, fed and read, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import efface
from efface.corruptions import parse_corruption
from efface.errors import InputError
from efface.generators import load_generator
from efface.generators.network.family import NetworkSettings, Use
from efface.generators.network.generator import NetworkGenerator
from efface.weights import write_tensors
from support.networks import Denoising, Enlarging, UNet, enlarging, unet
from support.tiny_models import draws, pictures

SIDE = 16


class Alone(nn.Module):
    """Called as it is: one layer whose input is changed in place, whole numbers, or images that do not come first."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.first, self.second, self.what = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1), what
        self.pool, self.clip = nn.MaxPool2d(2, return_indices=True), nn.Sequential(nn.Conv2d(4, 4, 1))
        self.clip.register_forward_pre_hook(lambda module, inputs: inputs[0].mul_(2) and None)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Any:
        deep = self.first(x)
        if self.what == "two pictures":
            return {"one": self.second(deep), "other": self.second(deep)}
        if self.what == "small":
            return self.second(deep)[..., ::2, ::2]
        if self.what == "draws":
            deep = deep + torch.randn_like(deep)
        if self.what == "no gradient":
            deep = deep.sigmoid()
            deep += 1
        if self.what == "fails in training" and self.training:
            raise ValueError("targets are missing")
        if self.what == "no memory" and self.training:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        if self.what == "nothing finite":
            return self.second(deep) / 0
        return self.second(deep)


def opened(network: nn.Module, **settings: Any) -> NetworkGenerator:
    image_size = settings.pop("image_size", SIDE)
    return NetworkGenerator(network.eval(), Use.read(settings), image_size)


def viewed(generator: NetworkGenerator, corruption: str, count: int = 2) -> Any:
    return generator.view(
        pictures(count, size=generator.image_size), parse_corruption(corruption), draws(count)
    )


def calls_of(network: nn.Module) -> list[str]:
    """Names of modules, as they are called from now on."""
    called: list[str] = []
    for name, module in network.named_modules():
        module.register_forward_hook(lambda module, inputs, output, name=name: called.append(name))
    return called


# the cut


@pytest.mark.parametrize(
    ("network", "settings", "corruption", "encoder"),
    [
        (UNet(), {}, "centre:0.5", {"stem", "down", "middle"}),
        (Enlarging(), {"scale": 2}, "downsample:2", {"head", "body.0", "body.1"}),
        (
            Denoising(),
            {"condition": ["picture", "sigma=noise-level"]},
            "noise:25",
            {"first"},
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_each_half_runs_without_the_other_and_both_make_the_whole(
    network: nn.Module, settings: dict[str, Any], corruption: str, encoder: set[str]
) -> None:
    generator = opened(network, **settings)
    assert set(generator.parts.named) == encoder
    view = viewed(generator, corruption)
    called = calls_of(generator.network)
    features = generator.encode(view)
    behind = {name for name in called if name and not name.startswith(tuple(encoder))}
    assert behind <= {"act"}, "an activation of the encoder's own"
    called.clear()
    answer = generator.decode(tuple(feature.detach() for feature in features), view)
    assert torch.allclose(answer, generator.predict(view), atol=1e-6)
    answer.sum().backward()
    assert all(parameter.grad is None for parameter in generator.encoder_parameters().values())
    assert all(parameter.grad is not None for parameter in generator.decoder_parameters().values())
    generator.network.zero_grad()
    sum(feature.sum() for feature in generator.encode(view)).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in generator.encoder_parameters().values())
    assert all(parameter.grad is None for parameter in generator.decoder_parameters().values())
    assert not any("forward" in vars(module) for module in generator.network.modules())


def test_features_are_only_what_the_decoder_consumes_and_are_the_skips_as_they_were() -> None:
    generator = opened(unet(), encoder=["stem", "down", "middle"])
    skip, low = generator.encode(viewed(generator, "centre:0.5"))
    assert (tuple(skip.shape[1:]), tuple(low.shape[1:])) == ((8, SIDE, SIDE), (16, SIDE // 2, SIDE // 2))
    assert generator.parts.cut.changed, "an activation changes the skip in place behind it"
    assert (skip < 0).any(), "features are those before that activation"


def test_a_container_stands_for_what_it_holds_and_a_module_outside_the_encoder_is_named() -> None:
    generator = opened(enlarging(), scale=2, encoder=["body"])
    assert set(generator.encoder_parameters()) == {
        f"body.{n}.{kind}" for n in range(3) for kind in ("weight", "bias")
    }
    said = " ".join(generator.remarks())
    assert "head.weight, head.bias run before the features, outside the encoder" in said
    assert "the input also reaches the answer past the encoder" in said
    assert "as model.encoder says" in said


def test_a_module_that_runs_several_times_is_changed_where_it_runs_behind_the_encoder_too() -> None:
    network = Denoising()
    network.last = network.block[1]  # type: ignore[assignment]
    network.first, network.block[1] = nn.Conv2d(4, 3, 1), nn.Conv2d(3, 3, 1)
    network.last = network.block[1]  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"nothing with weights runs behind it|cannot be cut"):
        opened(network, condition=["picture", "sigma=noise-level"], encoder=["first", "block"])


@pytest.mark.parametrize(
    ("network", "settings", "said"),
    [
        (unet(), {"encoder": ["stemm"]}, "unknown module or parameter 'stemm'; did you mean 'stem'"),
        (
            unet(),
            {"encoder": ["stem", "down", "middle", "up", "out"]},
            "it holds all parameters of the network",
        ),
        (unet(), {"encoder": ["out"]}, "nothing with weights runs behind it|nothing behind it consumes"),
        (Alone(""), {"encoder": ["unused"]}, "the network's forward does not call unused"),
        (Alone("two pictures"), {}, "the network gives 2 pictures: say which"),
        (Alone("two pictures"), {"output": "third"}, r"gives no 'third', but \['one', 'other'\]"),
        (
            Alone("small"),
            {},
            r"gives \[1, 3, 8, 8\], and no picture .* 0.5 times larger: give that as model.scale",
        ),
        (Alone("nothing finite"), {}, "values that are not finite"),
        (Alone("draws"), {}, "draws at random in evaluation mode"),
        (
            Alone("no gradient"),
            {},
            "fails in evaluation mode: RuntimeError: one of the variables needed for gradient",
        ),
        (
            nn.Conv2d(5, 3, 1),
            {},
            r"fails in evaluation mode: RuntimeError.* fed with picture \[1, 3, 16, 16\]",
        ),
        (nn.Conv2d(3, 3, 1), {}, "fewer than two modules"),
        (enlarging(), {}, "2 times larger: give that as model.scale"),
        (enlarging(3), {"scale": 3}, "image_size 16 is no multiple of scale 3"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_sentence(
    network: nn.Module, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said) as raised:
        opened(network, **settings)
    assert len(raised.value.problems) == 1


def test_what_a_network_raises_in_training_is_said_and_memory_that_ends_passes() -> None:
    generator = opened(Alone("fails in training"))
    view = viewed(generator, "noise:0")
    with pytest.raises(InputError, match="Alone fails in training mode: ValueError: targets are missing"):
        generator.train().predict(view)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        opened(Alone("no memory")).train().predict(view)


def test_a_network_that_runs_otherwise_in_training_cannot_be_cut_there() -> None:
    network = UNet()
    generator = opened(network, encoder=["stem"])
    network.stem.forward = lambda x: (x, x)  # type: ignore[method-assign,assignment]
    with pytest.raises(InputError, match="ran otherwise than when it was opened: stem gave 2 values, not 1"):
        generator.encode(viewed(generator, "centre:0.5"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"condition": ["picture+masks"]}, "masks: an input is one of picture, mask, known"),
        ({"condition": ["mask"]}, "must be fed the picture"),
        ({"condition": ["picture+noise-level"]}, "take noise-map"),
        ({"scale": 2, "condition": ["picture+mask"]}, "fills no holes"),
        ({"value_range": [1, 0]}, "value_range: give the value of black"),
        ({"mean": [0.5]}, "mean, std: give both"),
        ({"trained_with": "centre"}, "."),
        ({"trained_with": "nois:25"}, "unknown corruption 'nois'; did you mean 'noise'"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, Any], said: str) -> None:
    if settings == {"trained_with": "centre"}:
        assert Use.read(settings).trained_with == "centre:0.5"
        return
    with pytest.raises(InputError, match=said):
        Use.read(settings)


# how it is fed and read


def passing(channels: int = 3) -> nn.Module:
    """Two layers that give what they are given."""
    layers = nn.Sequential(
        nn.Conv2d(channels, channels, 1, bias=False), nn.Conv2d(channels, channels, 1, bias=False)
    )
    for parameter in layers.parameters():
        parameter.data = torch.eye(channels).view(channels, channels, 1, 1)
    return layers


@pytest.mark.parametrize(
    "settings",
    [
        {"value_range": [0, 255]},
        {"value_range": [-1, 1]},
        {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        {"value_range": [0, 255], "mean": [127.5], "std": [127.5]},
    ],
)
def test_a_network_that_passes_its_input_restores_the_picture_in_every_value_range(
    settings: dict[str, Any],
) -> None:
    generator = opened(passing(), **settings)
    view = viewed(generator, "noise:0")
    assert torch.allclose(generator.restore(view), view.images, atol=1e-5)
    assert generator.task_loss(view).max() < 1e-5


def test_an_output_range_of_its_own_is_read_in_it() -> None:
    generator = opened(passing(), value_range=[0, 255], output_range=[0, 510])
    view = viewed(generator, "noise:0")
    assert torch.allclose(generator.restore(view), view.images / 2, atol=1e-5)


def test_a_grey_network_is_fed_luma_and_answers_grey() -> None:
    generator = opened(passing(1))
    view = viewed(generator, "noise:0")
    assert (generator.channels, generator.answer_channels) == (1, 1)
    grey = (view.images * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    assert torch.allclose(generator.restore(view), grey.expand(-1, 3, -1, -1), atol=1e-5)
    assert generator.task_loss(view).max() < 1e-5


def test_holes_are_filled_as_the_network_knows_them_and_masks_are_joined() -> None:
    generator = opened(unet(inputs=4), condition=["picture+mask"], hidden_value=0)
    view = viewed(generator, "centre:0.5")
    (fed,) = generator._of_view(view)
    hidden = ~view.corrupted.known
    assert torch.equal(fed[:, 3:], hidden.float())
    assert (fed[:, :3][hidden.expand(-1, 3, -1, -1)] == 0).all()
    with pytest.raises(InputError, match="hides no pixels"):
        generator.check_corruption(parse_corruption("colour"))


def test_a_denoiser_is_told_the_level_in_its_own_units() -> None:
    generator = opened(Denoising(), condition=["picture", "sigma=noise-level"], value_range=[0, 255])
    _, level = generator._of_view(viewed(generator, "noise:50"))
    assert level.flatten().tolist() == [50.0, 50.0]
    assert str(generator.training_corruption) == "noise:25"


def test_a_network_that_enlarges_is_fed_the_small_picture() -> None:
    generator = opened(enlarging(), scale=2)
    view = viewed(generator, "downsample:2")
    small = torch.nn.functional.interpolate(view.images, scale_factor=0.5, mode="bicubic", antialias=True)
    assert torch.allclose(view.picture, small, atol=1e-6)
    assert str(generator.training_corruption) == "downsample:2"


def test_unlearning_leaves_running_statistics_and_fresh_weights_learn_them() -> None:
    generator = opened(unet())
    before = generator.network.get_buffer("stem.1.running_mean").clone()
    generator.train().task_loss(viewed(generator, "centre:0.5"))
    assert torch.equal(generator.network.get_buffer("stem.1.running_mean"), before)
    generator.learns_statistics = True
    generator.train().task_loss(viewed(generator, "centre:0.5"))
    assert not torch.equal(generator.network.get_buffer("stem.1.running_mean"), before)


# where it lies


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_tensors(tmp_path / "weights.safetensors", unet().state_dict())
    return tmp_path / "weights.safetensors"


def test_code_that_a_folder_names_runs_only_where_the_user_names_it(file: Path, tmp_path: Path) -> None:
    generator = efface.load(file, network="support.networks:unet", image_size=SIDE, trained_with="centre:0.5")
    generator.save(tmp_path / "saved")
    with pytest.raises(
        InputError, match=r"is built by support\.networks:unet, code that is not run unless you name it"
    ):
        efface.load(tmp_path / "saved")
    opened = efface.load(tmp_path / "saved", network="support.networks:unet")
    assert opened.weights_digest() == generator.weights_digest()
    section = NetworkSettings(path=str(tmp_path / "saved"), family="network")
    named = NetworkSettings(path=str(file), network="support.networks:unet")
    assert section.beside(named).network == "support.networks:unet"
    assert section.beside(named.model_copy(update={"network": "support.networks:other"})).network is None


def test_a_corruption_of_a_job_is_not_taken_for_what_a_network_was_trained_with(
    file: Path, tmp_path: Path
) -> None:
    section = NetworkSettings(
        path=str(file), family="network", network="support.networks:unet", image_size=SIDE
    )
    generator = load_generator(section.under("centre:0.5"))
    assert str(generator.training_corruption) == "centre:0.5"
    assert not generator.tells_training
    assert (
        load_generator(generator.settings_at(str(file))).training_corruption == generator.training_corruption
    )
    generator.save(tmp_path / "saved")
    reopened = efface.load(tmp_path / "saved", network="support.networks:unet")
    with pytest.raises(InputError, match="say what the network was trained to undo"):
        _ = reopened.training_corruption
    said = load_generator(section.model_copy(update={"trained_with": "noise:25"}).under("centre:0.5"))
    assert said.tells_training
    assert str(said.training_corruption) == "noise:25"


def test_weights_that_are_not_there_are_said_to_be_missing(file: Path) -> None:
    for place, said in (
        (file.with_name("weight.safetensors"), "no such file or folder; did you mean 'weights.safetensors'"),
        ("hub:owner/name", "are read from a file or a folder; fetch them first"),
    ):
        with pytest.raises(InputError, match=said):
            efface.load(place, network="support.networks:unet", image_size=SIDE)


def test_weights_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    network = unet()
    network.get_parameter("out.bias").data[0] = float("nan")
    write_tensors(tmp_path / "weights.safetensors", network.state_dict())
    for load in (
        lambda: efface.load(
            tmp_path / "weights.safetensors", network="support.networks:unet", image_size=SIDE
        ),
        lambda: efface.load(efface.Module(network, "damaged", image_size=SIDE)),
    ):
        with pytest.raises(InputError, match=r"NaN or infinite values in out\.bias"):
            load()


def test_weights_that_do_not_fit_are_named(file: Path) -> None:
    with pytest.raises(InputError, match="do not fit the architecture"):
        efface.load(file, network="support.networks:unet", arguments={"width": 4}, image_size=SIDE)
    with pytest.raises(InputError, match=r"model\.image_size: say the side"):
        efface.load(file, network="support.networks:unet")


def test_fresh_weights_are_the_factorys_and_another_seed_gives_others(file: Path) -> None:
    generator = efface.load(file, network="support.networks:unet", image_size=SIDE)
    before = generator.weights_digest()
    generator.reinitialise(1)
    first = generator.weights_digest()
    generator.reinitialise(2)
    assert len({before, first, generator.weights_digest()}) == 3


def test_a_module_in_memory_is_opened_as_a_copy_and_has_no_fresh_weights() -> None:
    network = unet()
    with pytest.raises(InputError, match=r"give a network in memory as efface\.Module"):
        efface.load(network)
    generator = efface.load(efface.Module(network, "mine", image_size=SIDE))
    next(iter(generator.network.parameters())).data.zero_()
    assert next(iter(network.parameters())).abs().sum() > 0
    with pytest.raises(InputError, match="fresh weights: nothing says how this network is built"):
        generator.reinitialise(0)
    with pytest.raises(InputError, match="was held in memory and is no longer"):
        efface.load("memory:gone", network="memory:gone", image_size=SIDE)
