"""Committees: networks of the same classes that predict together, as the parts of SISA do.

Source: Bourtoule et al., "Machine Unlearning", S&P 2021 (arXiv:1912.03817), section IV.B.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from efface.classifiers.architecture import VoteKind
from efface.classifiers.classifier import Classifier, logits_in
from efface.randomness import key

LEAST_SHARE = 1e-6
"""What a class without a vote is given, so that its logit is finite."""


class Vote(nn.Module):
    """Logits `[B, members, classes]` to the committee's `[B, classes]`.

    mean: the log of the members' mean softmax, so that their softmax is that mean. argmax: the log of each class's share
    of votes, at least log 1e-6; a tie goes to the lowest class, and gradients end here.
    """

    def __init__(self, kind: VoteKind) -> None:
        super().__init__()
        self.kind: VoteKind = kind

    def forward(self, logits: Tensor) -> Tensor:
        if self.kind == "mean":
            return logits.log_softmax(-1).logsumexp(1) - math.log(logits.shape[1])
        votes = nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
        return votes.mean(1).clamp(min=LEAST_SHARE).log()


class Committee(nn.Module):
    """Networks that vote. What its head `vote` is fed are the members' logits."""

    def __init__(self, members: Iterable[nn.Module], vote: VoteKind = "mean") -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.vote = Vote(vote)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.vote(torch.stack([logits_in(member(images)) for member in self.members], dim=1))
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
    classifier.network = Committee(fresh, vote).train(classifier.training)
    classifier.blocks = (*(f"members.{number}" for number in range(members)), "vote")
    # it is no longer what lies where the single network came from
    classifier.origin = type(classifier.origin)()


def member_of(classifier: Classifier, number: int) -> nn.Module:
    """One member of a classifier that is a committee."""
    return classifier.network.get_submodule(f"members.{number}")


def member_logits(classifier: Classifier, number: int, images: Tensor) -> Tensor:
    """Logits `[B, classes]` of one member alone on images in 0..255; the others are not run."""
    return logits_in(member_of(classifier, number)(classifier.prepare(images)))
