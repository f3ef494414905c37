"""What is done with a ledger in a process that may be killed, and what came of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from efface.ledger.opening import Ledger
from efface.ledger.states import State
from efface.ledger.tables import Erased, LocatedImage, ModelVersion, Request, Work
from efface.ledger.verifying import verify_ledger


def all_of_it(place: str) -> None:
    """Locate, approve and carry out, as far as that is still to be done."""
    from efface.reports.canvas import UNDRAWN
    from efface.requests.decide import approve
    from efface.requests.locate import locate, waiting
    from efface.requests.work import run_requests

    UNDRAWN.set(True)
    os.environ["TMPDIR"] = place
    ledger = Ledger.open(Path(place))
    list(locate(ledger, waiting(ledger), "ada"))
    with ledger.session() as session:
        request = session.scalars(select(Request)).one()
        if request.state == State.located:
            approve(ledger, session, request, "ada")
    result = run_requests(ledger, "ada")
    assert not result.waiting


def came_of(place: Path) -> dict[str, Any]:
    """What must be the same, however often it was killed."""
    ledger = Ledger.open(place)
    with ledger.reading() as session:
        models = session.scalars(select(ModelVersion).order_by(ModelVersion.name)).all()
        works = session.execute(select(Work.run, Work.state).order_by(Work.run)).all()
        found = {
            "state": session.scalars(select(Request.state)).all(),
            "models": [(one.name, one.status, one.weights) for one in models],
            "works": [tuple(work) for work in works],
            "located": session.scalar(select(func.count(LocatedImage.id))),
            "erased": session.scalar(select(func.count(Erased.id))),
        }
    found["differs"] = [check.name for check in verify_ledger(ledger) if check.outcome == "differs"]
    found["folders"] = sorted(path.name for path in ledger.runs.iterdir() if path.name != ".lock")
    ledger.engine.dispose()
    return found
