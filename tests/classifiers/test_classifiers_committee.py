"""Committees made of a classifier, and the two ways in which they vote."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from efface.classifiers.classifier import Classifier, Origin
from efface.classifiers.committee import Committee, Vote, become_committee, member_logits, member_of
from efface.errors import InputError


def small(network: nn.Module | None = None) -> Classifier:
    torch.manual_seed(0)
    network = network or nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    return Classifier(
        network.eval(),
        classes=("a", "b", "c"),
        image_size=2,
        channels=1,
        origin=Origin("timm", {"config": {}}),
    )


PICTURES = torch.arange(24.0).reshape(6, 1, 2, 2)


def test_a_mean_committee_predicts_by_the_mean_softmax_of_its_members() -> None:
    classifier = small()
    become_committee(classifier, 3, seed=1)
    expected = torch.stack([member_logits(classifier, i, PICTURES).softmax(1) for i in range(3)]).mean(0)
    torch.testing.assert_close(classifier(PICTURES).exp(), expected)
    assert isinstance(classifier.network, Committee)


def test_counted_votes_are_shares_of_the_members_and_ties_go_to_the_lowest_class() -> None:
    logits = torch.tensor(
        [[[0.0, 2, 1], [0, 1, 0], [5, 0, 0], [0, 3, 0]], [[0, 0, 1.0], [0, 1, 0], [0, 1, 0], [0, 0, 1]]]
    )
    votes = Vote("argmax")(logits)
    floor = math.log(1e-6)
    expected = torch.tensor([[math.log(0.25), math.log(0.75), floor], [floor, math.log(0.5), math.log(0.5)]])
    torch.testing.assert_close(votes, expected)
    assert votes.argmax(1).tolist() == [1, 1]


def test_a_counting_committee_gives_the_votes_of_its_members() -> None:
    classifier = small()
    become_committee(classifier, 4, seed=1, vote="argmax")
    choices = torch.stack([member_logits(classifier, i, PICTURES).argmax(1) for i in range(4)], dim=1)
    expected = torch.stack([(choices == label).float().mean(1) for label in range(3)], dim=1)
    torch.testing.assert_close(classifier(PICTURES).exp(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("vote", ["mean", "argmax"])
def test_the_blocks_of_a_committee_are_its_members_and_hold_all_weights(vote: str) -> None:
    classifier = small()
    become_committee(classifier, 2, seed=1, vote=vote)  # type: ignore[arg-type]
    assert classifier.blocks == ("members.0", "members.1", "vote")
    assert (
        classifier.parameters_of(classifier.blocks).keys()
        == dict(classifier.network.named_parameters()).keys()
    )
    # a committee must not be written over what the single network came from
    assert classifier.origin == Origin()


def test_members_are_fresh_differ_and_follow_from_the_seed() -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    made = []
    for seed in (1, 1, 2):
        classifier = small()
        torch.set_rng_state(state)
        become_committee(classifier, 2, seed)
        made.append(classifier)
    assert torch.equal(torch.get_rng_state(), state)
    assert made[0].weights_digest() == made[1].weights_digest() != made[2].weights_digest()
    weights = [member_of(made[0], i).get_parameter("1.weight") for i in range(2)]
    assert not torch.equal(*weights)
    assert not torch.equal(weights[0], small().network.get_parameter("1.weight"))


def test_running_one_member_leaves_the_statistics_of_the_others_alone() -> None:
    classifier = small()
    become_committee(classifier, 2, seed=1)
    classifier.train()
    member_logits(classifier, 1, PICTURES)
    means = [member_of(classifier, i).get_buffer("2.running_mean") for i in range(2)]
    assert means[0].abs().max() == 0
    assert means[1].abs().max() > 0


def test_a_network_that_cannot_be_drawn_anew_is_refused_and_left_as_it_was() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.factor

    classifier = small(nn.Sequential(nn.Flatten(), Scale(), nn.Linear(4, 3)))
    network = classifier.network
    with pytest.raises(InputError, match="a Scale has no reset_parameters"):
        become_committee(classifier, 2, seed=1)
    assert classifier.network is network
    assert classifier.origin.kind == "timm"
