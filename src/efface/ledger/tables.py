"""What a ledger holds, as tables. Free texts on people stand in `PersonalFile` and `Decision` only.

Whoever changes this changes `migrations/` with it; a test compares the two.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, deferred, mapped_column, relationship

from efface.ledger.policy import Language, Status

OPEN = "state NOT IN ('done', 'not-found', 'refused', 'withdrawn')"
UNANSWERED = "answered IS NULL AND state != 'withdrawn'"
"""Conditions of partial indexes; a query must hold them word for word to use these."""


class Moment(TypeDecorator[datetime]):
    """A time with its zone: UTC in the database, also in those that keep no zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: Moment, str: Text, Language: Text, Status: Text}  # noqa: RUF012


class ImageSet(Base):
    """A named collection that models were trained on."""

    __tablename__ = "image_sets"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    place: Mapped[str]
    """Where it lies, as `open_images` takes it."""
    added: Mapped[datetime]
    indexed: Mapped[datetime | None]
    """When all its images were indexed; None as long as `set add` has not come to its end."""
    digest: Mapped[str | None]
    """Of its ordered images, once it is indexed (`ImageSet.digest`)."""


class SetImage(Base):
    """An image of a set. An image that lies in a set twice has two rows."""

    __tablename__ = "set_images"
    __table_args__ = (UniqueConstraint("set_id", "path"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    set_id: Mapped[int] = mapped_column(ForeignKey("image_sets.id"))
    path: Mapped[str]
    """From the set's place on."""
    label: Mapped[str | None]
    digest: Mapped[str] = mapped_column(index=True)
    """sha256 (hex) of its bytes."""
    keyed: Mapped[str] = mapped_column(index=True)
    """The same under the ledger's key."""
    fingerprint: Mapped[bytes | None] = deferred(mapped_column(LargeBinary))
    """One record of `images.fingerprints.FINGERPRINT`; None where the image cannot be decoded, or is erased."""
    fault: Mapped[str | None]
    """Why it cannot be decoded."""
    set: Mapped[ImageSet] = relationship()


model_sets = Table(
    "model_sets",
    Base.metadata,
    Column("model_id", ForeignKey("model_versions.id"), primary_key=True),
    Column("set_id", ForeignKey("image_sets.id"), primary_key=True),
)


class ModelVersion(Base):
    """A model: where it lies, its weights, what it learnt from, and whether it is in service."""

    __tablename__ = "model_versions"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    path: Mapped[str]
    section: Mapped[str]
    """How it is opened: the section `model` of a config, as canonical JSON."""
    weights: Mapped[str] = mapped_column(unique=True)
    """Digest of its weights (`weights.weights_digest`)."""
    kind: Mapped[str]
    """generator or classifier"""
    family: Mapped[str | None]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"), index=True)
    status: Mapped[Status]
    added: Mapped[datetime]
    changed: Mapped[datetime]
    """Since when it has its status."""
    parent: Mapped[ModelVersion | None] = relationship(remote_side=[id])
    sets: Mapped[list[ImageSet]] = relationship(secondary=model_sets, order_by=ImageSet.id)
    """The sets it learnt from itself; what its parent learnt stands there."""


class Request(Base):
    """One person's demand. Nothing here names the person."""

    __tablename__ = "requests"
    __table_args__ = (
        UniqueConstraint("sender", "sender_id"),
        Index(None, "state", "number"),
        # a page of what is open or due costs the same however much is done
        Index("ix_requests_open", "number", sqlite_where=text(OPEN), postgresql_where=text(OPEN)),
        Index(
            "ix_requests_unanswered",
            "due",
            "number",
            sqlite_where=text(UNANSWERED),
            postgresql_where=text(UNANSWERED),
        ),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    """R-00017"""
    number: Mapped[int] = mapped_column(unique=True)
    sender: Mapped[str]
    """Who sent it, as far as that names no person: a domain, an agent's id, `csv`, `photos`."""
    sender_id: Mapped[str]
    """The sender's id of it; where there is none, one made of its images."""
    format: Mapped[str]
    """In which format it came, and so is answered: photos, csv, opendsr, drp, fides, rest"""
    taken_in: Mapped[datetime]
    received: Mapped[datetime]
    received_as: Mapped[str]
    """The same with its zone, as stated."""
    due: Mapped[datetime]
    regime: Mapped[str | None]
    kind: Mapped[str]
    """What is asked for: erasure"""
    state: Mapped[str]
    reason: Mapped[str | None]
    """Why it is in this state, where that needs saying."""
    changed: Mapped[datetime]
    """Since when it has its state."""
    located_at: Mapped[datetime | None]
    """When its images were last looked for."""
    language: Mapped[Language]
    answered: Mapped[datetime | None]
    personal: Mapped[PersonalFile | None] = relationship(back_populates="request")
    supplied: Mapped[list[SuppliedImage]] = relationship(
        back_populates="request", order_by="SuppliedImage.id"
    )
    located: Mapped[list[LocatedImage]] = relationship(back_populates="request", order_by="LocatedImage.id")
    decisions: Mapped[list[Decision]] = relationship(back_populates="request", order_by="Decision.id")
    answers: Mapped[list[Answer]] = relationship(back_populates="request", order_by="Answer.id")
    callbacks: Mapped[list[Callback]] = relationship(back_populates="request", order_by="Callback.id")


class PersonalFile(Base):
    """Who asks, in which words. Erased some days after the answer; the row stays, empty."""

    __tablename__ = "personal_files"
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    name: Mapped[str | None]
    contact: Mapped[str | None]
    letter: Mapped[str | None]
    erased: Mapped[datetime | None]
    request: Mapped[Request] = relationship(back_populates="personal")


class SuppliedImage(Base):
    """An image that came with a request: a photo, or a hash alone."""

    __tablename__ = "supplied_images"
    __table_args__ = (UniqueConstraint("request_id", "keyed"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"))
    keyed: Mapped[str]
    """sha256 under the ledger's key."""
    digest: Mapped[str | None]
    """sha256 (hex) of its bytes, until it is erased."""
    place: Mapped[str | None]
    """Where the photo lies, from the ledger's folder on; None for a hash alone, and once it is erased."""
    erased: Mapped[datetime | None]
    request: Mapped[Request] = relationship(back_populates="supplied")


class LocatedImage(Base):
    """An image of a set that a request may mean."""

    __tablename__ = "located_images"
    __table_args__ = (UniqueConstraint("request_id", "image_id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"))
    image_id: Mapped[int] = mapped_column(ForeignKey("set_images.id"), index=True)
    supplied_id: Mapped[int | None] = mapped_column(ForeignKey("supplied_images.id"), index=True)
    how: Mapped[str]
    """exact, copy or look-alike"""
    score: Mapped[float]
    """Agreement of detail or similarity of features, 0..1; 1 for equal bytes."""
    decision: Mapped[str]
    """open, confirmed or rejected; exact ones and copies begin as confirmed."""
    decided_by: Mapped[str | None]
    decided: Mapped[datetime | None]
    reason: Mapped[str | None]
    request: Mapped[Request] = relationship(back_populates="located")
    image: Mapped[SetImage] = relationship()
    supplied: Mapped[SuppliedImage | None] = relationship()


class Decision(Base):
    """What a person decided on a request, and why."""

    __tablename__ = "decisions"
    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), index=True)
    kind: Mapped[str]
    """confirm, approve, refuse, withdraw, verify-identity"""
    actor: Mapped[str]
    reason: Mapped[str | None]
    time: Mapped[datetime]
    request: Mapped[Request] = relationship(back_populates="decisions")


work_requests = Table(
    "work_requests",
    Base.metadata,
    Column("work_id", ForeignKey("work.id"), primary_key=True),
    Column("request_id", ForeignKey("requests.id"), primary_key=True, index=True),
)


class Work(Base):
    """One run for one model version, over the images of some requests."""

    __tablename__ = "work"
    id: Mapped[int] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"), index=True)
    run: Mapped[str]
    """Its folder, from the ledger's folder on."""
    state: Mapped[str]
    """begun, done, not-met or failed"""
    reason: Mapped[str | None]
    begun: Mapped[datetime]
    ended: Mapped[datetime | None]
    made_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"), index=True)
    version: Mapped[ModelVersion] = relationship(foreign_keys=[version_id])
    made: Mapped[ModelVersion | None] = relationship(foreign_keys=[made_id])
    """The version that it made."""
    requests: Mapped[list[Request]] = relationship(secondary=work_requests, order_by=Request.number)


class Erased(Base):
    """An image that was erased and must not be trained on again."""

    __tablename__ = "erased"
    id: Mapped[int] = mapped_column(primary_key=True)
    keyed: Mapped[str] = mapped_column(unique=True)
    masked: Mapped[bytes | None] = deferred(mapped_column(LargeBinary))
    """Its codes, permuted and masked with the key; None where none were kept."""
    request_id: Mapped[str | None] = mapped_column(ForeignKey("requests.id"), index=True)
    added: Mapped[datetime]


class Answer(Base):
    """A letter that was written."""

    __tablename__ = "answers"
    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), index=True)
    folder: Mapped[str]
    """From the ledger's folder on."""
    language: Mapped[Language]
    digest: Mapped[str]
    """sha256 of the letter's facts."""
    head_number: Mapped[int]
    head_digest: Mapped[str]
    """The chain's head when it was written."""
    written: Mapped[datetime]
    request: Mapped[Request] = relationship(back_populates="answers")


class Token(Base):
    """What lets a program or a person into the service. The token itself is kept nowhere."""

    __tablename__ = "tokens"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    """Who holds it, as events name them; of an agent of the Data Rights Protocol, its agent-id."""
    role: Mapped[str]
    """intake, agent, reviewer, approver or auditor"""
    digest: Mapped[str | None] = mapped_column(unique=True)
    """sha256 (hex) of the token; None for an agent that has not fetched one."""
    verify_key: Mapped[str | None]
    """An agent's Ed25519 key (hexadecimal), with which its messages are checked."""
    added: Mapped[datetime]
    expires: Mapped[datetime]
    revoked: Mapped[datetime | None]


class Callback(Base):
    """Where a sender is told of each new state of its request."""

    __tablename__ = "callbacks"
    __table_args__ = (UniqueConstraint("request_id", "url"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"))
    url: Mapped[str]
    secret: Mapped[str | None]
    """What the sender wants to be shown with it (Fides)."""
    told: Mapped[str | None]
    """The state that it was told last."""
    attempts: Mapped[int]
    """Failed ones since then."""
    due: Mapped[datetime | None]
    """When to call; None once it was given up."""
    request: Mapped[Request] = relationship(back_populates="callbacks")


class Event(Base):
    """One line of what happened. `events` writes and checks them."""

    __tablename__ = "events"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    time: Mapped[str]
    kind: Mapped[str]
    actor: Mapped[str]
    ids: Mapped[str]
    """Canonical JSON."""
    digest: Mapped[str] = mapped_column(unique=True)


class Head(Base):
    """The one row that says where the chain ends; whoever writes holds its lock."""

    __tablename__ = "head"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ledger: Mapped[str]
    """The ledger's own id, a UUID."""
    number: Mapped[int]
    digest: Mapped[str]
    key: Mapped[str]
    """By which the ledger's key is known (`keys.commitment`)."""
