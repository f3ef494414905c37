"""Carrying out approved requests: for each affected model one run over the images of all of them.

What is begun stands in the ledger before a run begins, and what came of it after: a kill at any moment leaves a state from
which the same command goes on. One process works on a ledger at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, JsonValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from efface.documents import Described, parse_json
from efface.errors import EffaceError, RunRefused, Stopped
from efface.files import lock_held, sha256_of_json
from efface.jobs.kinds import read_config
from efface.jobs.run import RunResult, carry_out
from efface.ledger import events
from efface.ledger.erased import erase_for
from efface.ledger.models import add_model, set_status
from efface.ledger.opening import VARIABLE, Ledger
from efface.ledger.policy import ModelPolicy
from efface.ledger.requests import move
from efface.ledger.states import State
from efface.ledger.tables import LocatedImage, ModelVersion, Request, SetImage, Work
from efface.progress import Progress
from efface.requests.affected import affected
from efface.requests.training_lists import ALL, FORGET, write_lists
from efface.wording import counted

BEGUN, DONE, NOT_MET, FAILED = "begun", "done", "not-met", "failed"
RETRAIN = "retrain"


class WorkFacts(Described):
    """One run for one model version."""

    model: str = Field(description="the version that was affected")
    requests: list[str] = Field(description="the requests that it carries out")
    images: int = Field(description="images to be forgotten")
    state: str = Field(description="planned, begun, done, not-met or failed")
    run: str = Field(description="its folder, from the ledger's folder on")
    made: str | None = Field(None, description="the version that it made")
    reason: str | None = Field(None, description="why it is not done")


class WorkDone(Described):
    """What a start of `efface requests run` did."""

    work: list[WorkFacts] = Field(description="runs of this start, in their order")
    done: list[str] = Field(description="requests that are done now")
    waiting: list[str] = Field(description="requests that wait for a person")


@dataclass(frozen=True)
class Planned:
    """What is to be done for one version. forget: keyed ids; run: the run folder, from the ledger's folder on."""

    version: ModelVersion
    requests: tuple[Request, ...]
    forget: frozenset[str]
    config: dict[str, JsonValue]
    run: str


def run_requests(ledger: Ledger, actor: str, progress: Progress | None = None, dry: bool = False) -> WorkDone:
    """Carry out all approved requests, what an earlier start began first.

    dry: only say what would be done. Raises `RunRefused` where another process works on this ledger, and `Stopped` with
    everything kept.
    """
    if dry:
        with ledger.reading() as session:
            planned = [_facts(one, "planned") for one in _all_planned(ledger, session)]
            return WorkDone(work=planned, done=[], waiting=_in_state(session, State.needs_input))
    try:
        with lock_held(ledger.runs / ".lock"):
            return _run(ledger, actor, progress or Progress())
    except BlockingIOError:
        raise RunRefused(
            f"another process carries out the requests of {ledger.place}; it does this one's work too"
        ) from None


def _run(ledger: Ledger, actor: str, progress: Progress) -> WorkDone:
    work: list[WorkFacts] = []
    done = _without_models(ledger, actor)
    while (begun := _begin(ledger, actor)) is not None:
        work_id, planned = begun
        progress.say(
            f"{planned.version.name}: forgetting {counted(len(planned.forget), 'image')} in {planned.run}"
        )
        try:
            result = _carried_out(ledger, planned, progress)
        except (Stopped, RunRefused):
            raise
        except EffaceError as error:
            reason = str(error).strip().splitlines()[-1].strip(" -")
            work.append(_ended(ledger, work_id, planned, FAILED, reason, actor))
            continue
        if unmet := _unmet(result):
            work.append(_ended(ledger, work_id, planned, NOT_MET, unmet, actor))
        else:
            facts, finished = _promoted(ledger, work_id, planned, result, actor)
            work.append(facts)
            done += finished
    with ledger.reading() as session:
        return WorkDone(work=work, done=done, waiting=_in_state(session, State.needs_input))


def _begin(ledger: Ledger, actor: str) -> tuple[int, Planned] | None:
    """The next work: one that was begun, else a new one, which begins with this transaction; None where nothing is left."""
    with ledger.session() as session:
        for work in session.scalars(select(Work).where(Work.state == BEGUN).order_by(Work.id)):
            return work.id, _again(ledger, session, work)
        planned = next(_all_planned(ledger, session), None)
        if planned is None:
            return None
        now = datetime.now(UTC)
        work = Work(
            version_id=planned.version.id,
            run=planned.run,
            state=BEGUN,
            begun=now,
            requests=[*planned.requests],
        )
        session.add(work)
        session.flush()
        events.append(
            session,
            "work-begun",
            actor,
            work=work.id,
            model=planned.version.id,
            requests=[one.id for one in planned.requests],
            images=sorted(planned.forget),
        )
        for request in planned.requests:
            if request.state == State.approved:
                move(session, request, State.in_work, actor)
        return work.id, planned


