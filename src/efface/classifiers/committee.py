"""Turning a classifier into an untrained committee of its own kind, whose members can then be trained one by one.

`networks.Committee` predicts by the members' mean softmax; here is the one that counts their votes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from efface.classifiers.classifier import Classifier, Origin
from efface.classifiers.networks import Committee
from efface.randomness import key

VoteKind = Literal["mean", "argmax"]
LEAST_SHARE = 1e-6
"""What a class without a vote is given, so that its logit is finite."""


class CountedVote(nn.Module):
    """The log of each class's share of votes: logits `[B, members, classes]` to `[B, classes]`, at least log 1e-6."""

    def forward(self, logits: Tensor) -> Tensor:
        votes = nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
        return votes.mean(1).clamp(min=LEAST_SHARE).log()


class CountingCommittee(nn.Module):
    """Networks that predict by majority, each with one vote (Bourtoule et al., S&P 2021, section IV.B).

    A tie goes to the lowest class. Gradients end at the votes: members are trained on their own logits.
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.vote = CountedVote()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.vote(torch.stack([_logits(member(images)) for member in self.members], dim=1))
        return logits


def become_committee(classifier: Classifier, members: int, seed: int, vote: VoteKind = "mean") -> None:
    """Put a committee of untrained members in place of the network; each is drawn by seed and number.

    Raises `InputError`, with nothing changed, where the network cannot be re-initialised.
    """
    fresh = []
    for number in range(members):
        one = classifier.copy()
        one.reinitialise(key(seed, "member", number))
        fresh.append(one.network)
    network = Committee(fresh) if vote == "mean" else CountingCommittee(fresh)
    classifier.network = network.train(classifier.training)
    classifier.blocks = (*(f"members.{number}" for number in range(members)), "vote")
    # it is no longer what lies where the single network came from
    classifier.origin = Origin()


def member_of(classifier: Classifier, number: int) -> nn.Module:
    """One member of a classifier that is a committee."""
    return classifier.network.get_submodule(f"members.{number}")


def member_logits(classifier: Classifier, number: int, images: Tensor) -> Tensor:
    """Logits `[B, classes]` of one member alone on images in 0..255; the others are not run."""
    return _logits(member_of(classifier, number)(classifier.prepare(images)))


def _logits(out: object) -> Tensor:
    logits: Tensor = out if isinstance(out, Tensor) else out.logits  # type: ignore[attr-defined]
    return logits
