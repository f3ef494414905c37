"""What may be claimed of a model that a run made, from what was done: for the record, and to hold a record against."""

from __future__ import annotations

from efface.runs.record import (
    CLAIMS,
    COMPARED,
    FROM_BASE,
    FROM_SCRATCH,
    OF_BASE,
    BaseFacts,
    Claim,
    ClaimLevel,
    DeliveredFacts,
    FirstStageTraining,
    ImagesFacts,
    ModelsFacts,
)


def claim_of(
    method: ClaimLevel | None,
    images: ImagesFacts,
    model: ModelsFacts,
    first_stage: FirstStageTraining | None,
    complete: bool,
) -> Claim:
    """The claim of a run.

    method: what its method claims at best, None where there is none. model: those before and after, and the base.
    complete: whether the method came to its end.
    """
    before, after, base = model.before, model.after, model.base
    if after is None:
        return Claim(level="empirical", words=COMPARED)
    retrained = complete and images.only_retain and (before is None or method == "exact")
    if base is not None and (before is None or method == "exact"):
        exact = retrained and base.saw != "forgotten" and _is_of_the_base(base, after)
        words = FROM_BASE if before is None else CLAIMS["exact from base" if exact else "empirical"]
        told = f" {OF_BASE[base.saw]}" if images.count("forget") else ""
        return Claim(level="exact from base" if exact else "empirical", words=words + told)
    if before is None:
        exact = retrained and not (first_stage and first_stage.kept)
        return Claim(level="exact" if exact else "empirical", words=FROM_SCRATCH)
    exact = retrained and not before.shares_first_stage(after)
    return Claim.of("exact" if exact else "empirical")


def _is_of_the_base(base: BaseFacts, after: DeliveredFacts) -> bool:
    """Whether the first stage, if there is one, is the base's: no other training went into it."""
    return after.description.first_stage is None or base.shares_first_stage(after)