def _all_planned(ledger: Ledger, session: Session) -> Iterator[Planned]:
    """A plan for each affected version, parents first."""
    wanted: dict[int, tuple[ModelVersion, list[Request], set[str]]] = {}
    finished = set[tuple[int, str]]()
    for work in session.scalars(select(Work).where(Work.state == DONE)):
        finished |= {(work.version_id, request.id) for request in work.requests}
    for request in _requests(session, State.approved, State.in_work):
        for standing in affected(ledger.policy, session, request):
            version = standing.version
            if (version.id, request.id) not in finished:
                _, requests, forget = wanted.setdefault(version.id, (version, [], set()))
                requests.append(request)
                forget |= standing.learnt
    for id_ in sorted(wanted):
        version, requests, forget = wanted[id_]
        yield _planned(ledger, session, version, tuple(requests), frozenset(forget))


def _again(ledger: Ledger, session: Session, work: Work) -> Planned:
    """The plan of a work that was begun: the same images, in the same folder."""
    forget = set[str]()
    for request in work.requests:
        standing = [
            one for one in affected(ledger.policy, session, request) if one.version.id == work.version_id
        ]
        forget = forget.union(*(one.learnt for one in standing))
    planned = _planned(ledger, session, work.version, tuple(work.requests), frozenset(forget))
    return Planned(planned.version, planned.requests, planned.forget, planned.config, work.run)


def _planned(
    ledger: Ledger,
    session: Session,
    version: ModelVersion,
    requests: tuple[Request, ...],
    forget: frozenset[str],
) -> Planned:
    """The run that the policy asks for, or where that did not serve and the policy says so, training anew."""
    policy = _policy(ledger, version)
    run = _run_folder(version, forget, policy.config)
    unmet = session.scalars(select(Work.id).where(Work.run == run, Work.state == NOT_MET).limit(1)).first()
    if unmet is None or not policy.retrain.when_unmet:
        return Planned(version, requests, forget, policy.config, run)
    config: dict[str, JsonValue] = {**policy.config, "method": RETRAIN}
    return Planned(version, requests, forget, config, _run_folder(version, forget, config))


def _run_folder(version: ModelVersion, forget: frozenset[str], config: dict[str, JsonValue]) -> str:
    """Named by what is done, so that the same work is the same run."""
    return f"runs/W-{sha256_of_json([version.weights, sorted(forget), config])[:16]}/run"


def _policy(ledger: Ledger, version: ModelVersion) -> ModelPolicy:
    by_name = ledger.policy.models
    return next(
        (by_name[name] for name in (version.name, version.family) if name in by_name),
        ledger.policy.unlearning,
    )


def _carried_out(ledger: Ledger, planned: Planned, progress: Progress) -> RunResult:
    """The run itself, begun or continued: a job as any other."""
    run = ledger.place / planned.run
    folder = run.parent
    if not (folder / FORGET).is_file():
        with ledger.reading() as session:
            version = session.get_one(ModelVersion, planned.version.id)
            write_lists(ledger, session, version, planned.forget, folder)
    config = read_config("unlearn", _values(planned, folder))
    with _no_ledger_beside():
        return carry_out(config, run, progress)


def _values(planned: Planned, folder: Path) -> dict[str, JsonValue]:
    """The config of the run: the policy's, with the model, its images and the requests."""
    images = planned.config.get("images")
    first = planned.requests[0]
    return {
        **planned.config,
        "model": parse_json(planned.version.section, f"the section of {planned.version.name}"),
        "images": {
            "duplicates": "forget",
            **(images if isinstance(images, dict) else {}),
            "images": str(folder / ALL),
            "forget": [str(folder / FORGET)],
        },
        "request": {
            "id": ", ".join(one.id for one in planned.requests),
            "received": min(one.received for one in planned.requests).isoformat(),
            "regime": first.regime,
        },
    }


@contextmanager
def _no_ledger_beside() -> Iterator[None]:
    """A job registers the model that it makes where the environment names a ledger; here that waits for the verdict."""
    named = os.environ.pop(VARIABLE, None)
    try:
        yield
    finally:
        if named is not None:
            os.environ[VARIABLE] = named


