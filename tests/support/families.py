"""A tiny untrained model of every family, and the corruptions that each of them takes."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

from efface.corruptions import CORRUPTIONS, Corruption, parse_corruption
from efface.generators.base import Generator
from efface.generators.registry import FAMILIES
from efface.testing.generators import takes
from efface.testing.models import randomised
from support.tiny_models import SIZE, tiny

SHAPES: dict[str, dict[str, Any]] = {
    "mage": {
        "image_size": SIZE, "codebook_size": 16, "code_dimension": 4, "tokenizer_patch": 1, "tokenizer_channels": 8,
        "tokenizer_multipliers": (1, 1, 2, 2), "tokenizer_groups": 4, "hidden_size": 32, "layers": 2, "heads": 2,
        "decoder_hidden_size": 32, "decoder_layers": 1, "decoder_heads": 2,
    },
    "palette": {"image_size": SIZE, "channel_multipliers": (1, 1), "attention_levels": ()},
    "latent-inpainting": {
        "image_size": SIZE, "vae_channels": (8, 16, 16), "unet_channels": (16, 32), "head_dim": 8,
    },
    "network": {"image_size": SIZE, "network": "support.networks:unet", "trained_with": "centre:0.5"},
}  # fmt: skip
SAMPLERS: dict[str, tuple[str | None, str | None]] = {
    "mae": (None, None),
    "mage": ("greedy:2", "confidence:3,2"),
    "palette": ("ddim:2", "ddpm:3"),
    "latent-inpainting": ("ddim:2", "dpm-solver++:3"),
    "network": (None, None),
}
"""Two fast samplers of each family."""


def untrained(family: str, **changes: Any) -> Generator:
    """A tiny model with larger random weights than fresh ones, which give nearly the same whatever is seen."""
    known = FAMILIES.named(family)
    return randomised(known.new(known.architecture.read({**SHAPES[family], **changes}), 0).eval())


BUILT: dict[str, Callable[[], Generator]] = {
    "mae": tiny,
    "mae, normalised patches": lambda: tiny(norm_pix_loss=True),
    "mae, fine grid": lambda: tiny(patch_size=4),
    "mage": lambda: untrained("mage"),
    "palette": lambda: untrained("palette"),
    "latent-inpainting": lambda: untrained("latent-inpainting"),
    "latent-inpainting, of pictures": lambda: untrained("latent-inpainting", kind="instruct"),
    "network": lambda: untrained("network"),
    "network, told the mask": lambda: untrained(
        "network", arguments={"inputs": 4}, condition=("picture+mask",), loss="charbonnier", hidden_value=0
    ),
    "network, enlarging": lambda: untrained(
        "network", network="support.networks:enlarging", scale=2, value_range=(0, 255), trained_with=None
    ),
    "network, told the noise": lambda: untrained(
        "network",
        network="support.networks:denoising",
        condition=("picture", "sigma=noise-level"),
        trained_with=None,
        loss="l2",
    ),
}
"""Names are `family` or `family, what is special`."""


@cache
def _built(name: str) -> Generator:
    return BUILT[name]()


MODELS: dict[str, Callable[[], Generator]] = {
    name: lambda name=name: deepcopy(_built(name))  # type: ignore[misc]
    for name in BUILT
}
"""The same models, built once: a copy each time."""

SLIVERS = ["random:0.01", "rectangle:0,0.9,0.1,0.1"]
TEXTS = [
    *(
        example
        for kind in CORRUPTIONS.values()
        for example in kind.usage.replace("8x8b", "2x2b").split(" or ")
        if kind.name != "paired"
    ),
    *SLIVERS,
]


@dataclass(frozen=True)
class Case:
    """One model with one corruption that it takes."""

    name: str
    corruption: Corruption

    @property
    def make(self) -> Callable[[], Generator]:
        return MODELS[self.name]

    @property
    def sampler(self) -> str | None:
        """One that takes a few steps."""
        return SAMPLERS[self.name.partition(",")[0]][0]

    def __str__(self) -> str:
        return f"{self.name}; {self.corruption}"


def cases() -> list[Case]:
    """Every model with every corruption that it takes."""
    found = []
    for name, make in MODELS.items():
        generator = make()
        found += [Case(name, c) for c in map(parse_corruption, TEXTS) if takes(generator, c)]
    return found


def kind_of(corruption: Corruption) -> str:
    """What a model can tell corruptions apart by: two of one kind differ in their pixels alone."""
    if not corruption.hides:
        return "another picture"
    if str(corruption) in SLIVERS:
        return "hardly a hole"
    if corruption.name in ("box", "brush", "box-brush"):
        return "free form"
    return "patches drawn" if corruption.is_random else "hole"


def one_of_each_kind(every: list[Case], number: int) -> list[Case]:
    """Every model with one corruption of each kind that it takes: another one for each model and each `number`."""
    kinds: dict[tuple[str, str], list[Case]] = {}
    for case in every:
        kinds.setdefault((case.name, kind_of(case.corruption)), []).append(case)
    models = list(MODELS)
    return [found[(number + models.index(name)) % len(found)] for (name, _), found in kinds.items()]
