"""Locating and carrying out requests, killed at any moment: the same commands go on, nothing is lost or done twice.

Short form: some kills. Long form: 500. They fall at random times, since the database writes where no hook sees it.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from campaigns.errands import Errand, carry_out, options
from campaigns.request_work import all_of_it, came_of
from efface.ledger.opening import Ledger
from efface.ledger.requests import NewRequest, add_request
from efface.ledger.sets import add_set
from efface.ledger.states import State
from efface.requests.models import register
from efface.requests.uploads import add_photo
from support.classifier_fixtures import SMALL, make_digits
from support.forked import Forked

NOW = "2026-11-01T09:00:00+00:00"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with a model, one made from it, and a request that has been taken in."""
    folder = tmp_path_factory.mktemp("requests")
    digits = make_digits(folder / "digits")
    train = ("train", "--images", digits.train, *options(SMALL))
    for name, more in (("first", ()), ("second", ("--from", folder / "first" / "model"))):
        arguments = (
            train if not more else ("train", "--images", digits.train, *more, *options({"recipe.epochs": 1}))
        )
        ending = carry_out(Errand(name, arguments), folder / name, folder / "scratch")
        assert ending.code == 0, ending.said
    policy = {"method": "fine-tune", "recipe": {"epochs": 1}, "images": {"copy_agreement": 1}}
    ledger = Ledger.create(folder / "ledger", None, "ada")
    (ledger.place / "policy.yaml").write_text(json.dumps({"unlearning": {"config": policy}}))
    ledger = Ledger.open(ledger.place)
    add_set(ledger, "digits", str(digits.train), "ada")
    register(ledger, folder / "first" / "model", "ada", name="first", trained_on=["digits"])
    register(ledger, folder / "second" / "model", "ada", name="second", trained_on=["digits"], parent="first")
    with ledger.session() as session:
        from datetime import datetime

        new = NewRequest("photos", "photos", datetime.fromisoformat(NOW), (), "jane")
        request, _ = add_request(ledger, session, new, "ada")
        add_photo(ledger, session, request, next(Path(digits.train).rglob("*.png")).read_bytes(), "ada")
    ledger.engine.dispose()
    return folder / "ledger"


def test_requests_that_are_killed_anywhere_are_carried_out_once(
    template: Path, long_form: bool, tmp_path: Path, tally: Callable[[str], None]
) -> None:
    kills = int(os.environ.get("CAMPAIGN_CASES") or (500 if long_form else 6))

    def begun(name: str) -> tuple[Path, Forked]:
        place = tmp_path / name
        if not place.exists():
            shutil.copytree(template, place)
        return place, Forked(tmp_path / "scratch", all_of_it, str(place))

    started = time.monotonic()
    whole, process = begun("whole")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    seconds, wanted = time.monotonic() - started, came_of(whole)
    assert (wanted["state"], wanted["located"], wanted["erased"]) == ([State.done], 1, 1)
    assert [name for name, status, _ in wanted["models"] if status == "in-service"] == [
        "first-v2",
        "second-v2",
    ]
    draws, faults, late = random.Random(0), [], 0
    for number in range(kills):
        place, process = begun(f"killed-{number}")
        for _ in range(draws.choice((1, 1, 2))):
            time.sleep(draws.uniform(0.05, 1) * seconds)
            if process.process.is_alive():
                process.send_signal(signal.SIGKILL)
            process.process.join(60)
            late += process.returncode == 0
            process = Forked(tmp_path / "scratch", all_of_it, str(place))
        _, errors = process.communicate(timeout=300)
        if process.returncode != 0 or came_of(place) != wanted:
            faults.append((number, process.returncode, errors[-800:], came_of(place)))
        shutil.rmtree(place)
    tally(f"kills, requests: {kills} of locate and run, {late} came too late; {len(faults)} faults")
    assert not faults, "\n".join(map(str, faults[:5]))