def _unmet(result: RunResult) -> str:
    """Why a model may not take the place of the old one; empty where it may."""
    unmet = [
        f"{outcome.requirement}: {outcome.state}" for outcome in result.requirements if outcome.state != "met"
    ]
    ruined = ["the model is ruined"] if result.verdict is not None and result.verdict.word == "ruined" else []
    return "; ".join([*unmet, *ruined])


def _promoted(
    ledger: Ledger, work_id: int, planned: Planned, result: RunResult, actor: str
) -> tuple[WorkFacts, list[str]]:
    """The new version takes the place of the old one; its images are on the erased list from now on."""
    after = result.record.model.after
    assert after is not None
    with ledger.session() as session:
        work = session.get_one(Work, work_id)
        before = work.version
        section = parse_json(before.section, "section")
        # a network by code is built as before; all others open by their folder
        kept = section if isinstance(section, dict) and "network" in section else {}
        made, _ = add_model(
            session,
            result.model,
            after.weights,
            after.description.kind,
            actor,
            family=after.description.family,
            name=_next_name(before.name),
            parent=before.name,
            section={**kept, "path": str(result.model)},
        )
        set_status(session, made, "in-service", actor)
        set_status(session, before, "superseded", actor)
        for request in work.requests:
            erase_for(session, ledger.key, _confirmed(session, request), request)
        work.state, work.ended, work.made_id = DONE, datetime.now(UTC), made.id
        events.append(session, "work-done", actor, work=work.id, model=made.id, images=sorted(planned.forget))
        session.flush()
        finished = [one for one in work.requests if not _left(ledger, session, one)]
        for request in finished:
            move(session, request, State.done, actor)
        return _facts(planned, DONE, made=made.name), [one.id for one in finished]


def _next_name(name: str) -> str | None:
    """portraits, portraits-v2, portraits-v3"""
    stem, mark, number = name.rpartition("-v")
    return f"{stem}-v{int(number) + 1}" if mark and number.isdecimal() else f"{name}-v2"


def _ended(ledger: Ledger, work_id: int, planned: Planned, state: str, reason: str, actor: str) -> WorkFacts:
    """The version stays as it is; its requests wait for a person, unless training anew is next."""
    with ledger.session() as session:
        work = session.get_one(Work, work_id)
        work.state, work.reason, work.ended = state, reason, datetime.now(UTC)
        events.append(session, f"work-{state}", actor, work=work.id, reason=events.digest_of(reason))
        anew = _policy(ledger, work.version).retrain.when_unmet and planned.config.get("method") != RETRAIN
        for request in () if state == NOT_MET and anew else work.requests:
            move(session, request, State.needs_input, actor, f"{planned.version.name}: {reason}")
    return _facts(planned, state, reason=reason)


def _without_models(ledger: Ledger, actor: str) -> list[str]:
    """Approved requests that affect no version in service are done at once; their images must not be learnt again."""
    with ledger.session() as session:
        done = [
            one
            for one in _requests(session, State.approved, State.in_work)
            if not _left(ledger, session, one)
        ]
        for request in done:
            erase_for(session, ledger.key, _confirmed(session, request), request)
            move(session, request, State.done, actor)
        return [one.id for one in done]


def _left(ledger: Ledger, session: Session, request: Request) -> bool:
    """Whether a version is still to be worked on for a request."""
    done = {
        work.version_id
        for work in session.scalars(select(Work).where(Work.state == DONE))
        if request in work.requests
    }
    return any(one.version.id not in done for one in affected(ledger.policy, session, request))


def _requests(session: Session, *states: State) -> list[Request]:
    return list(session.scalars(select(Request).where(Request.state.in_(states)).order_by(Request.number)))


def _in_state(session: Session, state: State) -> list[str]:
    return [one.id for one in _requests(session, state)]


def _confirmed(session: Session, request: Request) -> list[SetImage]:
    query = select(SetImage).join(LocatedImage, LocatedImage.image_id == SetImage.id)
    return list(
        session.scalars(
            query.where(LocatedImage.request_id == request.id, LocatedImage.decision == "confirmed")
        )
    )


def _facts(planned: Planned, state: str, made: str | None = None, reason: str | None = None) -> WorkFacts:
    return WorkFacts(
        model=planned.version.name,
        requests=[one.id for one in planned.requests],
        images=len(planned.forget),
        state=state,
        run=planned.run,
        made=made,
        reason=reason,
    )
