"""What a letter says, as typed facts: the letter is a function of these and of nothing else."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, model_validator

from efface.documents import Described
from efface.evaluation.verdict import Verdict
from efface.ledger.policy import Language, Status
from efface.runs.record import ClaimLevel, Saw

Outcome = Literal["carried out", "not carried out", "not located", "refused", "withdrawn", "needs input"]


class Searched(Described):
    """What was looked for, and where."""

    photos: int = Field(ge=0, description="pictures that came with the request")
    checksums: int = Field(ge=0, description="checksums of files that came with it, without their pictures")
    sets: int = Field(ge=0, description="image sets that were searched")
    images: int = Field(ge=0, description="images in them")


class Located(Described):
    """How many images the request means, by how they were located."""

    exact: int = Field(0, ge=0, description="with the same bytes")
    copies: int = Field(0, ge=0, description="changed copies")
    alike: int = Field(0, ge=0, description="look-alikes that a person confirmed")

    @property
    def count(self) -> int:
        return self.exact + self.copies + self.alike


class Successor(Described):
    """A version that was made to take the place of another."""

    name: str = Field(description="its name")
    finished: date = Field(description="the day when its run was finished")
    since: date | None = Field(description="since when it is in service; null: it was not put into service")
    unmet: bool = Field(False, description="whether a requirement that was set before is not met")
    claim: ClaimLevel = Field(description="the claim level of its record")
    base_saw: Saw | None = Field(
        None, description="with `exact from base`: what is known of the base and the images"
    )
    reference_stages: str = Field(
        "all", description="which stages of the model for comparison were retrained, as in its record"
    )
    verdict: Verdict | None = Field(description="the verdict of its record; null where none was given")


class VersionFacts(Described):
    """A model version and what it has to do with the located images."""

    name: str = Field(description="its name")
    status: Status = Field(description="its status before this request was carried out, or now")
    learnt: int = Field(
        0,
        ge=0,
        description="located images that it learnt, itself or through a parent, and had not forgotten",
    )
    forgotten: int = Field(
        0, ge=0, description="located images that it had learnt and forgot in earlier work"
    )
    successor: Successor | None = Field(None, description="what was made to take its place")

    @property
    def is_replaced(self) -> bool:
        return self.successor is not None and self.successor.since is not None

    @property
    def is_left(self) -> bool:
        """Whether it learnt located images and is in service as it was."""
        return bool(self.learnt) and self.status == "in-service" and not self.is_replaced


class ChainHead(Described):
    """Where the chain of events ended when the letter was written."""

    number: int = Field(ge=1, description="number of the last event")
    digest: str = Field(description="its digest (sha256)")


class AnswerFacts(Described):
    """All that a letter says."""

    language: Language = Field(description="language of the letter")
    organisation: str = Field("", description="who answers")
    contact: str = Field("", description="whom the person can ask")
    authority: str = Field("", description="the supervisory authority")
    not_touched: tuple[str, ...] = Field(
        (), description="what else a request does not reach, in the operator's words"
    )
    recipient: str | None = Field(None, description="the person's name")
    request: str = Field(description="our id of the request")
    sender_id: str | None = Field(None, description="the sender's id of it, where the sender gave one")
    regime: str | None = Field(None, description="the law that it rests on")
    received: date = Field(description="when it came in, in the sender's zone")
    due: date | None = Field(None, description="by when it had to be answered")
    written: date = Field(description="when the letter was written")
    outcome: Outcome = Field(description="what became of the request")
    reason: str | None = Field(None, description="why it is refused, or what is needed")
    searched: Searched | None = Field(None, description="null: the search has not been done")
    located: Located = Field(Located(), description="the images that it means")
    versions: tuple[VersionFacts, ...] = Field((), description="the model versions that are known")
    fingerprints_kept: bool = Field(
        False, description="whether the images stand in the list of what must not be trained on again"
    )
    personal_until: date | None = Field(None, description="when name, address and letters are erased")
    photos_until: date | None = Field(
        None, description="until when supplied photos are kept; null: not beyond the answer"
    )
    chain: ChainHead = Field(description="where the chain of events ended")

    @model_validator(mode="after")
    def _agree(self) -> AnswerFacts:
        located, changed = self.located.count, [one for one in self.versions if one.is_replaced]
        faults = {
            "nothing was located, and the request is said to be carried out": self.outcome == "carried out"
            and not located,
            "images were located, and none are said to be": self.outcome == "not located" and located,
            "a version that is in service is left as it was, and the request is said to be carried out": self.outcome
            == "carried out"
            and any(one.is_left for one in self.versions),
            "a version learnt images, and none were located": not located
            and any(one.learnt or one.forgotten for one in self.versions),
            "a version learnt more images than were located": any(
                max(one.learnt, one.forgotten) > located for one in self.versions if located
            ),
            "a version was replaced that learnt none of the images": any(not one.learnt for one in changed),
            "it must be said why, or what is needed": self.outcome in ("refused", "needs input")
            and not self.reason,
        }
        if found := [fault for fault, holds in faults.items() if holds]:
            raise ValueError("; ".join(found))
        return self
