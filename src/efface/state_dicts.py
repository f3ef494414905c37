"""Which of the tensors in a file of weights are the network's, and under which names.

Training scripts keep a state dict among other things, put a prefix before each name, or keep averaged weights (EMA)
beside the plain ones. Nothing is guessed: where a file holds several sets of weights, the user says which is meant.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from efface.errors import InputError
from efface.wording import counted, several

AVERAGED = re.compile(r"(^|[._-])(ema|swa)([._-]|$)", re.IGNORECASE)
"""In the name of weights that are a running average of the plain ones."""
NO_WEIGHTS = re.compile(r"optim|^opt$|sched|scaler|rng|random|callback|loops|hyper|^args$", re.IGNORECASE)
"""Entries of a checkpoint that may hold tensors, and none of a network."""
NO_LAYER = re.compile(
    r"n_averaged|initted|step|global_step|epoch|num_updates|decay|criterion|loss(_fn|_function)?|metrics?"
    r"|(train|val|valid|test)_?(acc|metric)\w*"
)
"""First parts of names that a training module gives to what is no part of its network."""
WRAPPING = re.compile(
    r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
)
"""What torch and Lightning put into names wherever a part was compiled, sharded or wrapped."""
DEEPEST = 3
"""How many mappings inside one another are opened."""
PLAIN = "plain"
"""The entry of all weights that are not averaged, where they have no name in common."""


@dataclass(frozen=True)
class StateDict:
    """A network's tensors.

    entry: where in the file they lie, dotted; empty for a bare state dict. prefix: what was taken off every name.
    wrapping: parts that torch or Lightning had put into names. left_out: other sets of weights in the file, and tensors
    that are no part of the network.
    """

    tensors: dict[str, Tensor]
    entry: str = ""
    prefix: str = ""
    wrapping: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def without_prefix(self, wanted: Collection[str] = ()) -> StateDict:
        """The same with the prefix that all names share taken off; of `wanted` names, as much as makes most of them fit."""
        shared = self
        views = [self]
        while (first := _shared(shared.tensors)) is not None:
            bare = {name.removeprefix(f"{first}."): tensor for name, tensor in shared.tensors.items()}
            shared = replace(shared, tensors=bare, prefix=f"{shared.prefix}{first}.")
            views.append(shared)
        if not wanted:
            return views[-1]
        names = set(wanted)
        return max(views, key=lambda view: len(names & set(view.tensors)))

    @property
    def words(self) -> list[str]:
        """What was done to come to these tensors, one sentence each."""
        said = []
        parts = ", ".join(f"'{part}'" for part in (*self.wrapping, self.prefix) if part)
        if self.entry or parts:
            read = f"of the file the entry '{self.entry}' is read" if self.entry else ""
            off = f"{parts} taken off the names of its tensors" if parts else ""
            said.append("weights: " + "; ".join(filter(None, (read, off))))
        if self.left_out:
            said.append(f"weights: left out of the file, and not changed: {several(self.left_out)}")
        return said


def chosen(content: Any, entry: str | None, where: str) -> StateDict:
    """The one state dict in `content`, or the one that `entry` names; raises `InputError` with the entries there are."""
    sets = state_dicts(content)
    if entry is None:
        if len(sets) < 2:
            return next(iter(sets.values()), StateDict({}))
        raise InputError(
            f"{where} holds several sets of weights: {_counts(sets)}. Say which one is the model with --set "
            "model.entry=NAME; it alone is changed"
        )
    named = [found for name, found in sets.items() if name == entry or name.endswith(f".{entry}")]
    if len(named) != 1 and not (named := [found for found in _below(content, entry) if found.tensors]):
        what = f"There are: {_counts(sets)}" if sets else "It holds no tensors by name"
        raise InputError(f"{where} has no entry '{entry}'. {what}")
    others = [name for name in sets if name != named[0].entry and not name.startswith(f"{entry}.")]
    return replace(named[0], left_out=(*named[0].left_out, *others))


def likeliest(content: Any, entry: str | None) -> StateDict:
    """The state dict by which a model is told where nobody has said which one it is; empty if there is none."""
    try:
        return chosen(content, entry, "")
    except InputError:
        sets = state_dicts(content)
        plain = [found for name, found in sets.items() if not AVERAGED.search(name)]
        return max(plain or sets.values(), key=lambda found: len(found.tensors), default=StateDict({}))


def state_dicts(content: Any) -> dict[str, StateDict]:
    """Every set of weights in `content` by its entry, averaged ones apart; empty if it holds none."""
    found = {}
    for entry, tensors in _mappings(content):
        for state in _told_apart(entry, tensors):
            found[state.entry] = state
    return found


def _mappings(content: Any, entry: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The innermost mappings that hold tensors of floating point by name."""
    if not isinstance(content, Mapping):
        return
    inner = [
        part
        for name, value in content.items()
        if depth < DEEPEST and isinstance(name, str) and not NO_WEIGHTS.search(name)
        for part in _mappings(value, f"{entry}.{name}" if entry else name, depth + 1)
    ]
    tensors = _dense(content)
    if sum(len(part) for _, part in inner) > len(tensors):
        yield from inner
    elif any(tensor.is_floating_point() for tensor in tensors.values()):
        yield entry, tensors


