"""Which model versions hold images that a request means: learnt by themselves or a parent, and not forgotten since."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from efface.ledger.policy import Policy
from efface.ledger.tables import LocatedImage, ModelVersion, Request, SetImage, Work, work_requests

CONFIRMED = "confirmed"
DONE = "done"


@dataclass(frozen=True)
class Standing:
    """What a version has to do with a request's images. learnt: keyed ids of those it holds; forgotten: held once."""

    version: ModelVersion
    learnt: frozenset[str]
    forgotten: frozenset[str]


def standings(session: Session, request: Request) -> list[Standing]:
    """Every version, in the order of their adding, with the request's confirmed images.

    A version that a run made learnt what its parent did, and has forgotten the images of that run's requests.
    """
    wanted = (
        select(SetImage.keyed)
        .join(LocatedImage)
        .where(LocatedImage.request_id == request.id, LocatedImage.decision == CONFIRMED)
    )
    sets = select(SetImage.set_id, SetImage.keyed).where(SetImage.keyed.in_(wanted))
    works = (
        select(Work.made_id, SetImage.keyed)
        .join(work_requests, work_requests.c.work_id == Work.id)
        .join(LocatedImage, LocatedImage.request_id == work_requests.c.request_id)
        .join(SetImage, SetImage.id == LocatedImage.image_id)
        .where(Work.state == DONE, LocatedImage.decision == CONFIRMED, SetImage.keyed.in_(wanted))
    )
    in_sets = _grouped((set_id, keyed) for set_id, keyed in session.execute(sets))
    forgot = _grouped((made, keyed) for made, keyed in session.execute(works))
    made = set(session.scalars(select(Work.made_id).where(Work.made_id.is_not(None))))
    query = select(ModelVersion).order_by(ModelVersion.id).options(selectinload(ModelVersion.sets))
    by_version: dict[int | None, Standing] = {}
    for version in session.scalars(query):
        before = by_version.get(version.parent_id)
        learnt = before.learnt if before else frozenset[str]()
        forgotten = before.forgotten if before else frozenset[str]()
        if version.id not in made:
            own = frozenset[str]().union(*(in_sets.get(one.id, ()) for one in version.sets))
            learnt, forgotten = learnt | own, forgotten - own
        gone = learnt & forgot.get(version.id, frozenset())
        by_version[version.id] = Standing(version, learnt - gone, forgotten | gone)
    return list(by_version.values())


def affected(policy: Policy, session: Session, request: Request) -> list[Standing]:
    """The versions in service, as the policy counts them, that hold an image of the request."""
    return [
        one for one in standings(session, request) if one.learnt and one.version.status in policy.in_service
    ]


def _grouped(rows: Iterable[tuple[int | None, str]]) -> dict[int | None, frozenset[str]]:
    groups: dict[int | None, set[str]] = {}
    for key, value in rows:
        groups.setdefault(key, set()).add(value)
    return {key: frozenset(values) for key, values in groups.items()}
