"""Weights, gradients and moments shared out over processes while a phase trains: torch's `fully_shard` (FSDP2).

Each process holds a part of every weight that is trained, and has a block whole only while it runs. What is frozen, and
the teacher, lie whole in each. What is saved, and the model at the end, are whole as if one process had trained: so a run
may go on in another number of processes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from efface.generators.base import Generator
from efface.recomputing import blocks_of
from efface.training.phases import Phase, Training
from efface.training.settings import TrainingSettings


class ShardedNetwork:
    """The trained weights of `generator` in parts, until `gather` puts a whole network in its place.

    loss: the module whose forward pass runs the network, with `generator` as a part.
    """

    def __init__(self, generator: Generator, loss: nn.Module, processes: int) -> None:
        # here and below, where it is due: a second of imports
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        self.generator = generator
        network = generator.network
        frozen = {one for one in network.parameters() if not one.requires_grad}
        # the same modules without trained weights: the hooks and classes that sharding adds end with the others
        self._places = {
            name: nn.Parameter(one.detach().to("meta"))
            for name, one in network.named_parameters()
            if one not in frozen
        }
        memo: dict[int, Any] = {id(one): one for one in (*frozen, *network.buffers())}
        memo |= {id(network.get_parameter(name)): place for name, place in self._places.items()}
        self._empty = copy.deepcopy(network, memo)
        mesh = init_device_mesh(generator.device.type, (processes,))
        for block in blocks_of(network):
            if not frozen.issuperset(block.parameters()):
                fully_shard(block, mesh=mesh, ignored_params=frozen)
        fully_shard(loss, mesh=mesh, ignored_params=frozen)

    def gather(self) -> None:
        """Put the whole network in the place of the parts. All processes come here."""
        for name, place in self._places.items():
            present = whole(self.generator.network.get_parameter(name).detach())
            torch.utils.swap_tensors(place, nn.Parameter(present))
        for buffer in self._empty.buffers():
            # as if the first one had told the others at each step
            torch.distributed.broadcast(buffer, 0)
        self.generator.network = self._empty


def sharding_faults(settings: TrainingSettings, phases: Iterable[Phase]) -> list[str]:
    """Why weights cannot be shared out, one sentence each."""
    faults = []
    if settings.shard and settings.compile:
        faults.append("training.shard: compiled networks are not shared out: leave out training.compile")
    if settings.shard and any(isinstance(phase, Training) and phase.combine for phase in phases):
        faults.append(
            "training.shard: this method combines the gradients of several objectives, which lie whole: choose another"
        )
    return faults


def whole(value: Any, device: str | None = None) -> Any:
    """Plain values and tensors, however they are nested, with every tensor that lies in parts put together.

    device: where they are put, if not where they are. All processes come here.
    """
    if isinstance(value, Mapping):
        return {name: whole(part, device) for name, part in value.items()}
    if isinstance(value, list):
        return [whole(part, device) for part in value]
    return value.full_tensor().to(device=device) if in_parts(value) else value


def in_parts(value: object) -> bool:
    """Whether it is a tensor of which each process holds a part, torch's `DTensor`."""
    return hasattr(value, "full_tensor")


def divided(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, in parts where `like` is."""
    if not in_parts(like) or value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    parts: Any = like
    return distribute_tensor(value.to(like.device), parts.device_mesh, parts.placements)


def load_moments(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Go on with moments that are whole, in parts where their weights are."""
    optimizer.load_state_dict(dict(state))
    for parameter, moments in optimizer.state.items():
        moments.update({name: divided(value, parameter) for name, value in moments.items()})
