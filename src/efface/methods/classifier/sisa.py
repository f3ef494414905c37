"""`sisa`: a committee, each member trained on its own shard of the images; only members that saw a forget image are redone.

Follows: Bourtoule et al., "Machine Unlearning" (S&P 2021, arXiv:1912.03817): shards in slices, the state kept before each
slice, and after a deletion training again from the first slice that held a forget image; 2 / (slices + 1) of the epochs
for each slice, as in its published code.
Deviations: a plain model cannot be unlearned so. The committee is trained here first, on forget and retain images, as
preparation that does not count as unlearning; only the states that the deletion needs are kept. An image's shard and
slice follow from its id, so that those of retain images do not depend on what is forgotten; shards differ a little in
size. Each slice is trained by the original's recipe with an optimizer and a schedule of its own. Class weights are those
of the images that a member sees. Members vote by mean softmax, the paper's second way; the code's default is argmax.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from efface.errors import Faults, InputError
from efface.methods.base import ClaimLevel
from efface.methods.classifier.base import ClassifierMethod
from efface.randomness import key
from efface.training.losses import cross_entropy
from efface.training.passes import Edit, Facts, Pass, Passes, training_pass
from efface.wording import counted

if TYPE_CHECKING:
    from torch import Tensor

    from efface.classifiers.classifier import Classifier
    from efface.images.labelled import LabelledImages
    from efface.training.classification import Labelled, Work


class Sisa(ClassifierMethod):
    """Train a committee on shards, and redo the members that saw a forget image."""

    shards: int = Field(5, ge=1, description="members, each trained on its own part of the images")
    slices: int = Field(1, ge=1, description="parts of a shard, added one after the other")
    vote: Literal["mean", "argmax"] = Field(
        "mean", description="mean: the members' mean softmax; argmax: their shares of votes"
    )

    name: ClassVar[str] = "sisa"
    summary: ClassVar[str] = "a committee on shards of the images; members that saw a forget image are redone"
    source: ClassVar[str] = "Bourtoule et al., S&P 2021, arXiv:1912.03817"
    deviations: ClassVar[str] = (
        "trains its committee first; shards by the images' ids; optimizer, schedule and class weights anew in each slice"
    )
    claim: ClassVar[ClaimLevel] = "exact"
    reads_recipe: ClassVar[bool] = True
    rebuilds: ClassVar[bool] = True
    like_for_like: ClassVar[bool] = False

    def passes(self, facts: Facts) -> Passes:
        """`facts.sizes` must hold the sizes of `own_sets` too: they tell which shards are hit, and from which slice."""
        stages = [(shard, part) for shard in range(self.shards) for part in range(self.slices)]
        if not all(before(*stage) in facts.sizes for stage in stages):
            raise InputError(
                "sisa lays down its passes by the sizes of its own sets; give them with those of forget and retain"
            )
        redone = [stage for stage in stages if after(*stage) in facts.sizes]
        firsts = dict(reversed(redone))
        passes: list[Edit | Pass] = [Edit("committee", self.assemble, rebuilds=True, preparation=True)]
        for shard, part in stages:
            if firsts.get(shard) == part:
                passes.append(Edit(f"keep shard {shard}", partial(keep, shard=shard), preparation=True))
            passes.append(replace(self.stage(facts, shard, before(shard, part)), preparation=True))
        # all at once and first, so that a run cut by a limit of time holds no member that saw a forget image
        passes.append(Edit("restore", partial(restore, shards=sorted(firsts))))
        return [*passes, *(self.stage(facts, shard, after(shard, part)) for shard, part in redone)]

    def own_sets(self, sets: Mapping[str, LabelledImages], facts: Facts) -> dict[str, LabelledImages]:
        """What each member sees in each slice, and again without the forget images from the first slice that held one."""
        everything = sets["retain"].join(sets["forget"])
        cells = self.shards * self.slices
        # a key has 63 bits: this is its place in as many equal parts
        cell = np.array(
            [key(facts.seed, "sisa", id_) * cells >> 63 for id_ in everything.ids], dtype=np.int64
        )
        shard, part = cell // self.slices, cell % self.slices
        kept = np.arange(len(everything)) < len(sets["retain"])
        own: dict[str, LabelledImages] = {}
        for one in range(self.shards):
            hit = part[(shard == one) & ~kept]
            for last in range(self.slices):
                seen = (shard == one) & (part <= last)
                own[before(one, last)] = everything.subset(np.flatnonzero(seen))
                if len(hit) and hit.min() <= last:
                    own[after(one, last)] = everything.subset(np.flatnonzero(seen & kept))
        with Faults("sisa cannot divide these images") as faults:
            for name, images in own.items():
                if len(images) < 2:
                    faults.add(f"{name}: {counted(len(images), 'image')}; choose fewer shards or slices")
        return own

    def stage(self, facts: Facts, shard: int, stream: str) -> Pass:
        """One member's training on one slice and those before it, by the recipe."""
        return replace(
            training_pass(facts.recipe, stream, name=stream),
            loss=partial(member_loss, shard=shard, stream=stream),
            epochs=2 / (self.slices + 1) * facts.recipe.epochs,
            trained=partial(weights_of, shard=shard),
        )

    def assemble(self, work: Work) -> None:
        """Put untrained members in the network's place, and keep the class weights of each stage."""
        import torch

        from efface.classifiers.committee import become_committee

        become_committee(work.model, self.shards, work.seed, self.vote)
        if work.facts.recipe.class_weights:
            for stream, images in work.sets.items():
                counts = np.bincount(images.labels, minlength=work.facts.classes)
                weights = np.where(counts > 0, 1 / np.maximum(counts, 1), 0)
                work.memory[f"class weights, {stream}"] = torch.tensor(weights, dtype=torch.float32).to(
                    work.device
                )


def before(shard: int, part: int) -> str:
    """Name of the set that a member sees in a slice before the deletion."""
    return f"shard {shard} slice {part}"


def after(shard: int, part: int) -> str:
    """Name of the same set without the forget images."""
    return f"{before(shard, part)} without forget"


def member_loss(work: Work, batches: Mapping[str, Labelled], shard: int, stream: str) -> Tensor:
    """Cross-entropy of one member; the others are not run."""
    from efface.classifiers.committee import member_logits

    batch = batches[stream]
    logits = member_logits(work.model, shard, batch.images)
    return cross_entropy(logits, batch.labels, work.memory.get(f"class weights, {stream}"))


def weights_of(classifier: Classifier, shard: int) -> list[str]:
    """Names of a member's weights in the committee."""
    return list(classifier.parameters_of((f"members.{shard}",)))


def keep(work: Work, shard: int) -> None:
    """Remember a member's weights and statistics."""
    from efface.classifiers.committee import member_of

    for name, value in member_of(work.model, shard).state_dict().items():
        work.memory[f"kept {shard}, {name}"] = value.clone()


def restore(work: Work, shards: list[int]) -> None:
    """Set members back to what was remembered of them."""
    from efface.classifiers.committee import member_of

    for shard in shards:
        member = member_of(work.model, shard)
        member.load_state_dict(
            {name: work.memory.pop(f"kept {shard}, {name}") for name in member.state_dict()}
        )