def _dense(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {
        str(name): value
        for name, value in content.items()
        if isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized
    }


def _told_apart(entry: str, tensors: dict[str, Tensor]) -> list[StateDict]:
    """Plain and averaged weights of one mapping, and each without what is no part of a network."""
    kept = {name: tensor for name, tensor in tensors.items() if not NO_LAYER.fullmatch(_first(name))}
    kept = kept or tensors
    beside = tuple(name for name in tensors if name not in kept)
    wrapping = tuple(sorted({found[0] for name in kept for found in WRAPPING.finditer(name)}))
    kept = {WRAPPING.sub("", name): tensor for name, tensor in kept.items()}
    whole = StateDict(kept, entry, wrapping=wrapping, left_out=beside)
    bare = whole.without_prefix()
    averaged = {_first(name) for name in bare.tensors if "." in name and AVERAGED.search(_first(name))}
    plain = {name: tensor for name, tensor in bare.tensors.items() if _first(name) not in averaged}
    if not averaged or not plain:
        return [whole]
    inside = ".".join(filter(None, (entry, bare.prefix.rstrip("."))))
    common = _shared(plain)
    parts = {common or PLAIN: plain if common is None else _bare(plain, common)}
    parts |= {name: _bare(bare.tensors, name) for name in sorted(averaged)}
    return [
        StateDict(part, f"{inside}.{name}" if inside else name, wrapping=wrapping, left_out=beside)
        for name, part in parts.items()
    ]


def _below(content: Any, entry: str) -> Iterator[StateDict]:
    """What lies under `entry` in names of tensors, for files that hold several networks in one state dict."""
    for place, tensors in _mappings(content):
        for prefix in {entry, entry.removeprefix(f"{place}.")}:
            if part := _bare(tensors, prefix):
                rest = sorted({_first(name) for name in tensors if not name.startswith(f"{prefix}.")})
                yield StateDict(part, f"{place}.{prefix}" if place else prefix, left_out=tuple(rest))
                break


def _bare(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")
    }


def _shared(tensors: Mapping[str, Tensor]) -> str | None:
    """The first part of every name, where all have the same one and more behind it."""
    firsts = {_first(name) if "." in name else None for name in tensors}
    first = firsts.pop() if len(firsts) == 1 else None
    # a list's number, or a layer of its own, is no prefix
    return None if first is None or first.isdigit() or len(tensors) < 3 else first


def _first(name: str) -> str:
    return name.partition(".")[0]


def _counts(sets: Mapping[str, StateDict]) -> str:
    return ", ".join(
        f"{name or PLAIN} ({counted(len(state.tensors), 'tensor')})" for name, state in sets.items()
    )
