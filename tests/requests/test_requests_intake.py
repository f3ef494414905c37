"""Requests taken in from photos and lists of hashes, and models registered, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efface.ledger.opening import Ledger
from efface.ledger.requests import facts_of, request_named
from support.run_fixtures import CommandLine, cli, tiny

__all__ = ["cli", "tiny"]


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("EFFACE_LEDGER", str(tmp_path / "ledger"))
    return Ledger.create(tmp_path / "ledger")


def save(place: Path, seed: int) -> Path:
    place.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(place)
    return place


def test_photos_and_lists_become_requests_once(cli: CommandLine, ledger: Ledger, tmp_path: Path) -> None:
    folder, single = save(tmp_path / "jane" / "1.png", 1).parent, save(tmp_path / "single.png", 2)
    save(folder / "2.png", 3)
    given = ("requests", "add", folder, single, "--regime", "GDPR", "--name", "Jane Doe", "--json")
    first = json.loads(cli(*given, "--received", "2026-11-03T09:30-05:00").out)
    assert [(one["id"], one["images"], one["known"]) for one in first] == [
        ("R-00001", 2, False),
        ("R-00002", 1, False),
    ]
    assert {one["due"] for one in first} == {"2026-12-03T14:30:00+00:00"}
    again = json.loads(cli(*given).out)
    assert [(one["id"], one["known"]) for one in again] == [("R-00001", True), ("R-00002", True)]
    hashes = tmp_path / "hashes.csv"
    hashes.write_text(
        "sender;id;received;sha256;name;language\n"
        f"agent.example;7f;2026-11-01T00:00Z;{'ab' * 32};Ben;de\n"
        f"agent.example;7f;2026-11-01T00:00Z;{'CD' * 32};Ben;de\n"
        f"agent.example;80;2026-11-02;{'ab' * 32};;\n"
        f";81;2026-11-02;{'ab' * 32};;\n"
    )
    told = cli("requests", "add", hashes)
    assert told.out.splitlines()[-1] == "3 requests taken in"
    assert "0 requests taken in, 3 known before" in cli("requests", "add", hashes).out
    with ledger.reading() as session:
        of_two = facts_of(session, request_named(session, "7f"))
        assert (of_two.images, of_two.name, of_two.sender, of_two.format) == (
            2,
            "Ben",
            "agent.example",
            "csv",
        )
        assert request_named(session, "7f").language == "de"
        assert [request_named(session, id_).sender for id_ in ("81", "R-00001")] == ["csv", "photos"]
        assert facts_of(session, request_named(session, "80")).received == "2026-11-02T00:00:00+00:00"


def test_all_that_is_wrong_is_named_and_nothing_is_kept(cli: CommandLine, tmp_path: Path) -> None:
    folder = save(tmp_path / "jane" / "1.png", 1).parent
    (folder / "2.jpg").write_bytes(b"\xff\xd8\xff no picture")
    hashes = tmp_path / "hashes.csv"
    hashes.write_text(
        f"sha256,received,id\nshort,2026-11-03,1\n{'ab' * 32},someday,2\n{'ab' * 32},2999-01-01,3\n"
        f"{'ab' * 32},2026-11-03,4\n{'cd' * 32},2026-11-04,4\n"
    )
    outcome = cli("requests", "add", folder, hashes, tmp_path / "nothing")
    assert outcome.code == 2
    for said in (
        "2.jpg", "row 1: sha256 must be 64", "'someday' is no date", "is in the future",
        "row 5: says something else of the request 4", "no such file or folder",
    ):  # fmt: skip
        assert said in outcome.err
    hashes.write_text(f"sha256,recieved\n{'ab' * 32},2026-11-03\n")
    assert "did you mean 'received'" in cli("requests", "add", hashes).err
    save(tmp_path / "single.png", 2)
    assert (
        "--id names one request, and these are 2"
        in cli("requests", "add", tmp_path / "single.png", save(tmp_path / "other.png", 5), "--id", "7").err
    )
    assert cli("requests", "list").out == "no requests\n"


def test_sets_and_models_are_registered_and_the_ledger_is_checked(
    cli: CommandLine, ledger: Ledger, tmp_path: Path, tiny: Path
) -> None:
    place = save(tmp_path / "set" / "1.png", 1).parent
    assert json.loads(cli("requests", "set", "add", "pets", place, "--json").out)["images"] == 1
    added = json.loads(cli("requests", "model", "add", tiny, "--trained-on", "pets", "--json").out)
    assert (added["kind"], added["family"], added["known"], added["learnt_from"]) == (
        "generator",
        "mae",
        False,
        ["pets"],
    )
    assert json.loads(cli("requests", "model", "add", tiny, "--trained-on", "pets", "--json").out)["known"]
    name = added["name"]
    assert "withdrawn since" in cli("requests", "model", "status", name, "--becomes", "withdrawn").out
    assert (
        "did you mean 'withdrawn'" in cli("requests", "model", "status", name, "--becomes", "withdrawnn").err
    )
    assert json.loads(cli("requests", "model", "status", "--json").out)[0]["status"] == "withdrawn"
    assert cli("requests", "verify").code == 0
    assert cli("requests", "key", "rotate").code == 0
    assert json.loads(cli("requests", "sweep", "--json").out) == {"photos": 0, "personal": 0, "abandoned": 0}
    checks = json.loads(cli("requests", "verify", "--json").out)
    assert checks["passed"]
    assert {one["outcome"] for one in checks["checks"]} == {"matches"}
