"""The policy of an organisation: `policy.yaml` beside its ledger. Every key is described, unknown ones are refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, JsonValue, model_validator

from efface.documents import read_yaml, yaml_text
from efface.settings import Settings

Language = Literal["en", "de", "fr"]
Status = Literal["in-service", "superseded", "withdrawn", "not-ours"]
Days = Annotated[int, Field(ge=0, le=36500)]


class Organisation(Settings):
    """Who answers."""

    name: str = Field("", description="name of the organisation, as in its letters")
    contact: str = Field("", description="whom the person can ask, and how: an address, a telephone number")
    authority: str = Field("", description="the supervisory authority to which the person can complain")
    not_touched: tuple[str, ...] = Field(
        (), description="what a request does not reach and the letter must say: backups, copies given away"
    )


class Approval(Settings):
    """Who may approve a request."""

    by: tuple[str, ...] = Field(
        (), description="names of those who may approve; empty: anyone who can open the ledger"
    )
    people: Literal[1, 2] = Field(1, description="how many of them must approve, one or two")


class Deadlines(Settings):
    """By when a request must be answered."""

    days: dict[str, Days] = Field(
        {"GDPR": 30, "CCPA": 45}, description="days from receipt until due, by regime; capitals do not matter"
    )
    otherwise: Days = Field(30, description="days until due of any other request")


class Retraining(Settings):
    """When a model is to be trained anew rather than unlearnt further."""

    drift: float = Field(
        1.05, gt=1, description="error on retain images over the first original's from which on it is advised"
    )
    when_unmet: bool = Field(
        False, description="whether a run whose requirements are not met asks for training anew"
    )


class ModelPolicy(Settings):
    """How a model is unlearnt."""

    config: dict[str, JsonValue] = Field(
        {},
        description="settings of `efface unlearn` as in its config file: method, training, budget, requirements, neutral",
    )
    retrain: Retraining = Field(Retraining(), description="when to train anew instead")


class SuppliedPhotos(Settings):
    """What is kept of photos that came with a request."""

    keep: Literal["until-answered", "days", "not"] = Field(
        "until-answered",
        description="overwritten when the request is answered; after some days; or as soon as images are located",
    )
    days: Days = Field(30, description="with keep: days, how many days after receipt")


class Identity(Settings):
    """Whether it must be known who asks."""

    required: bool = Field(
        False, description="whether approval needs a note on who verified the person's identity, and how"
    )


class FaceEmbeddings(Settings):
    """Whether faces may be compared to locate images. Embeddings of faces are never kept after that."""

    allowed: bool = Field(False, description="whether embeddings of faces may be computed to locate images")
    ground: str = Field("", description="the legal ground on which they are, as the letter says it")
    extractor: str = Field("", description="the feature extractor of faces, such as torchscript:FILE")

    @model_validator(mode="after")
    def _on_a_ground(self) -> FaceEmbeddings:
        if self.allowed and not (self.ground and self.extractor):
            raise ValueError("embeddings of faces are allowed with a ground and an extractor only: give both")
        return self


class Locating(Settings):
    """How images are located."""

    agreement: float = Field(
        0.85, ge=0, le=1, description="agreement of detail from which on an image is a copy"
    )
    extractor: str = Field("", description="feature extractor for look-alikes; empty: none are looked for")
    similarity: float = Field(
        0.7, ge=0, le=1, description="cosine of features from which on an image is proposed as a look-alike"
    )
    most: int = Field(20, ge=1, description="look-alikes proposed for each photo, at most")


class Service(Settings):
    """What `efface requests serve` needs to know."""

    public_url: str = Field(
        "", description="where people and senders reach it, such as https://erase.example.org"
    )
    domain: str = Field("", description="OpenDSR: the processor's domain, under which requests name images")
    certificate: str = Field(
        "", description="OpenDSR: a PEM file, beside this one, of the certificate that signs answers"
    )
    certificate_key: str = Field("", description="OpenDSR: a PEM file with the certificate's key")
    business_id: str = Field("", description="Data Rights Protocol: our id in its directory")
    fides: str = Field("", description="Fides: where its API is, such as https://fides.example.org")
    callback_hosts: tuple[str, ...] = Field(
        (), description="hosts that may be called back, by https; no others are"
    )
    calls_per_minute: int = Field(600, ge=1, description="calls of one token in a minute, at most")


class Policy(Settings):
    """What an organisation decided once, for all requests."""

    organisation: Organisation = Field(Organisation(), description="who answers")
    language: Language = Field(
        "en", description="language of letters where the person's is not known: en, de or fr"
    )
    approval: Approval = Field(Approval(), description="who may approve")
    identity: Identity = Field(Identity(), description="whether it must be known who asks")
    due: Deadlines = Field(Deadlines(), description="by when a request must be answered")
    locating: Locating = Field(Locating(), description="how images are located")
    face_embeddings: FaceEmbeddings = Field(FaceEmbeddings(), description="whether faces may be compared")
    unlearning: ModelPolicy = Field(ModelPolicy(), description="how models are unlearnt")
    models: dict[str, ModelPolicy] = Field(
        {}, description="the same for some, by family or name of the model; instead of `unlearning`"
    )
    in_service: tuple[Status, ...] = Field(
        ("in-service",), description="statuses of models that requests are carried out for"
    )
    supplied_photos: SuppliedPhotos = Field(
        SuppliedPhotos(), description="what is kept of photos that came with a request"
    )
    keep_request_days: Days = Field(
        90, description="days after the answer until names, addresses and letters are erased"
    )

    service: Service = Field(Service(), description="what the service over the network needs to know")

    def due_date(self, received: datetime, regime: str | None) -> datetime:
        """When a request that came in at `received` must be answered, in UTC."""
        by_regime = {name.casefold(): days for name, days in self.due.days.items()}
        days = by_regime.get((regime or "").strip().casefold(), self.due.otherwise)
        return (received + timedelta(days=days)).astimezone(UTC)


def read_policy(path: Path) -> Policy:
    """The policy in a file; raises `InputError` that names all faults."""
    return Policy.read(read_yaml(path, "policy"), where=str(path))


def policy_text(policy: Policy) -> str:
    """A policy as YAML, every key with its description."""
    return (
        "# The policy of this ledger. Every key may be left out: its default is what stands here.\n"
        + "\n".join(_lines(policy, 0))
        + "\n"
    )


def _lines(section: BaseModel, depth: int) -> Iterator[str]:
    indent = "  " * depth
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        yield f"{indent}# {field.description}"
        if isinstance(value, BaseModel):
            yield f"{indent}{name}:"
            yield from _lines(value, depth + 1)
        else:
            plain = section.model_dump(mode="json", include={name})
            yield from (indent + line for line in yaml_text(plain).splitlines())
