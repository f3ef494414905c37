"""What may be claimed of a model that a run made, from what was done: for the record, and to hold a record against."""

from __future__ import annotations

from efface.runs.record import (
    COMPARED,
    FROM_SCRATCH,
    Claim,
    ClaimLevel,
    DeliveredFacts,
    FirstStageTraining,
    ImagesFacts,
    ModelFacts,
)


def claim_of(
    method: ClaimLevel | None,
    images: ImagesFacts,
    before: ModelFacts | None,
    after: DeliveredFacts | None,
    first_stage: FirstStageTraining | None,
    complete: bool,
) -> Claim:
    """The claim of a run.

    method: what its method claims at best, None where there is none. before: the model that it began with, None for
    trainings. after: the model that it made, None for evaluations. complete: whether the method came to its end.
    """
    if after is None:
        return Claim(level="empirical", words=COMPARED)
    if before is None:
        exact = images.only_retain and not (first_stage and first_stage.kept)
        return Claim(level="exact" if exact else "empirical", words=FROM_SCRATCH)
    exact = method == "exact" and images.only_retain and complete and not before.shares_first_stage(after)
    return Claim.of("exact" if exact else "empirical")
